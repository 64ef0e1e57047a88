"""Speech whose word times are known: espeak-ng's own library gives the sample at which each word begins."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

RATE = 16_000
SYNCHRONOUS, CHARACTERS, UTF8 = 2, 1, 1  # sound comes in a callback; what positions count; how the text is encoded
SPEED, PITCH = 1, 3  # parameters
LIST_END, WORD = 0, 1  # types of events


class _Event(ctypes.Structure):
    """espeak-ng's espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Spoken:
    """A spoken text."""

    sound: np.ndarray  # (samples,) float32, 16 kHz
    begins: Mapping[int, float]  # in seconds, by the word's position in the text, in characters


def installed() -> bool:
    """Whether its library is installed."""
    return bool(ctypes.util.find_library("espeak-ng"))


class Synthesizer:
    """espeak-ng in this process. Raises OSError where its library is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0)

    def synthesize(self, text: str, voice: str, words_per_minute: int = 160, pitch: int = 50) -> Spoken:
        """The text in a voice such as "sv+f2". Raises ValueError where there is no such voice."""
        pieces, begins = list[np.ndarray](), dict[int, float]()

        def on_audio(samples: Any, count: int, events: Any) -> int:
            if samples and count:
                pieces.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32_768)
            index = 0
            while events[index].type != LIST_END:
                if events[index].type == WORD:
                    begins.setdefault(events[index].text_position - 1, events[index].sample / self._rate)
                index += 1
            return 0

        callback = _Callback(on_audio)
        self._library.espeak_SetSynthCallback(callback)
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(SPEED, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, CHARACTERS, 0, UTF8, None, None)
        return Spoken(soxr.resample(np.concatenate(pieces), self._rate, RATE).astype(np.float32), begins)
