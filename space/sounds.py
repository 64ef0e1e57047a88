"""The door: which files are taken, judged before they cost memory or time.

A recording is a stranger's file, so it is opened with nothing but the formats of recordings: a playlist could name
other files, or hosts. Its length is counted while it is decoded, since a header may lie, and decoding ends at the
limit, since a few kilobytes can unpack to days of silence.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 16_000
SILENCE = 1e-3  # peak, of 1.0: -60 dB
FORMATS = "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,w64,wav,webm,wv"
MEGABYTES = int(os.environ.get("MAX_MEGABYTES", 200))
MINUTES = float(os.environ.get("MAX_MINUTES", 60))
FILES = 20  # at once


class Unheard(ValueError):
    """Why a file is not taken: a key of the page's wording, and its values."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def limits() -> dict[str, object]:
    return {"minutes": f"{MINUTES:g}", "megabytes": MEGABYTES}


def hear(path: str | Path | None) -> np.ndarray:
    """A file's sound, (samples,) float32 mono at 16 kHz. Raises `Unheard`."""
    if path is None or not Path(path).is_file():
        raise Unheard("missing")
    size = Path(path).stat().st_size
    if size > MEGABYTES * 1_000_000:
        raise Unheard("too_big", **limits())
    if not size:
        raise Unheard("nothing")
    sound = decode(path, MINUTES * 60)
    if not len(sound):
        raise Unheard("nothing")
    if np.abs(sound).max() < SILENCE:
        raise Unheard("silent")
    return sound


def decode(path: str | Path, longest: float) -> np.ndarray:
    """(samples,) float32 mono at 16 kHz of a file's first sound, without what in the midst of it cannot be read."""
    pieces: list[np.ndarray] = []
    samples, wanted = 0, int(longest * RATE)

    def take(frames: list[Any]) -> None:
        nonlocal samples
        for frame in frames:
            pieces.append(frame.to_ndarray()[0])
            samples += len(pieces[-1])
        if samples > wanted:
            raise Unheard("too_long", **limits())

    try:
        with av.open(str(path), options={"format_whitelist": FORMATS}, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise Unheard("unreadable")
            if container.duration and container.duration > (longest + 1) * av.time_base:
                raise Unheard("too_long", **limits())
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    for frame in packet.decode():
                        frame.pts = None  # a gap in the times is no reason to stop
                        take(resampler.resample(frame))
                except av.error.InvalidDataError:
                    continue
            if samples:
                take(resampler.resample(None))
    except Unheard:
        raise
    except Exception:  # PyAV raises its own errors, IndexError, ValueError and more, by how the file is broken
        if not samples:
            raise Unheard("unreadable") from None
    return np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)
