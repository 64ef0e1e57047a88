"""Words while one speaks: a window of sound that grows, is heard again every second or so, and is cut at pauses.

What ends in a pause is heard once more by itself, as a file would be, and its words stay; those after it are tentative.
(What two hearings in a row agreed on stayed before, the first half of a sentence without the second. In five minutes
of the sample's clips 11.0 % of the words were then wrong, 7.7 % are now, and 9.4 % in the same sound as a file.)
The page only brings sound and takes words, so that no piece of sound waits for the engine: the hearing is a thread of
its own, and never takes more than its share of the time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import soxr
from batching import Stopped
from faster_whisper.vad import VadOptions, get_speech_timestamps

RATE = 16_000
GATHER = 1.0  # seconds of new sound for a hearing, at least
SHARE = 1.5  # times its own cost between two hearings: an engine that is slow hears less often, and keeps up
PAUSE = 0.3  # seconds without speech after which nothing before them changes
MARGIN = 0.4  # seconds kept before speech, at most
CAP = 12.0  # seconds of sound heard at once; fewer where the release holds fewer
QUIET = 3e-3  # peak, of 1.0: nothing to look at
LONGEST = 30 * 60.0  # seconds
SPEAKERS = 8  # at once
FAR_BEHIND = 20.0  # seconds of sound that wait for the engine, and make who sends it wait
TICK = 0.2  # seconds between two looks for new words
NOTHING = np.zeros(0, np.float32)

SPEECH = VadOptions(threshold=0.35, min_silence_duration_ms=300, min_speech_duration_ms=100, speech_pad_ms=100)


class Said(NamedTuple):
    """A word with when it was said, in seconds since the speaker began."""

    text: str
    start: float
    end: float


class Session:
    """One speaker at one microphone."""

    def __init__(self, transcriber: Any) -> None:
        self.transcriber = transcriber
        self.seconds = 0.0  # of sound so far
        self.heard = 0.0  # seconds of it that the engine was given, again and again: what silence must not add to
        self.cap = min(CAP, transcriber.longest)
        self._window = np.zeros(0, np.float32)  # the sound that is still heard: up to now
        self._firm: list[Said] = []
        self._tail: list[Said] = []
        self._fresh = 0  # samples that no hearing has seen
        self._cost = 0.0  # seconds that the latest hearing took
        self._lock = threading.Lock()
        self._hearing: threading.Thread | None = None
        self._over = False

    @property
    def firm(self) -> list[str]:
        """The words that stay."""
        return [word.text for word in self._firm]

    @property
    def tail(self) -> list[str]:
        """The words after them, which may change."""
        return [word.text for word in self._tail]

    @property
    def behind(self) -> float:
        """Seconds of sound whose words may still change: more than a few where the engine does not keep up."""
        return len(self._window) / RATE

    @property
    def overdue(self) -> bool:
        """Whether so much sound waits for the engine that no more is to be taken yet."""
        return self.behind > FAR_BEHIND + self.cap

    @property
    def busy(self) -> bool:
        """Whether the engine has some of it in hand."""
        return self._hearing is not None and self._hearing.is_alive()

    def add(self, sound: np.ndarray) -> None:
        """New sound; returns at once."""
        with self._lock:
            self.seconds += len(sound) / RATE
            if not len(self._window) and np.abs(sound).max(initial=0) < QUIET:
                return
            self._window = np.concatenate([self._window, sound])
            self._fresh += len(sound)
            if self._over or self.busy or self._fresh < RATE * max(GATHER, SHARE * self._cost):
                return
            self._hearing = threading.Thread(target=self._hear, daemon=True)
            self._hearing.start()

    def finish(self) -> None:
        """Hear what is left; afterwards all is firm."""
        if self._hearing is not None:
            self._hearing.join()
        self._hear(last=True)

    def close(self) -> None:
        """Nobody waits for words any more: the engine is freed after the batch that it has in hand."""
        self._over = True
        if self._hearing is not None:
            self._hearing.join()

    def _hear(self, last: bool = False) -> None:
        """Hear what ended in a pause once more by itself, which is the last time, and what comes after it."""
        with self._lock:
            window, self._fresh, began = self._window, 0, self.seconds - len(self._window) / RATE
        clock = time.monotonic()
        try:
            found = get_speech_timestamps(window, SPEECH) if len(window) else []
            speech = [(one["start"], one["end"]) for one in found]
            cut = len(window) if last else _paused(speech, len(window))
            firm, tail = (self._words(window, part, began, speech) for part in ((0, cut), (cut, len(window))))
        except Stopped:
            return
        except Exception:  # one hearing less; the log tells of it, without what was said
            logging.getLogger(__name__).exception("a hearing failed")
            return
        if len(window) - cut > self.cap * RATE:  # nobody pauses
            at, end = _apart(tail, began + cut / RATE + self.cap / 3, began + len(window) / RATE)
            firm, tail, cut = firm + tail[:at], tail[at:], round((end - began) * RATE)
        with self._lock:
            self._cost = time.monotonic() - clock
            self._firm += firm
            self._tail = tail
            self._window = self._window[cut:]
            self._fresh = min(self._fresh, len(self._window))

    def _words(
        self, window: np.ndarray, part: tuple[int, int], began: float, speech: list[tuple[int, int]]
    ) -> list[Said]:
        """The words in a part of a window that began at that second, where anybody speaks in it."""
        start, end = part
        if not any(begins < end and ends > start for begins, ends in speech):
            return []
        self.heard += (end - start) / RATE
        began += start / RATE
        return [
            Said(word.text.strip(), began + word.start, began + word.end)
            for segment in self.transcriber.segments(window[start:end], is_wanted=lambda: not self._over)
            for word in segment.words
            if word.text.strip()
        ]


class Stream:
    """16-bit PCM, mono and little-endian, at any rate, on its way into a session."""

    def __init__(self, session: Session, rate: int) -> None:
        self.session, self.rate = session, rate
        self._begin()

    def _begin(self) -> None:
        self._resampling = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32")

    def add(self, pcm: bytes) -> int:
        """A piece of it, as far as the session has room for it; how many samples were taken."""
        left = math.ceil(max(0.0, LONGEST - self.session.seconds) * self.rate)
        sound = np.frombuffer(pcm, "<i2")[:left].astype(np.float32) / 32768
        self.session.add(self._resampling.resample_chunk(sound))
        return len(sound)

    def end(self) -> None:
        """What the resampling still holds; pieces that come later are a new sound."""
        self.session.add(self._resampling.resample_chunk(NOTHING, last=True))
        self._begin()


def _paused(speech: list[tuple[int, int]], length: int) -> int:
    """The sample in the latest pause where what comes before it is done with; 0 where there was no pause."""
    edges = [0, *(edge for one in speech for edge in one), length]
    pauses = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= PAUSE * RATE]
    return max((max(end - round(MARGIN * RATE), (start + end) // 2) for start, end in pauses), default=0)


def _apart(words: list[Said], least: float, now: float) -> tuple[int, float]:
    """How many words to part from the others, and when: in the widest gap between two after `least` seconds.

    All of them where there is no such gap.
    """
    gaps = [
        (after.start - word.end, at, (word.end + after.start) / 2)
        for at, (word, after) in enumerate(pairwise(words), 1)
        if word.end > least
    ]
    return max(gaps)[1:] if gaps else (len(words), now)
