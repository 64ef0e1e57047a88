"""WER under added noise and reverberation: the same clips, decoded by the engine that serves the model.

Every test uses the same noise and rooms: the held-out recordings that the profile names, so that training did not use
them, or synthetic ones from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from asr import acoustics
from asr.corpus import recordings
from asr.scoring import intervals, rates
from asr.settings import Settings

SNR_DECIBELS = (20, 10, 5, 0)  # speech over noise
ROOMS = 16
SEED = 2**31  # far from any trial's seed


def measure_robustness(
    transcribe: Callable[[list[np.ndarray]], Sequence[str]], audio: Sequence[np.ndarray], references: Sequence[str],
    hypotheses: Sequence[str], speakers: Sequence[str | None], settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    """WERs in percent of some clips with noise and in a room, each with its 95 % interval in `..._ci`.

    Args:
        transcribe: the served engine, audio to text.
        audio: a clip each, (samples,) float32 at 16 kHz.
        references: the clips' transcripts.
        hypotheses: what the engine wrote for the clips without noise, reported as `noisy_clean_wer`.
        speakers: the clips' speakers, None where unknown.

    Returns:
        `noisy_wer` has one WER for each of SNR_DECIBELS, keyed by its text; the noise is the same at each level.
        `noise_heard` and `room_heard` say where noise and rooms come from.
    """

    def wer(texts: Sequence[str]) -> tuple[float, tuple[float, float]]:
        errors = rates.count_errors(references, texts, settings.text.scoring, settings.corpus.language)
        wrong, words = [clip.word_errors for clip in errors], [clip.words for clip in errors]
        interval = intervals.confidence_interval(wrong, words, speakers)
        return rates.error_rate(sum(wrong), sum(words)), (interval.low, interval.high)

    noises, rooms = list(_noises(audio, settings)), _rooms(len(audio), settings)
    clean, clean_ci = wer(hypotheses)
    noisy = {
        f"{decibels}": wer(transcribe(list(map(acoustics.add_noise, audio, noises, [decibels] * len(audio)))))
        for decibels in SNR_DECIBELS
    }
    room, room_ci = wer(transcribe(list(map(acoustics.add_reverberation, audio, rooms))))
    return {
        "noisy_clips": len(audio),
        "noisy_clean_wer": clean,
        "noisy_clean_wer_ci": clean_ci,
        "noisy_wer": {decibels: rate for decibels, (rate, _) in noisy.items()},
        "noisy_wer_ci": {decibels: bounds for decibels, (_, bounds) in noisy.items()},
        "noise_heard": "recordings" if settings.training.noise else "made",
        "room_wer": room,
        "room_wer_ci": room_ci,
        "room_heard": "recordings" if settings.training.rooms else "simulated",
    }


def _noises(audio: Sequence[np.ndarray], settings: Settings) -> Iterator[np.ndarray]:
    """A noise of the same length, (samples,), for each clip."""
    folder = settings.training.noise
    held_out = recordings.list_recordings(folder, "noise")[1] if folder else None
    for number, clip in enumerate(audio):
        random = np.random.default_rng([SEED, number])
        yield held_out.random_excerpt(len(clip), random) if held_out else acoustics.coloured_noise(len(clip), random)


def _rooms(count: int, settings: Settings) -> list[np.ndarray]:
    """`count` impulse responses, (taps,) each."""
    if folder := settings.training.rooms:
        held_out = recordings.list_recordings(folder, "rooms")[1]
        return [held_out.random_recording(np.random.default_rng([SEED, number])) for number in range(count)]
    simulated = acoustics.simulate_rooms(min(ROOMS, count), SEED)
    return [simulated[number % ROOMS] for number in range(count)]
