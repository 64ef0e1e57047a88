"""Augmentation of a waveform: reverberation, noise, telephone and codec, by the shares of [training]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from asr import acoustics
from asr.corpus import recordings
from asr.settings import Training

MIN_SNR, MAX_SNR = 0.0, 30.0  # decibels
SIMULATED_ROOMS = 64  # per trial: simulating one takes 40 ms, too long for a draw

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class WaveformAugmentation:
    """Draws changes of a waveform. Raises `InputError` where a folder of recordings cannot be read.

    It is created before the dataloader's workers are forked, so that they share its rooms.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self._noise = recordings.list_recordings(training.noise, "noise")[0] if training.noise else None
        self._rooms = recordings.list_recordings(training.rooms, "rooms")[0] if training.rooms else None
        simulated = training.room_share and not self._rooms
        self._simulated = acoustics.simulate_rooms(SIMULATED_ROOMS, training.seed) if simulated else ()

    def sample(self, random: np.random.Generator) -> list[Change]:
        """The changes of one draw, in this order."""
        training = self.training
        noisy = random.random() < training.noise_share
        shares: tuple[tuple[Change, float], ...] = (
            (self._add_reverberation, training.room_share),
            (self._add_noise, float(noisy)),
            (acoustics.apply_telephone, training.telephone_share),
            (acoustics.apply_codec, training.codec_share),
        )
        # A share of 0 takes no number from `random`, so that other draws do not depend on it.
        return [change for change, share in shares if share and (share == 1 or random.random() < share)]

    def _add_noise(self, sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
        samples = len(sound)
        noise = (
            self._noise.random_excerpt(samples, random) if self._noise else acoustics.coloured_noise(samples, random)
        )
        return acoustics.add_noise(sound, noise, random.uniform(MIN_SNR, MAX_SNR))

    def _add_reverberation(self, sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if self._rooms:
            return acoustics.add_reverberation(sound, self._rooms.random_recording(random))
        return acoustics.add_reverberation(sound, self._simulated[int(random.integers(len(self._simulated)))])


def apply_changes(sound: np.ndarray, changes: Sequence[Change], random: np.random.Generator) -> np.ndarray:
    """(samples,) float32 after all changes."""
    for change in changes:
        sound = change(sound, random)
    return sound
