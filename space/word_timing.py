"""The times of words: from the decoder's attention, corrected by the loudness of the recording.

A model without known alignment heads is held near an even spread of its letters: flows/docs/decisions.md, Word times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from audio import RATE
from features import HOP
from speech_detection import Cut
from tokenizers import Tokenizer
from transcript import Word

QUIET = 0.02  # of a sound's peak: below it is a pause
DRIFT = (0.05, 0.03)  # seconds, and seconds a second of sound, that an unaligned word may deviate from the even spread
EARLY = 0.2  # seconds by which a word's time may be off: half of the quiet that is kept around speech
SPACE = "\u0120"  # the leading space of a byte-level token


class TimedText(NamedTuple):
    """The text of a window of up to 30 s; times from its start."""

    text: str
    log_probability: float = 0.0
    no_speech: float = 0.0
    words: tuple[Word, ...] = ()
    inner: tuple[tuple[float, ...], ...] = ()  # of each word, where its later tokens begin that hold a letter


@dataclass(frozen=True)
class CutText:
    """A cut with its text; words timed from its start."""

    start: int  # samples
    end: int
    text: str
    words: tuple[Word, ...]
    log_probability: float = 0.0  # of the window that it was decoded in
    no_speech: float = 0.0


class WordTimer:
    """Turns tokens and their times into words. `joint` is the text between words: a space, or nothing."""

    def __init__(self, tokenizer: Tokenizer, joint: str, is_aligned: bool) -> None:
        self._tokenizer, self._joint, self._is_aligned = tokenizer, joint, is_aligned

    def time(
        self, tokens: list[int], begins: dict[int, float], probabilities: Sequence[float], sound: np.ndarray
    ) -> tuple[tuple[Word, ...], tuple[tuple[float, ...], ...]]:
        """The words of tokens. `begins` has the times of tokens in seconds by position, and the end's at `len(tokens)`.

        Also for each word the times of its later tokens, without punctuation, which is not spoken.
        """
        groups, texts = self._group(tokens)
        seconds = len(sound) / RATE
        edges = np.array([begins.get(at, seconds) for at in (*(group[0] for group in groups), len(tokens))])
        loud = _loud_frames(sound)
        if not self._is_aligned:
            even, drift = _spread_evenly([len(text) for text in texts], loud), DRIFT[0] + DRIFT[1] * seconds
            edges = edges.clip(even - drift, even + drift)
        words, inner, edges = list[Word](), list[tuple[float, ...]](), np.maximum.accumulate(edges.clip(0, seconds))
        for group, text, (start, end) in zip(groups, texts, pairwise(edges.tolist()), strict=True):
            first = round(start * RATE / HOP)
            if len(frames := np.flatnonzero(loud[first : round(end * RATE / HOP)])):  # no pause is part of a word
                start, end = first + float(frames[0]), first + float(frames[-1]) + 1
                start, end = start * HOP / RATE, min(end * HOP / RATE, seconds)
            if text:
                confidence = min(1.0, float(np.mean([probabilities[at] for at in group])))
                words.append(Word(start, end, text, round(confidence, 3)))
                later = [at for at in group[1:] if any(map(str.isalnum, self._tokenizer.decode([tokens[at]])))]
                inner.append(tuple(min(begins.get(at, start), end) for at in later))
        return tuple(words), tuple(inner)

    def _group(self, tokens: list[int]) -> tuple[list[list[int]], list[str]]:
        """Positions of tokens by word, and the words: cut at spaces, or at characters where a language has none."""
        groups: list[list[int]] = []
        for at, token in enumerate(tokens):
            if self._joint:
                is_new = (self._tokenizer.id_to_token(token) or "").startswith(SPACE)
            else:
                is_new = bool(groups) and "\ufffd" not in self._decode(tokens, groups[-1])
            if is_new or not groups:
                groups.append([])
            groups[-1].append(at)
        texts = [" ".join(self._decode(tokens, group).split()) for group in groups]
        for at in range(len(groups) - 1, 0, -1):  # punctuation is not a word
            if not any(letter.isalnum() for letter in texts[at]):
                groups[at - 1 : at + 1] = [groups[at - 1] + groups[at]]
                texts[at - 1 : at + 1] = [" ".join(self._decode(tokens, groups[at - 1]).split())]
        return groups, texts

    def _decode(self, tokens: list[int], group: list[int]) -> str:
        return str(self._tokenizer.decode([tokens[at] for at in group]))


def divide(cuts: Sequence[Cut], timed: TimedText, joint: str) -> tuple[list[CutText], list[Cut]]:
    """The text of each cut of a window that has words, and the cuts without any.

    If the words have no times, the text belongs to all cuts.
    """
    words, scores = timed.words, (timed.log_probability, timed.no_speech)
    if not timed.text:
        return [], list(cuts)
    if len(cuts) == 1 or not words:
        return [CutText(cuts[0][0], cuts[-1][1], timed.text, words, *scores)], []
    begins = np.cumsum([0, *(end - start for start, end in cuts)]) / RATE
    texts, cut_of_word, spoken = list[CutText](), list[int](), set[int]()
    for at, (word, inner) in enumerate(zip(words, timed.inner, strict=True)):
        # A pause before a word may count as its beginning, and skipped speech as the end of the last word.
        middle = (word.start + word.end) / 2
        middle = max(middle, word.end - EARLY) if at < len(words) - 1 else min(middle, word.start + EARLY)
        inside = np.searchsorted(begins[1:-1], inner or [middle], side="right").tolist()
        cut_of_word.append(max(min(inside), cut_of_word[-1] if cut_of_word else 0))
        spoken.update(range(min(inside), max(inside) + 1))  # of several cuts where digits are one word: "3-8-6-2"
    for at, (start, end) in enumerate(cuts):
        begin, seconds = float(begins[at]), (end - start) / RATE
        own = tuple(
            replace(word, start=max(0.0, word.start - begin), end=min(seconds, word.end - begin))
            for word, cut in zip(words, cut_of_word, strict=True)
            if cut == at
        )
        if own:
            texts.append(CutText(start, end, joint.join(word.text for word in own), own, *scores))
    return texts, [cut for at, cut in enumerate(cuts) if at not in spoken]


def _loud_frames(sound: np.ndarray) -> np.ndarray:
    """(frames,) bool, a frame a hop: the frames that are not pauses."""
    peaks = np.abs(np.pad(sound, (0, -len(sound) % HOP))).reshape(-1, HOP).max(1)
    return np.asarray(peaks >= QUIET * peaks.max())


def _spread_evenly(letters: Sequence[int], loud: np.ndarray) -> np.ndarray:
    """(words + 1,) seconds: where each word begins, and the last ends, if every letter and space lasts the same."""
    shares = np.cumsum([0, *(count + 1 for count in letters)]) / (sum(letters) + len(letters))
    return np.asarray(np.interp(shares, np.cumsum([0, *loud]) / loud.sum(), np.arange(len(loud) + 1) * HOP / RATE))
