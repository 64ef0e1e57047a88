"""The door: which files are taken, judged before they cost memory or time.

A recording is a stranger's file. Its length is counted while it is decoded, since a header may lie, and decoding ends
at the limit, since a few kilobytes can unpack to days of silence.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np
from audio import RATE, Fault, Sound, Unreadable
from decoder import Recording
from speech_detection import SILENCE

WORK = 384_000  # values of a channel that a second may hold, at most: eight channels at 48 kHz, two at 192
MEGABYTES = int(os.environ.get("MAX_MEGABYTES", 200))
MINUTES = float(os.environ.get("MAX_MINUTES", 60))
FILES = 20  # at once
FAULTS: dict[Fault, str] = {
    "incomplete": "a part of this recording is damaged or missing",
    "joined": "this file holds several recordings, of which only the first can be heard",
}


class Unheard(ValueError):
    """Why a file is not taken: a key of the page's wording, and its values."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def limits() -> dict[str, object]:
    return {"minutes": f"{MINUTES:g}", "megabytes": MEGABYTES}


def hear(path: str | Path | None) -> Sound:
    """A file's sound, all of it that can be read. Raises `Unheard`, also where it is silent."""
    if path is None or not Path(path).is_file():
        raise Unheard("missing")
    with Path(path).open("rb") as file:
        sound = read(file)
    if np.abs(sound.samples).max() < SILENCE:
        raise Unheard("silent")
    return sound


def read(file: IO[bytes]) -> Sound:
    """The sound of an open file. Raises `Unheard`."""
    size = file.seek(0, os.SEEK_END)
    if size > MEGABYTES * 1_000_000:
        raise Unheard("too_big", **limits())
    sound = decode(file, MINUTES * 60) if size else None
    if not sound or not len(sound.samples):
        raise Unheard("nothing")
    return sound


def decode(file: str | Path | IO[bytes], longest: float) -> Sound:
    """A file's sound, of at most `longest` seconds. Raises `Unheard`."""
    recording, blocks, samples = Recording(file), [np.zeros(0, np.float32)], 0
    try:
        for block in recording:
            blocks.append(block)
            samples += len(block)
            if max(samples / RATE, (recording.seconds or 0.0) - 1, recording.work / WORK) > longest:
                raise Unheard("too_long", **limits())
    except Unreadable:
        raise Unheard("unreadable") from None
    return Sound(np.concatenate(blocks), recording.fault, recording.pictured)


def read_file(path: str | Path) -> Sound:
    """A file's sound. Raises ValueError, in one line, where it is missing, is no audio, or is empty or silent."""
    if not Path(path).is_file():
        raise ValueError("there is no such file")
    sound = Recording(path).sound()
    if not len(sound.samples):
        raise Unreadable("the recording is empty")
    if np.abs(sound.samples).max() < SILENCE:
        raise ValueError("the recording is silent")
    return sound
