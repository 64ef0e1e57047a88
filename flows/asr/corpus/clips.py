"""One clip: decoded, resampled, judged. A rejected clip carries its reason.

Audio is float32 mono at 16 kHz everywhere after this module.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr.corpus.sources import Row
from asr.settings import Corpus

RATE = 16_000
SILENCE = 1e-3  # peak, of 1.0: -60 dB


@dataclass(frozen=True)
class Clip:
    """A clip that is fit to use."""

    clip: str
    split: str
    text: str
    speaker: str | None
    seconds: float
    flac: bytes  # 16 bit, mono, 16 kHz


@dataclass(frozen=True)
class Rejected:
    clip: str
    reason: str


def decode(path: Path) -> np.ndarray:
    """(samples,) float32 mono at 16 kHz. Raises ValueError where the file holds no readable audio."""
    try:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return _decode_av(path)
    mono = sound.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def _decode_av(path: Path) -> np.ndarray:
    """What libsndfile does not know (m4a, webm, video) FFmpeg does; PyAV bundles it."""
    import av

    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"no readable audio: {error}") from None
    if not frames:
        raise ValueError("no readable audio: not one frame")
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def encode(sound: np.ndarray) -> bytes:
    """FLAC of (samples,) float32 at 16 kHz: lossless from 16 bits, half the size of WAV."""
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def judge(row: Row, corpus: Corpus) -> Clip | Rejected:
    """The clip, fit to use, or the reason why it is not. Never raises for a bad clip."""
    text = " ".join(row.text.split())
    if not any(letter.isalnum() for letter in text):
        return Rejected(row.clip, "empty text")
    if not row.audio.is_file():
        return Rejected(row.clip, "missing file")
    try:
        sound = decode(row.audio)
    except (ValueError, OSError):
        return Rejected(row.clip, "unreadable audio")
    seconds = len(sound) / RATE
    if not np.isfinite(sound).all():
        return Rejected(row.clip, "samples that are no numbers")
    if seconds < corpus.min_seconds:
        return Rejected(row.clip, "too short")
    if seconds > corpus.max_seconds:
        return Rejected(row.clip, "too long")
    if np.abs(sound).max() < SILENCE:
        return Rejected(row.clip, "silent")
    return Clip(row.clip, row.split, text, row.speaker, round(seconds, 3), encode(np.clip(sound, -1, 1)))
