"""Live transcription: a growing window of audio is decoded again every second or so, and is cut at pauses.

Audio before a pause is decoded once more by itself, as a file would be, and its words become final; the words after it
are tentative. (decisions.md, "Live words become final at pauses", has the measurement.)
A caller only adds audio and reads words, so no audio waits for the engine: decoding runs in a thread of its own, with a
limited share of the time.
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
from batching import Cancelled
from faster_whisper.vad import VadOptions, get_speech_timestamps

RATE = 16_000  # Hz
MIN_NEW_SECONDS = 1.0  # of audio before the window is decoded again
DECODE_SHARE = 1.5  # a decode waits for this multiple of its own duration of new audio, so a slow engine keeps up
PAUSE = 0.3  # seconds without speech, before which words are final
MARGIN = 0.4  # seconds kept before speech, at most
MAX_WINDOW = 12.0  # seconds decoded at once; fewer if the release takes fewer
SILENCE = 3e-3  # peak, of 1.0, below which audio is ignored
MAX_SECONDS = 30 * 60.0  # of a session
MAX_SESSIONS = 8  # at once
MAX_BACKLOG = 20.0  # seconds of audio that wait for the engine before the sender has to wait
POLL_SECONDS = 0.2  # between two checks for new words
NO_AUDIO = np.zeros(0, np.float32)

VAD_OPTIONS = VadOptions(threshold=0.35, min_silence_duration_ms=300, min_speech_duration_ms=100, speech_pad_ms=100)

logger = logging.getLogger(__name__)


class TimedWord(NamedTuple):
    """A word with its times, in seconds since the session began."""

    text: str
    start: float
    end: float


class LiveSession:
    """The audio and the words of one speaker."""

    def __init__(self, transcriber: Any) -> None:
        self.transcriber = transcriber
        self.seconds = 0.0  # of audio so far
        self.decoded_seconds = 0.0  # sum over all decodes; silence must not add to it
        self.max_window = min(MAX_WINDOW, transcriber.longest)
        self._window = NO_AUDIO  # the latest audio, whose words are not final
        self._final: list[TimedWord] = []
        self._tentative: list[TimedWord] = []
        self._new_samples = 0  # not decoded yet
        self._decode_cost = 0.0  # seconds that the latest decode took
        self._lock = threading.Lock()
        self._decoding: threading.Thread | None = None
        self._is_closed = False

    @property
    def final_words(self) -> list[str]:
        """The words that no longer change."""
        return [word.text for word in self._final]

    @property
    def tentative_words(self) -> list[str]:
        """The words after them, which may still change."""
        return [word.text for word in self._tentative]

    @property
    def backlog(self) -> float:
        """Seconds of audio without final words; more than a few if the engine does not keep up."""
        return len(self._window) / RATE

    @property
    def is_overloaded(self) -> bool:
        """Whether so much audio waits for the engine that no more should be accepted yet."""
        return self.backlog > MAX_BACKLOG + self.max_window

    @property
    def is_busy(self) -> bool:
        """Whether the engine is decoding for this session."""
        return self._decoding is not None and self._decoding.is_alive()

    def add(self, sound: np.ndarray) -> None:
        """Add audio, (samples,) float32 at 16 kHz. Returns at once."""
        with self._lock:
            self.seconds += len(sound) / RATE
            if not len(self._window) and np.abs(sound).max(initial=0) < SILENCE:
                return
            self._window = np.concatenate([self._window, sound])
            self._new_samples += len(sound)
            min_new_samples = RATE * max(MIN_NEW_SECONDS, DECODE_SHARE * self._decode_cost)
            if self._is_closed or self.is_busy or self._new_samples < min_new_samples:
                return
            self._decoding = threading.Thread(target=self._decode, daemon=True)
            self._decoding.start()

    def finish(self) -> None:
        """Decode the remaining audio; afterwards all words are final."""
        if self._decoding is not None:
            self._decoding.join()
        self._decode(is_last=True)

    def close(self) -> None:
        """Stop decoding after the current batch, since the words are no longer needed."""
        self._is_closed = True
        if self._decoding is not None:
            self._decoding.join()

    def _decode(self, is_last: bool = False) -> None:
        """Decode the window: the part before its last pause to final words, the rest to tentative ones."""
        with self._lock:
            window, self._new_samples = self._window, 0
            window_start = self.seconds - len(window) / RATE
        began = time.monotonic()
        try:
            spans = get_speech_timestamps(window, VAD_OPTIONS) if len(window) else []
            speech = [(span["start"], span["end"]) for span in spans]
            cut = len(window) if is_last else _find_cut(speech, len(window))
            final = self._decode_part(window, 0, cut, window_start, speech)
            tentative = self._decode_part(window, cut, len(window), window_start, speech)
        except Cancelled:
            return
        except Exception:  # the next decode may succeed
            logger.exception("a window of live audio could not be decoded")
            return
        if len(window) - cut > self.max_window * RATE:  # speech without a pause
            earliest = window_start + cut / RATE + self.max_window / 3
            count, end = _split_at_widest_gap(tentative, earliest, window_start + len(window) / RATE)
            final, tentative = final + tentative[:count], tentative[count:]
            cut = round((end - window_start) * RATE)
        with self._lock:
            self._decode_cost = time.monotonic() - began
            self._final += final
            self._tentative = tentative
            self._window = self._window[cut:]
            self._new_samples = min(self._new_samples, len(self._window))

    def _decode_part(
        self, window: np.ndarray, start: int, end: int, window_start: float, speech: list[tuple[int, int]]
    ) -> list[TimedWord]:
        """The words of samples `start` to `end`; none, and no decoding, if there is no speech in them."""
        if not any(speech_start < end and speech_end > start for speech_start, speech_end in speech):
            return []
        self.decoded_seconds += (end - start) / RATE
        offset = window_start + start / RATE
        return [
            TimedWord(word.text.strip(), offset + word.start, offset + word.end)
            for segment in self.transcriber.segments(window[start:end], is_wanted=lambda: not self._is_closed)
            for word in segment.words
            if word.text.strip()
        ]


class PcmStream:
    """Feeds 16-bit PCM, mono and little-endian, at any rate into a session."""

    def __init__(self, session: LiveSession, rate: int) -> None:
        self.session, self.rate = session, rate
        self._start()

    def _start(self) -> None:
        self._resampler = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32")

    def add(self, pcm: bytes) -> int:
        """Add a chunk, up to the session's limit; returns the number of samples that were accepted."""
        limit = math.ceil(max(0.0, MAX_SECONDS - self.session.seconds) * self.rate)
        sound = np.frombuffer(pcm, "<i2")[:limit].astype(np.float32) / 32768
        self.session.add(self._resampler.resample_chunk(sound))
        return len(sound)

    def end(self) -> None:
        """Flush the resampler; chunks that come later start a new stream."""
        self.session.add(self._resampler.resample_chunk(NO_AUDIO, last=True))
        self._start()


def _find_cut(speech: list[tuple[int, int]], length: int) -> int:
    """The sample in the latest pause where final audio ends; 0 if there is no pause.

    Half of a short pause stays with the next speech, of a longer pause at most `MARGIN`.
    """
    edges = [0, *(edge for span in speech for edge in span), length]
    pauses = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= PAUSE * RATE]
    return max((max(end - round(MARGIN * RATE), (start + end) // 2) for start, end in pauses), default=0)


def _split_at_widest_gap(words: list[TimedWord], earliest: float, end: float) -> tuple[int, float]:
    """Where to split words without a pause between them: in their widest gap after the second `earliest`.

    Returns:
        The number of words before the gap and the gap's time; all words and `end` if there is no such gap.
    """
    gaps = [
        (after.start - word.end, count, (word.end + after.start) / 2)
        for count, (word, after) in enumerate(pairwise(words), 1)
        if word.end > earliest
    ]
    return max(gaps)[1:] if gaps else (len(words), end)
