"""One clip: decoded, resampled, judged. A rejected clip carries its reason.

Audio is float32 mono at 16 kHz everywhere after this module.
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
from asr.corpus.decoder import Crashed, Hung, Recording
from asr.corpus.sources import Row
from asr.corpus.transcripts import Segment
from asr.settings import Corpus, Settings

FULL_SCALE = 0.99  # what reaches this was cut off there; codecs and resampling smooth the corners a little
SLACK = 0.5  # seconds that a transcript's last words may run beyond the recording
FAULTS: dict[Fault, str] = {  # why a text may be of more than its sound
    "incomplete": "damaged or cut short",
    "joined": "several recordings in one file",
}
ENDS: dict[type[Exception], str] = {Crashed: "decoder crashed", Hung: "decoder hung"}


@dataclass(frozen=True)
class Clip:
    """A clip that is fit to use."""

    clip: str
    split: str
    source: str
    text: str
    speaker: str | None
    seconds: float
    flac: bytes  # 16 bit, mono, 16 kHz
    sound: str  # a hash of the samples: the same sound has the same
    segments: tuple[Segment, ...] = ()  # with times, where they are known


@dataclass(frozen=True)
class Rejected:
    clip: str
    reason: str
    split: str


def judged(rows: Iterable[Row], settings: Settings) -> Iterator[Clip | Rejected]:
    """Each row's clip, fit to use, or the reason why it is not. Never raises for a bad clip."""
    left_out = set(settings.corpus.exclude)

    def looked_at() -> Iterator[tuple[Row, str | None]]:
        for row in (_written(row, settings) for row in rows):
            reason = unfit(row, settings, left_out)
            # Without its audio, for many of the unfit may wait for the next that is heard.
            yield (replace(row, audio=None) if reason else row), reason

    every, hopeful = itertools.tee(looked_at())
    sounds = heard((row for row, reason in hopeful if reason is None), settings.corpus.max_seconds)
    for row, reason in every:
        yield Rejected(row.clip, reason, row.split) if reason else _clip(row, next(sounds), settings.corpus)


def _written(row: Row, settings: Settings) -> Row:
    """The row with its words as the model should write them."""

    language = settings.corpus.language_of(row.source)

    def written(words: str) -> str:
        return text.written(words, settings.text.writing, language)

    segments = tuple(replace(one, text=written(one.text)) for one in row.segments)
    # Together they are the clip's text, with times or without; a song that goes on over two of them stays in both.
    together = " ".join(one.text for one in segments if one.text)
    return replace(
        row,
        text=together if segments else written(row.text),
        segments=tuple(one for one in segments if one.text),
    )


def unfit(row: Row, settings: Settings, left_out: set[str]) -> str | None:
    """What speaks against a clip before it is heard."""
    if left_out and row.names & left_out:
        return "excluded"
    if row.problem:
        return row.problem
    if text.wordless(row.text):
        return "empty text"
    corpus, language = settings.corpus, settings.corpus.language_of(row.source)
    alphabet = settings.text.alphabet if language == corpus.language else None
    if text.foreign(row.text, language, alphabet) > corpus.max_foreign_letters:
        return "foreign letters"
    return None


def _clip(row: Row, sound: np.ndarray | str, corpus: Corpus) -> Clip | Rejected:
    if isinstance(sound, str):
        return Rejected(row.clip, sound, row.split)
    if reason := unsound(sound, row.text, corpus):
        return Rejected(row.clip, reason, row.split)
    samples = pcm(sound)
    return Clip(
        clip=row.clip,
        split=row.split,
        source=row.source,
        text=row.text,
        speaker=row.speaker,
        seconds=round(len(sound) / RATE, 3),
        flac=as_it_is(row, len(samples)) or encode(samples),
        sound=hashlib.sha256(samples.tobytes()).hexdigest()[:16],
        segments=row.segments,
    )


def unsound(sound: np.ndarray, words: str, corpus: Corpus) -> str | None:
    """What speaks against (samples,) float32 at 16 kHz in which `words` are said."""
    seconds = len(sound) / RATE
    if not seconds:
        return "empty audio"
    if not np.isfinite(sound).all():
        return "samples that are no numbers"
    if seconds < corpus.min_seconds:
        return "too short"
    if seconds > corpus.max_seconds:
        return "too long"
    loudness = np.abs(sound)
    if loudness.max() < corpus.min_peak:
        return "silent"
    if (loudness >= FULL_SCALE).mean() > corpus.max_clipped:
        return "clipped"
    if text.words(words) > corpus.max_words_per_second * seconds:
        return "more words than can be said"
    return None


def heard(rows: Iterable[Row], longest: float) -> Iterator[np.ndarray | str]:
    """The sound of each row, or the reason why there is none. A recording cut into many rows is decoded once."""
    for (audio, cut), found in itertools.groupby(rows, key=lambda row: (row.audio, row.end is not None)):
        group = list(found)
        told = 0
        try:
            if audio is None or (isinstance(audio, Path) and not audio.is_file()):
                raise FileNotFoundError
            assert not isinstance(audio, str)  # what is elsewhere was brought here
            spans = [(row.start, row.end or 0.0) for row in group]
            sounds = windows(audio, spans, longest) if cut else (Recording(audio).sound(longest) for _ in group)
            for row, (samples, fault, _) in zip(group, sounds, strict=True):
                short = not len(samples) or len(samples) / RATE < min((row.end or 0.0) - row.start, longest) - SLACK
                yield "times beyond the recording" if cut and short else FAULTS[fault] if fault else samples
                told += 1
        except FileNotFoundError:
            yield from itertools.repeat("missing file", len(group) - told)
        except Exception as error:  # what hostile bytes bring out must not end a run
            yield from itertools.repeat(ENDS.get(type(error), "unreadable audio"), len(group) - told)


def windows(audio: Path | bytes, spans: Sequence[tuple[float, float]], longest: float = math.inf) -> Iterator[Sound]:
    """The sound of each span (start, end; seconds, by start) of a recording, decoded once and never held whole.

    What lies beyond the recording's end is left out, and of more than `longest` seconds there are only a little more
    than those. A fault is the span's own: what comes after a damaged place keeps its time.
    """
    recording = Recording(audio)
    sounds = iter(recording)
    held, at = np.zeros(0, np.float32), 0  # samples in hand, and where the first of them stands
    for start, end in spans:
        first, last = round(start * RATE), round(min(end, start + longest + 1) * RATE)
        while at + len(held) < last and (more := next(sounds, None)) is not None:
            past = min(max(0, first - at), len(held))
            held, at = np.concatenate([held[past:], more]), at + past
        incomplete = any(fault == "incomplete" and start <= place <= end for place, fault in recording.faults)
        yield Sound(held[max(0, first - at) : max(0, last - at)], "incomplete" if incomplete else None)


def pcm(sound: np.ndarray) -> np.ndarray:
    """(samples,) int16 of (samples,) float32. What came from 16 bits comes back to the same ones."""
    return np.clip(np.rint(sound * 32_768), -32_768, 32_767).astype("<i2")


def as_it_is(row: Row, samples: int) -> bytes | None:
    """The row's file where it is the very FLAC that `encode` would write but for its tags, which go.

    Half the time of such a clip would go into encoding it once more.
    """
    if row.end is not None or not row.audio:
        return None
    try:
        flac = row.audio if isinstance(row.audio, bytes) else Path(row.audio).read_bytes()
        # A block of 34 bytes first (RFC 9639, 8.2); in it 20 bits of rate, 3 of channels, 5 of depth, 36 of length.
        shape = (RATE << 44) + (15 << 36) + samples
        if flac[:4] != b"fLaC" or flac[5:8] != b"\0\0\x22" or flac[18:26] != shape.to_bytes(8, "big"):
            return None
        at, last = 4, False
        while not last:  # over the blocks of metadata
            last, at = flac[at] >= 0x80, at + 4 + int.from_bytes(flac[at + 1 : at + 4], "big")
    except (OSError, IndexError):
        return None
    tagged = flac[-128:-125] == b"TAG"
    return None if tagged or at >= len(flac) else b"fLaC\x80" + flac[5:42] + flac[at:]


def encode(samples: np.ndarray) -> bytes:
    """FLAC of (samples,) int16 at 16 kHz: lossless, half the size of WAV, and free of whatever tags a file had."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
