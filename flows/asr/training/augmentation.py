"""Augmentation of training clips: speed, quiet, SpecAugment masks, and BPE dropout.

Each function takes the random generator of one draw. Sounds are (samples,) float32 at 16 kHz, log-mels are
(mel, frames) float32, 100 frames a second.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import numpy as np

from asr.acoustics import coloured_noise
from asr.corpus.audio import RATE
from asr.training.models import FRAMES_PER_SECOND, WINDOW_FRAMES

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

LOG_MEL_RANGE = 2.0  # log-mels below the maximum are cut: Whisper keeps 8 powers of ten, and divides by 4
MIN_LOG_MEL = -1.5  # of any log-mel: the extractor's floor is 1e-10
MASK_BINS, MASK_FRAMES = 16, 20
HUM = 50.0  # hertz, of the mains


def change_speed(sound: np.ndarray, most: float, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """The sound resampled up to `most` faster or slower, which changes the pitch too, and the factor."""
    import soxr

    factor = float(random.uniform(1 - most, 1 + most))
    return soxr.resample(sound, RATE * factor, RATE).astype(np.float32, copy=False), factor


def make_silence(seconds: float, random: np.random.Generator) -> np.ndarray:
    """(samples,) without speech: digital silence, noise, or noise with mains hum."""
    samples, kind = round(seconds * RATE), random.integers(0, 4)
    if kind == 0:
        return np.zeros(samples, np.float32)
    sound = coloured_noise(samples, random)
    if kind == 1:
        sound += 2 * np.sin(2 * np.pi * HUM * np.arange(samples) / RATE + random.uniform(0, 2 * np.pi))
    level = 10 ** (random.uniform(-70, -20) / 20)  # of full scale
    return (level * sound / max(1.0, float(np.abs(sound).max()))).astype(np.float32)


def add_quiet(
    features: np.ndarray, seconds: tuple[float, float], random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Add quiet before and after, within the window; returns the log-mels and the seconds added before.

    Recordings start before the speech, which clips that are cut to the words do not show. The quiet is flat noise, 10^8
    to 10^4 below the loudest bin.
    """
    before, after = (int(part * FRAMES_PER_SECOND) for part in seconds)
    room = WINDOW_FRAMES - features.shape[1]
    before, after = min(before, room), min(after, room - min(before, room))
    if not before + after:
        return features, 0.0
    dead = silence_level(features)
    quiet = dead + random.uniform(0, LOG_MEL_RANGE / 2) + 0.1 * random.standard_normal((len(features), before + after))
    quiet = np.maximum(quiet, dead).astype(np.float32)
    return np.concatenate([quiet[:, :before], features, quiet[:, before:]], axis=1), before / FRAMES_PER_SECOND


def silence_level(features: np.ndarray) -> float:
    """The value of digital silence in a clip's log-mels."""
    return max(float(features.max()) - LOG_MEL_RANGE, MIN_LOG_MEL)


def mask_features(
    features: np.ndarray, frequency_masks: int, time_masks: int, random: np.random.Generator
) -> np.ndarray:
    """The log-mels with some bands and stretches set to their mean (SpecAugment, arXiv:1904.08779)."""
    if not frequency_masks and not time_masks:
        return features
    features, mean = features.copy(), features.mean()
    bins, frames = features.shape
    for _ in range(frequency_masks):
        width = int(random.integers(0, MASK_BINS))
        at = int(random.integers(0, bins - width))
        features[at : at + width] = mean
    for _ in range(time_masks):
        width = min(int(random.integers(0, MASK_FRAMES)), frames // 4)
        at = int(random.integers(0, frames - width))
        features[:, at : at + width] = mean
    return features


class BpeDropout:
    """BPE dropout (arXiv:1910.13267): merges are left out at random, which gives other tokens.

    The tokenizer's own dropout has no seed, so trials would not be reproducible.
    """

    def __init__(self, tokenizer: WhisperTokenizer, dropout: float) -> None:
        self.dropout, self.pre_tokenizer = dropout, tokenizer.backend_tokenizer.pre_tokenizer
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        merges = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        self.merge_ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self.vocabulary: dict[str, int] = model["vocab"]

    def tokens(self, text: str, random: np.random.Generator) -> list[int]:
        """The text's tokens, without prompt and end."""
        ids = []
        for word, _ in self.pre_tokenizer.pre_tokenize_str(text):
            parts = list(word)
            while pairs := [
                (self.merge_ranks[pair], at)
                for at, pair in enumerate(itertools.pairwise(parts))
                if pair in self.merge_ranks and random.random() >= self.dropout
            ]:
                at = min(pairs)[1]
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            ids += [self.vocabulary[part] for part in parts]
        return ids
