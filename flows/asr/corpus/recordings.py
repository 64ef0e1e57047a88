"""A folder of recordings to hear speech in: noise, or the impulse responses of rooms.

Every fifth is never trained with: a test hears those, so that it tells of noise and rooms that a model does not know.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from asr import InputError, first_line
from asr.corpus.audio import RATE, Recording, Unreadable
from asr.corpus.files import AWAY, below, download
from asr.corpus.folder import RECORDINGS
from asr.settings import Training

HELD_OUT = 5  # one of so many
SOUGHT = (".wav", ".flac", ".aif", ".aiff")  # read from any place on, where they are files here
LONGEST = 300.0  # seconds that are heard of any other, from its beginning
KEPT_BYTES = 1 << 28  # of those, in each process


class Recordings:
    """Some recordings of a folder, read when they are asked for; `key` of [training] named it."""

    def __init__(self, places: Sequence[str], key: str) -> None:
        self.places, self.key = tuple(places), key
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def stretch(self, samples: int, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz from a random place of a random recording, over and over where it is shorter.

        Raises `InputError` where it cannot be read, as `whole` does.
        """
        place, where = self._any(random), random.random()
        sound = _sought(place, samples, where) if _can_seek(place) else None
        if sound is None:
            sound = self._whole(place)
            at = int(where * max(1, len(sound) - samples))
            sound = sound[at : at + samples].astype(np.float32)
        if not len(sound):
            return np.zeros(samples, np.float32)
        return np.nan_to_num(np.resize(sound, samples), nan=0.0, posinf=0.0, neginf=0.0)

    def whole(self, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz of a random recording."""
        return np.nan_to_num(self._whole(self._any(random)).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)

    def check(self) -> None:
        """Look into those that lie here. Raises `InputError` at the first without sound."""
        for place in self.places:
            if place.startswith(AWAY):
                continue
            try:
                next(iter(Recording(place)))
            except (Unreadable, OSError) as error:
                raise self._refused(place, error) from None

    def _any(self, random: np.random.Generator) -> str:
        return self.places[int(random.integers(len(self.places)))]

    def _whole(self, place: str) -> np.ndarray:
        """(samples,) float16, kept while there is room."""
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        try:
            sound = Recording(download(place) if place.startswith(AWAY) else place).sound(LONGEST).samples
        except (Unreadable, OSError) as error:
            raise self._refused(place, error) from None
        self._kept[place] = sound.astype(np.float16)
        while sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return self._kept[place]

    def _refused(self, place: str, error: Exception) -> InputError:
        return InputError(f"[training] {self.key}: {place} cannot be read: {first_line(error)}")


def listed(folder: str, key: str) -> tuple[Recordings, Recordings]:
    """The folder's recordings, at any depth: those to train with, and those that are held out.

    Raises `InputError` where there is no folder, or nothing in it to divide.
    """
    names = [name for name in below(folder, f"[training] {key}").every() if _is_recording(name)]
    if len(names) < 2:
        raise InputError(
            f"[training] {key}: {folder} holds {'one recording' if names else 'no recordings'}; it takes two or more, "
            f"for one of {HELD_OUT} is kept for the test"
        )
    places = [f"{folder.rstrip('/')}/{name}" for name in names]
    held_out = places[::HELD_OUT]
    return Recordings([place for place in places if place not in set(held_out)], key), Recordings(held_out, key)


def check(training: Training) -> None:
    """Look into the folders that [training] names. Raises `InputError` where a trial could not hear them."""
    for key, folder in (("noise", training.noise), ("rooms", training.rooms)):
        for part in listed(folder, key) if folder else ():
            part.check()


def _is_recording(name: str) -> bool:
    """Whether it has a recording's name; macOS leaves a ._1.wav beside 1.wav that is none."""
    return name.lower().endswith(RECORDINGS) and not name.rpartition("/")[2].startswith(".")


def _can_seek(place: str) -> bool:
    return not place.startswith(AWAY) and place.lower().endswith(SOUGHT)


def _sought(place: str, samples: int, where: float) -> np.ndarray | None:
    """At most (samples,) of a file from that part of it on; None where it must be read from its beginning."""
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(place) as file:
            wanted = math.ceil(samples * file.samplerate / RATE)
            file.seek(int(where * max(1, file.frames - wanted)))
            sound = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
            return soxr.resample(sound, file.samplerate, RATE)[:samples]
    except (soundfile.LibsndfileError, OSError):
        return None
