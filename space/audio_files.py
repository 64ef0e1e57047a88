"""Audio and video files that are accepted: their size and length are checked before they cost memory or time.

Files come from strangers. The length is counted while decoding, since a header may be wrong, and decoding stops at the
limit, since a few kilobytes can decompress to days of silence.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np
import upload_limits
from audio import RATE, Fault, Sound, Unreadable
from audio_decoder import Recording
from speech_detection import SILENCE

MAX_SAMPLES_PER_SECOND = 384_000  # of all channels: eight at 48 kHz, two at 192
FAULT_MESSAGES: dict[Fault, str] = {
    "incomplete": "a part of this recording is damaged or missing",
    "joined": "this file holds several recordings, of which only the first can be decoded",
}


class AudioFileError(ValueError):
    """A file that is not accepted: the key of a text in `translations`, and the values of its fields."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def read_upload(path: str | Path | None) -> Sound:
    """Decode an uploaded file within the limits. Raises `AudioFileError`, also if the recording is silent."""
    if path is None or not Path(path).is_file():
        raise AudioFileError("missing")
    with Path(path).open("rb") as file:
        sound = read_open_file(file)
    if np.abs(sound.samples).max() < SILENCE:
        raise AudioFileError("silent")
    return sound


def read_open_file(file: IO[bytes]) -> Sound:
    """Decode an open file within the limits. Raises `AudioFileError`."""
    size = file.seek(0, os.SEEK_END)
    if size > upload_limits.MAX_MEGABYTES * 1_000_000:
        raise AudioFileError("too_big", **upload_limits.texts())
    sound = decode_up_to(file, upload_limits.MAX_MINUTES * 60) if size else None
    if not sound or not len(sound.samples):
        raise AudioFileError("nothing")
    return sound


def decode_up_to(file: str | Path | IO[bytes], max_seconds: float) -> Sound:
    """Decode a file of at most `max_seconds`. Raises `AudioFileError`."""
    recording, blocks, samples = Recording(file), [np.zeros(0, np.float32)], 0
    try:
        for block in recording:
            blocks.append(block)
            samples += len(block)
            seconds = max(samples / RATE, (recording.seconds or 0.0) - 1, recording.work / MAX_SAMPLES_PER_SECOND)
            if seconds > max_seconds:
                raise AudioFileError("too_long", **upload_limits.texts())
    except Unreadable:
        raise AudioFileError("unreadable") from None
    return Sound(np.concatenate(blocks), recording.fault, recording.has_video)


def read_file(path: str | Path) -> Sound:
    """Decode a file of any length. Raises ValueError, in one line, if it is missing, not audio, empty or silent."""
    if not Path(path).is_file():
        raise ValueError("there is no such file")
    sound = Recording(path).sound()
    if not len(sound.samples):
        raise Unreadable("the recording is empty")
    if np.abs(sound.samples).max() < SILENCE:
        raise ValueError("the recording is silent")
    return sound
