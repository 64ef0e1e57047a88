"""WER where speech is not alone: the same clips under noise and in a room, as served.

Every test hears the same noise and the same rooms: of the held-out recordings that the profile names, so that they are
not the training's, else made from a seed of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from asr import acoustics
from asr.corpus import recordings
from asr.scoring import intervals, rates
from asr.settings import Settings

DECIBELS = (20, 10, 5, 0)  # of speech over noise
ROOMS = 16
SEED = 2**31  # far from a trial's


def report(
    transcribe: Callable[[list[np.ndarray]], Sequence[str]], sounds: Sequence[np.ndarray], said: Sequence[str],
    heard: Sequence[str], speakers: Sequence[str | None], settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    """WERs in percent of some clips, (samples,) float32 at 16 kHz, each with its 95 % interval `_ci`.

    `noisy_clean_wer` is that of what was `heard` in them as they are. `noisy_wer` has one for each of DECIBELS, by its
    name, in noise that is the same at each; `noise_heard` and `room_heard` say where noise and rooms come from.
    """

    def wer(texts: Sequence[str]) -> tuple[float, tuple[float, float]]:
        errors = rates.errors(said, texts, settings.text.scoring, settings.corpus.language)
        wrong, words = [one.word_errors for one in errors], [one.words for one in errors]
        found = intervals.interval(wrong, words, speakers)
        return rates.rate(sum(wrong), sum(words)), (found.low, found.high)

    noises, rooms = list(_noises(sounds, settings)), _rooms(len(sounds), settings)
    clean, clean_ci = wer(heard)
    noisy = {
        f"{decibels}": wer(transcribe(list(map(acoustics.add_noise, sounds, noises, [decibels] * len(sounds)))))
        for decibels in DECIBELS
    }
    room, room_ci = wer(transcribe(list(map(acoustics.add_reverberation, sounds, rooms))))
    return {
        "noisy_clips": len(sounds),
        "noisy_clean_wer": clean,
        "noisy_clean_wer_ci": clean_ci,
        "noisy_wer": {decibels: rate for decibels, (rate, _) in noisy.items()},
        "noisy_wer_ci": {decibels: reach for decibels, (_, reach) in noisy.items()},
        "noise_heard": "recordings" if settings.training.noise else "made",
        "room_wer": room,
        "room_wer_ci": room_ci,
        "room_heard": "recordings" if settings.training.rooms else "simulated",
    }


def _noises(sounds: Sequence[np.ndarray], settings: Settings) -> Iterator[np.ndarray]:
    """(samples,) for each of the sounds."""
    folder = settings.training.noise
    held_out = recordings.listed(folder, "noise")[1] if folder else None
    for at, sound in enumerate(sounds):
        random = np.random.default_rng([SEED, at])
        yield held_out.stretch(len(sound), random) if held_out else acoustics.coloured_noise(len(sound), random)


def _rooms(count: int, settings: Settings) -> list[np.ndarray]:
    """So many impulse responses (taps,)."""
    if folder := settings.training.rooms:
        held_out = recordings.listed(folder, "rooms")[1]
        return [held_out.whole(np.random.default_rng([SEED, at])) for at in range(count)]
    simulated = acoustics.simulate_rooms(min(ROOMS, count), SEED)
    return [simulated[at % ROOMS] for at in range(count)]
