"""Decoding: options of a caller, hypotheses of the decoder, and removal of repetitions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_RATIO = 2.4  # a text that compresses better repeats itself: Whisper's own rule, which needs a long text
MAX_PHRASE = 8  # words of a phrase that is repeated
REPEATS, WORD_REPEATS = 3, 5  # times in a row that are too many, for a phrase and for a single word: digits do recur
# Whisper's own rule drops a window where the first is above 0.6 and the second below -1. Of 14 windows of noise and
# music, 0.4 drops 13 and 0.6 eight; of 244 of speech both drop one.
MAX_NO_SPEECH, MIN_LOG_PROBABILITY = 0.4, -1.0


@dataclass(frozen=True)
class DecodingOptions:
    """What a caller may ask of the decoder."""

    prompt: str = ""  # text that came before, whose spelling and style is continued
    hotwords: tuple[str, ...] = ()  # names and terms that may occur
    temperature: float = 0.0  # 0: the likeliest text; up to 1: sampled


class Hypothesis(NamedTuple):
    """The tokens of a text, without special ones, and how sure the decoder was."""

    tokens: list[int]
    log_probability: float  # mean over the tokens
    no_speech: float  # probability of no speech

    @property
    def is_speech(self) -> bool:
        """False if the decoder is unsure of its text and also expects no speech."""
        return self.no_speech <= MAX_NO_SPEECH or self.log_probability >= MIN_LOG_PROBABILITY


class Repetition(NamedTuple):
    """A phrase that comes too often in a row."""

    start: int  # position of its first word
    phrase: list[str]
    times: int


def parse_hotwords(text: str) -> tuple[str, ...]:
    """Words and phrases between commas or line breaks.

    >>> parse_hotwords("Kiruna,  Åre\\n\\nSörmland ")
    ('Kiruna', 'Åre', 'Sörmland')
    """
    return tuple(word for part in text.replace(",", "\n").splitlines() if (word := " ".join(part.split())))


def find_repetition(units: Sequence[str]) -> Repetition | None:
    """The first phrase of words (or characters, where a language writes no spaces) that repeats too often.

    >>> find_repetition("och tack för maten tack för maten Tack för maten.".split())
    Repetition(start=1, phrase=['tack', 'för', 'maten'], times=3)
    >>> find_repetition("nej nej nej".split())
    """
    plain = [unit.casefold().strip(".,!?") for unit in units]
    for length in range(1, MAX_PHRASE + 1):
        for start in range(len(plain) - 2 * length + 1):
            phrase, times = plain[start : start + length], 1
            while plain[start + times * length : start + (times + 1) * length] == phrase:
                times += 1
            if times >= (WORD_REPEATS if length == 1 else REPEATS):
                return Repetition(start, list(units[start : start + length]), times)
    return None


def remove_repetitions(units: list[str]) -> list[str]:
    """The units with each phrase that repeats too often reduced to one occurrence.

    >>> remove_repetitions("tack tack tack tack tack då".split())
    ['tack', 'då']
    """
    units = list(units)
    while repetition := find_repetition(units):
        units[repetition.start : repetition.start + len(repetition.phrase) * repetition.times] = repetition.phrase
    return units


def compression_ratio(text: str) -> float:
    """The size of the text divided by its compressed size."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))
