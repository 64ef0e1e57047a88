"""Words while one speaks: a window of sound that grows, is heard again every second or two, and is cut at pauses.

What two hearings in a row agree on is firm; the rest is tentative. The page only brings sound and takes words, so
that no piece of sound waits for the engine: the hearing is a thread of its own, and never takes more than its
share of the time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

RATE = 16_000
GATHER = 1.0  # seconds of new sound for a hearing, at least
SHARE = 1.5  # times its own cost between two hearings: an engine that is slow hears less often, and keeps up
PAUSE = 0.7  # seconds of quiet that end a sentence
MARGIN = 0.4  # seconds kept around speech
CAP = 12.0  # seconds of sound heard at once
QUIET = 3e-3  # peak, of 1.0: nothing to look at
LONGEST = 30 * 60.0  # seconds

SPEECH = VadOptions(threshold=0.35, min_silence_duration_ms=300, min_speech_duration_ms=100, speech_pad_ms=100)


class Session:
    """One speaker at one microphone."""

    def __init__(self, transcriber: Any) -> None:
        self.transcriber = transcriber
        self.firm: list[str] = []  # words that stay
        self.tail: list[str] = []  # words that may change
        self.seconds = 0.0  # of sound so far
        self.heard = 0.0  # seconds of it that the engine was given, again and again: what silence must not add to
        self._window = np.zeros(0, np.float32)
        self._held = 0  # words of the window that are firm already
        self._before: list[str] = []  # the window's words at the hearing before
        self._fresh = 0  # samples that no hearing has seen
        self._cost = 0.0  # seconds that the latest hearing took
        self._lock = threading.Lock()
        self._hearing: threading.Thread | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return self  # Gradio copies what it keeps for a visitor

    def add(self, sound: np.ndarray) -> None:
        """New sound; returns at once."""
        with self._lock:
            self.seconds += len(sound) / RATE
            if not len(self._window) and np.abs(sound).max(initial=0) < QUIET:
                return
            self._window = np.concatenate([self._window, sound])
            self._fresh += len(sound)
            busy = self._hearing is not None and self._hearing.is_alive()
            if busy or self._fresh < RATE * max(GATHER, SHARE * self._cost):
                return
            self._hearing = threading.Thread(target=self._hear, daemon=True)
            self._hearing.start()

    def finish(self) -> None:
        """Hear what is left; afterwards all is firm."""
        if self._hearing is not None:
            self._hearing.join()
        self._hear(last=True)

    def _hear(self, last: bool = False) -> None:
        with self._lock:
            window, self._fresh = self._window, 0
        began = time.monotonic()
        try:
            speech = get_speech_timestamps(window, SPEECH) if len(window) else []
            words = self._words(window) if speech else []
        except Exception:  # one hearing less; the log tells of it, without what was said
            logging.getLogger(__name__).exception("a hearing failed")
            return
        with self._lock:
            self._cost = time.monotonic() - began
            self._settle(window, speech, words, last)

    def _words(self, window: np.ndarray) -> list[tuple[str, float]]:
        """Words of the window with the second at which each ends."""
        self.heard += len(window) / RATE
        segments = self.transcriber.segments(window)
        return [(word.text.strip(), word.end) for segment in segments for word in segment.words if word.text.strip()]

    def _settle(self, window: np.ndarray, speech: list[Any], words: list[tuple[str, float]], last: bool) -> None:
        texts = [text for text, _ in words]
        ended = not speech or speech[-1]["end"] < len(window) - PAUSE * RATE
        if ended or last:
            self.firm += texts[self._held :]
            self._cut(len(window) - int(MARGIN * RATE), last)
            return
        agreed = 0
        for now, before in zip(texts, self._before, strict=False):
            if now != before:
                break
            agreed += 1
        self.firm += texts[self._held : agreed]
        self._held = max(self._held, agreed)
        self.tail, self._before = texts[self._held :], texts
        if len(window) < CAP * RATE:
            return
        cut = words[min(self._held, len(words)) - 1][1] if self._held and words else 0.0
        if cut < CAP / 3:  # two hearings agree on too little: what was heard last counts
            self.firm += self.tail
            cut = len(window) / RATE
        self._cut(int(cut * RATE))

    def _cut(self, start: int, last: bool = False) -> None:
        """Forget the window up to `start`, in samples."""
        self._window = self._window[len(self._window) if last else max(0, start) :]
        self._fresh = min(self._fresh, len(self._window))
        self._held, self._before, self.tail = 0, [], []
