"""Folders of recordings for augmentation: background noise, or impulse responses of rooms.

Every fifth recording is held out of training, so that tests use noise and rooms that the model does not know.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from asr import InputError, first_line
from asr.corpus.audio import RATE, Recording, Unreadable
from asr.corpus.files import AUDIO_SUFFIXES, REMOTE_SCHEMES, download_file, open_folder
from asr.settings import Training

HOLD_OUT_EVERY = 5
SEEKABLE_SUFFIXES = (".wav", ".flac", ".aif", ".aiff")  # if local, only the part that is needed is read
MAX_SECONDS = 300.0  # that are decoded of any other file, from its beginning
CACHE_BYTES = 1 << 28  # of decoded recordings, in each process


class Recordings:
    """Some recordings of a folder, read when they are needed; `key` of [training] named the folder."""

    def __init__(self, paths: Sequence[str], key: str) -> None:
        self.paths, self.key = tuple(paths), key
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()

    def random_excerpt(self, samples: int, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz from a random position of a random recording, repeated if it is shorter.

        Raises `InputError` if it cannot be read.
        """
        path, position = self._random_path(random), random.random()
        audio = _read_from(path, samples, position) if _is_seekable(path) else None
        if audio is None:
            audio = self._load(path)
            start = int(position * max(1, len(audio) - samples))
            audio = audio[start : start + samples].astype(np.float32)
        if not len(audio):
            return np.zeros(samples, np.float32)
        return np.nan_to_num(np.resize(audio, samples), nan=0.0, posinf=0.0, neginf=0.0)

    def random_recording(self, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz: a random recording. Raises `InputError` if it cannot be read."""
        audio = self._load(self._random_path(random)).astype(np.float32)
        return np.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)

    def check(self) -> None:
        """Decode the start of each local recording. Raises `InputError` for the first that has no audio."""
        for path in self.paths:
            if path.startswith(REMOTE_SCHEMES):
                continue
            try:
                next(iter(Recording(path)))
            except (Unreadable, OSError) as error:
                raise self._refused(path, error) from None

    def _random_path(self, random: np.random.Generator) -> str:
        return self.paths[int(random.integers(len(self.paths)))]

    def _load(self, path: str) -> np.ndarray:
        """(samples,) float16, cached while there is room."""
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        try:
            content = download_file(path) if path.startswith(REMOTE_SCHEMES) else path
            audio = Recording(content).sound(MAX_SECONDS).samples
        except (Unreadable, OSError) as error:
            raise self._refused(path, error) from None
        self._cache[path] = audio.astype(np.float16)
        while sum(cached.nbytes for cached in self._cache.values()) > CACHE_BYTES and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return self._cache[path]

    def _refused(self, path: str, error: Exception) -> InputError:
        return InputError(f"[training] {self.key}: {path} cannot be read: {first_line(error)}")


def list_recordings(folder: str, key: str) -> tuple[Recordings, Recordings]:
    """The folder's recordings, at any depth: those for training, and those held out for tests.

    Raises `InputError` if the folder is missing or has fewer than two recordings.
    """
    names = [name for name in open_folder(folder, f"[training] {key}").list_files() if _is_recording(name)]
    if len(names) < 2:
        raise InputError(
            f"[training] {key}: {folder} holds {'one recording' if names else 'no recordings'}; it needs two or more, "
            f"because one of {HOLD_OUT_EVERY} is held out for the test"
        )
    paths = [f"{folder.rstrip('/')}/{name}" for name in names]
    held_out = paths[::HOLD_OUT_EVERY]
    return Recordings([path for path in paths if path not in set(held_out)], key), Recordings(held_out, key)


def check_recordings(training: Training) -> None:
    """Check the folders that [training] names. Raises `InputError` if a trial could not read them."""
    for key, folder in (("noise", training.noise), ("rooms", training.rooms)):
        for recordings in list_recordings(folder, key) if folder else ():
            recordings.check()


def _is_recording(name: str) -> bool:
    """Whether the name is a recording's; macOS writes a ._1.wav beside 1.wav that is not."""
    return name.lower().endswith(AUDIO_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def _is_seekable(path: str) -> bool:
    return not path.startswith(REMOTE_SCHEMES) and path.lower().endswith(SEEKABLE_SUFFIXES)


def _read_from(path: str, samples: int, position: float) -> np.ndarray | None:
    """At most (samples,) of a file from `position` (0 to 1) on; None if it cannot be read that way."""
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(path) as file:
            frames = math.ceil(samples * file.samplerate / RATE)
            file.seek(int(position * max(1, file.frames - frames)))
            audio = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
            return soxr.resample(audio, file.samplerate, RATE)[:samples]
    except (soundfile.LibsndfileError, OSError):
        return None
