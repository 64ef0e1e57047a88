"""Clip validation: decode, resample and check each row; a rejected clip carries its reason.

After this module all audio is float32 mono at 16 kHz.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from asr.corpus import text
from asr.corpus.audio import RATE, Fault, Sound
from asr.corpus.audio_decoder import Crashed, Hung, Recording
from asr.corpus.rows import Row
from asr.corpus.transcripts import Segment
from asr.settings import Corpus, Settings

CLIPPING_LEVEL = 0.99  # of full scale; codecs and resampling round off the corners of clipped samples
END_TOLERANCE = 0.5  # seconds that a transcript's last words may extend past the recording
FAULT_REASONS: dict[Fault, str] = {"incomplete": "damaged or cut short", "joined": "several recordings in one file"}
ERROR_REASONS: dict[type[Exception], str] = {Crashed: "decoder crashed", Hung: "decoder hung"}


@dataclass(frozen=True)
class Clip:
    """An accepted clip."""

    clip: str
    split: str
    source: str
    text: str
    speaker: str | None
    seconds: float
    flac: bytes  # 16 bit, mono, 16 kHz
    sound: str  # a hash of the samples
    segments: tuple[Segment, ...] = ()  # with times, if known


@dataclass(frozen=True)
class Rejected:
    clip: str
    reason: str
    split: str


def validate_clips(rows: Iterable[Row], settings: Settings) -> Iterator[Clip | Rejected]:
    """Each row as an accepted clip, or as rejected with the reason. Never raises for a bad clip."""
    excluded = set(settings.corpus.exclude)

    def check_rows() -> Iterator[tuple[Row, str | None]]:
        for row in (_normalize_row(row, settings) for row in rows):
            reason = check_text(row, settings, excluded)
            # Drop the audio of a rejected row: many may queue up before the next row that is decoded.
            yield (replace(row, audio=None) if reason else row), reason

    all_rows, accepted = itertools.tee(check_rows())
    audio = decode_rows((row for row, reason in accepted if reason is None), settings.corpus.max_seconds)
    for row, reason in all_rows:
        yield Rejected(row.clip, reason, row.split) if reason else _build_clip(row, next(audio), settings.corpus)


def _normalize_row(row: Row, settings: Settings) -> Row:
    """The row with its transcript normalised as `[text] writing` says."""

    language = settings.corpus.language_of(row.source)

    def normalize(transcript: str) -> str:
        return text.normalize_transcript(transcript, settings.text.writing, language)

    segments = tuple(replace(segment, text=normalize(segment.text)) for segment in row.segments)
    # The segments make up the text, so an aside that spans two of them stays in both.
    joined = " ".join(segment.text for segment in segments if segment.text)
    return replace(
        row,
        text=joined if segments else normalize(row.text),
        segments=tuple(segment for segment in segments if segment.text),
    )


def check_text(row: Row, settings: Settings, excluded: set[str]) -> str | None:
    """Why a row is rejected before its audio is decoded, or None."""
    if excluded and row.names & excluded:
        return "excluded"
    if row.problem:
        return row.problem
    if text.is_wordless(row.text):
        return "empty text"
    corpus, language = settings.corpus, settings.corpus.language_of(row.source)
    alphabet = settings.text.alphabet if language == corpus.language else None
    if text.count_foreign_letters(row.text, language, alphabet) > corpus.max_foreign_letters:
        return "foreign letters"
    return None


def _build_clip(row: Row, audio: np.ndarray | str, corpus: Corpus) -> Clip | Rejected:
    if isinstance(audio, str):
        return Rejected(row.clip, audio, row.split)
    if reason := check_audio(audio, row.text, corpus):
        return Rejected(row.clip, reason, row.split)
    samples = to_pcm16(audio)
    return Clip(
        clip=row.clip,
        split=row.split,
        source=row.source,
        text=row.text,
        speaker=row.speaker,
        seconds=round(len(audio) / RATE, 3),
        flac=reuse_flac(row, len(samples)) or encode_flac(samples),
        sound=hashlib.sha256(samples.tobytes()).hexdigest()[:16],
        segments=row.segments,
    )


def check_audio(audio: np.ndarray, transcript: str, corpus: Corpus) -> str | None:
    """Why (samples,) float32 at 16 kHz with this transcript is rejected, or None."""
    seconds = len(audio) / RATE
    if not seconds:
        return "empty audio"
    if not np.isfinite(audio).all():
        return "samples that are no numbers"
    if seconds < corpus.min_seconds:
        return "too short"
    if seconds > corpus.max_seconds:
        return "too long"
    level = np.abs(audio)
    if level.max() < corpus.min_peak:
        return "silent"
    if (level >= CLIPPING_LEVEL).mean() > corpus.max_clipped:
        return "clipped"
    if text.count_words(transcript) > corpus.max_words_per_second * seconds:
        return "more words than can be said"
    return None


def decode_rows(rows: Iterable[Row], max_seconds: float) -> Iterator[np.ndarray | str]:
    """Each row's audio, or the reason why it cannot be decoded. Neighbouring rows of one recording share a decoding."""
    for (audio, is_cut), rows_of_file in itertools.groupby(rows, key=lambda row: (row.audio, row.end is not None)):
        group = list(rows_of_file)
        done = 0
        try:
            if audio is None or (isinstance(audio, Path) and not audio.is_file()):
                raise FileNotFoundError
            assert not isinstance(audio, str)  # remote audio was downloaded before
            spans = [(row.start, row.end or 0.0) for row in group]
            sounds = (
                decode_spans(audio, spans, max_seconds)
                if is_cut
                else (Recording(audio).sound(max_seconds) for _ in group)
            )
            for row, (samples, fault, _) in zip(group, sounds, strict=True):
                expected = min((row.end or 0.0) - row.start, max_seconds)
                is_short = not len(samples) or len(samples) / RATE < expected - END_TOLERANCE
                if is_cut and is_short:
                    yield "times beyond the recording"
                else:
                    yield FAULT_REASONS[fault] if fault else samples
                done += 1
        except FileNotFoundError:
            yield from itertools.repeat("missing file", len(group) - done)
        except Exception as error:  # damaged or hostile bytes must not end a run
            yield from itertools.repeat(ERROR_REASONS.get(type(error), "unreadable audio"), len(group) - done)


def decode_spans(
    audio: Path | bytes, spans: Sequence[tuple[float, float]], max_seconds: float = math.inf
) -> Iterator[Sound]:
    """The audio of each span of a recording, which is decoded once and never held in memory as a whole.

    A span ends where the recording ends, and shortly after `max_seconds`. A fault belongs to its span alone: what comes
    after damaged bytes keeps its time.

    Args:
        audio: a file, or its bytes.
        spans: start and end in seconds, ordered by start.
        max_seconds: the longest clip that is wanted.
    """
    recording = Recording(audio)
    blocks = iter(recording)
    buffer, offset = np.zeros(0, np.float32), 0  # decoded samples, and the position of the first of them
    for start, end in spans:
        first, last = round(start * RATE), round(min(end, start + max_seconds + 1) * RATE)
        while offset + len(buffer) < last and (block := next(blocks, None)) is not None:
            passed = min(max(0, first - offset), len(buffer))
            buffer, offset = np.concatenate([buffer[passed:], block]), offset + passed
        incomplete = any(fault == "incomplete" and start <= time <= end for time, fault in recording.faults)
        yield Sound(buffer[max(0, first - offset) : max(0, last - offset)], "incomplete" if incomplete else None)


def to_pcm16(audio: np.ndarray) -> np.ndarray:
    """(samples,) int16 from (samples,) float32. Audio decoded from 16 bits gets the same 16 bits back."""
    return np.clip(np.rint(audio * 32_768), -32_768, 32_767).astype("<i2")


def reuse_flac(row: Row, samples: int) -> bytes | None:
    """The row's own file without its tags, if it is FLAC in the form that `encode_flac` writes; else None.

    Encoding such a clip again would take half of its preprocessing time.
    """
    if row.end is not None or not row.audio:
        return None
    try:
        flac = row.audio if isinstance(row.audio, bytes) else Path(row.audio).read_bytes()
        # STREAMINFO comes first, 34 bytes (RFC 9639, 8.2): 20 bits of rate, 3 of channels, 5 of depth, 36 of length.
        expected = (RATE << 44) + (15 << 36) + samples
        if flac[:4] != b"fLaC" or flac[5:8] != b"\0\0\x22" or flac[18:26] != expected.to_bytes(8, "big"):
            return None
        offset, is_last = 4, False
        while not is_last:  # skip the metadata blocks
            is_last, offset = flac[offset] >= 0x80, offset + 4 + int.from_bytes(flac[offset + 1 : offset + 4], "big")
    except (OSError, IndexError):
        return None
    has_id3 = flac[-128:-125] == b"TAG"
    return None if has_id3 or offset >= len(flac) else b"fLaC\x80" + flac[5:42] + flac[offset:]


def encode_flac(samples: np.ndarray) -> bytes:
    """FLAC of (samples,) int16 at 16 kHz: lossless, half the size of WAV, without tags."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
