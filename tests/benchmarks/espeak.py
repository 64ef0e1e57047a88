"""Speech whose words' times are known: espeak-ng's own library tells at which sample each word begins."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
import soxr

RATE = 16_000
RETRIEVAL, UTF8, SENTENCE = 1, 1, 1  # sound comes in a callback; the text's encoding; positions are characters
WORD, LIST_END = 1, 0  # types of events
SPEED = 1  # espeakRATE, in words a minute


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Spoken:
    """A text said aloud."""

    sound: np.ndarray  # (samples,) float32, 16 kHz
    starts: tuple[float, ...]  # of its words, in seconds


class Voice:
    """espeak-ng in this process. Raises OSError where its library is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(RETRIEVAL, 0, None, 0)
        self._sound: list[np.ndarray] = []
        self._starts: list[float] = []
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count:
            self._sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type != LIST_END:
            if events[at].type == WORD:
                self._starts.append(events[at].audio_position / 1000)
            at += 1
        return 0

    def say(self, text: str, voice: str = "sv", words_per_minute: int = 160) -> Spoken:
        """The text in that voice, such as "sv+f2"."""
        self._sound, self._starts = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(SPEED, words_per_minute, 0)
        raw = text.encode()
        self._library.espeak_Synth(raw, len(raw) + 1, 0, SENTENCE, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._sound).astype(np.float32) / 32_768
        return Spoken(soxr.resample(sound, self._rate, RATE).astype(np.float32), tuple(self._starts))
