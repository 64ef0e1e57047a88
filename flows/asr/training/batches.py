"""From clips to batches: log-mels at their own length, buckets of like lengths, augmentation.

Every random choice is drawn from the seed and the draw's number alone, so a trial that is taken up again
at any step sees what it would have seen.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.corpus.clips import RATE
from asr.settings import Training

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import WhisperProcessor

FRAMES_PER_SECOND = 100
WINDOW_FRAMES = 3_000  # 30 s: what a stock Whisper is always fed
BUCKET_BATCHES = 8  # batches are cut from so many batches' worth of clips, sorted by length
RANGE = 2.0  # below a clip's loudest bin nothing is told apart: Whisper cuts 8 powers of ten down, a quarter each
LOWEST = -1.5  # of any log-mel: the extractor takes nothing for less than 1e-10
MASK_BINS, MASK_FRAMES = 16, 20
TAIL_FRAMES = 30  # of silence after the longest clip that a model is to transcribe, as the serving engine leaves it
LONG_ODDS = 0.15  # of a batch in the last `long_share` of the steps being padded to 30 s
CACHE_BYTES = 1 << 30  # of log-mels kept in memory; the rest is computed again each time it is drawn
IGNORED = -100  # torch's label for a place that does not count


@dataclass(frozen=True)
class Draw:
    """One clip to be had for one place of one batch."""

    number: int  # of all draws since the first step
    clip: int


class LengthBuckets:
    """A batch sampler: `steps` batches of clips of like length, every clip `weights` times an epoch (default: once).

    A weight between whole numbers is a chance: 1.5 is once in half of the epochs and twice in the others.

    >>> buckets = LengthBuckets([5, 1, 4, 2, 3], batch_size=2, steps=3, seed=0, weights=[1, 2, 1, 0, 2])
    >>> sorted(draw.clip for batch in buckets for draw in batch)
    [0, 1, 1, 2, 4, 4]
    """

    def __init__(
        self, lengths: Sequence[float], batch_size: int, steps: int, seed: int, weights: Sequence[float] | None = None
    ) -> None:
        self.lengths, self.batch_size, self.steps, self.seed = lengths, batch_size, steps, seed
        self.weights = np.asarray(weights if weights is not None else np.ones(len(lengths)))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        step = epoch = 0
        while step < self.steps:
            for batch in self._epoch(epoch)[: self.steps - step]:
                yield [Draw(step * self.batch_size + place, clip) for place, clip in enumerate(batch)]
                step += 1
            epoch += 1

    def _epoch(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng([self.seed, epoch])
        times = np.floor(self.weights).astype(int)
        if (self.weights != times).any():
            times += random.random(len(times)) < self.weights - times
        order = random.permutation(np.repeat(np.arange(len(times)), times)).tolist()
        batches = []
        for at in range(0, len(order), self.batch_size * BUCKET_BATCHES):
            bucket = sorted(order[at : at + self.batch_size * BUCKET_BATCHES], key=lambda clip: self.lengths[clip])
            batches += [bucket[cut : cut + self.batch_size] for cut in range(0, len(bucket), self.batch_size)]
        random.shuffle(batches)
        return batches


class Clips:
    """The clips of one split as (log-mels, tokens), each computed when it is asked for and kept while there is room."""

    def __init__(self, dataset: Dataset, processor: WhisperProcessor) -> None:
        self.dataset, self.processor = dataset, processor
        self.texts: list[str] = list(dataset["text"])
        self.seconds: list[float] = list(dataset["seconds"])
        self._cache: dict[int, np.ndarray] = {}
        self._room = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.texts)

    def sound(self, clip: int) -> np.ndarray:
        """(samples,) float32 at 16 kHz."""
        import soundfile

        return soundfile.read(io.BytesIO(self.dataset[clip]["audio"]["bytes"]), dtype="float32")[0]

    def features(self, clip: int) -> np.ndarray:
        """(mel, frames) float32 log-mels at the clip's own length."""
        if clip not in self._cache:
            made = self.processor.feature_extractor(
                self.sound(clip), sampling_rate=RATE, padding=False, truncation=False, return_tensors="np"
            ).input_features[0]
            if made.nbytes > self._room:
                return made
            self._cache[clip], self._room = made, self._room - made.nbytes
        return self._cache[clip]

    def tokens(self, clip: int) -> list[int]:
        """Prompt, text and end. Whisper's words carry the space before them."""
        return self.processor.tokenizer(" " + self.texts[clip]).input_ids


class Examples:
    """The training view of clips: a draw gives augmented log-mels and tokens. (A torch map-style data set.)"""

    def __init__(self, clips: Clips, training: Training) -> None:
        self.clips, self.training = clips, training

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> tuple[Draw, np.ndarray, list[int]]:
        random = np.random.default_rng([self.training.seed, 1, draw.number])
        features = quiet_edges(self.clips.features(draw.clip), self.training.quiet_seconds, random)
        features = mask(features, self.training.frequency_masks, self.training.time_masks, random)
        return draw, features, self.clips.tokens(draw.clip)


def quiet_edges(features: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    """(mel, frames) log-mels with up to `most` seconds of quiet added before and after, in half of the draws.

    A microphone is on before and after the words; a corpus cut to the words does not show that. The quiet is
    flat noise somewhere between a dead line and a noisy room, a factor of 10^8 to 10^4 below the loudest bin.
    """
    before, after = (int(random.integers(0, int(most * FRAMES_PER_SECOND) + 1)) for _ in range(2))
    room = WINDOW_FRAMES - features.shape[1]
    before, after = min(before, room), min(after, room - min(before, room))
    if random.random() < 0.5 or not before + after:
        return features
    silence = floor(features)
    quiet = silence + random.uniform(0, RANGE / 2) + 0.1 * random.standard_normal((len(features), before + after))
    quiet = np.maximum(quiet, silence).astype(np.float32)
    return np.concatenate([quiet[:, :before], features, quiet[:, before:]], axis=1)


def floor(features: np.ndarray) -> float:
    """What digital silence is in a clip's log-mels."""
    return max(float(features.max()) - RANGE, LOWEST)


def mask(features: np.ndarray, frequency_masks: int, time_masks: int, random: np.random.Generator) -> np.ndarray:
    """(mel, frames) log-mels with some bands and stretches set to their mean (SpecAugment, arXiv:1904.08779)."""
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


@dataclass(frozen=True)
class Collate:
    """A list of examples as one batch: `input_features` (batch, mel, frames) and `labels` (batch, tokens).

    Batches are as long as their longest clip. In the last `long_share` of the steps some are padded to 30 s,
    so that the model keeps its head when it is run as a stock Whisper.
    """

    training: Training

    def __call__(self, examples: Sequence[tuple[Draw, np.ndarray, list[int]]]) -> dict[str, torch.Tensor]:
        import torch

        step = examples[0][0].number // self.training.batch_size
        batch = pad([features for _, features, _ in examples], WINDOW_FRAMES if self.long(step) else 0)
        labels = torch.full((len(examples), max(len(tokens) for _, _, tokens in examples)), IGNORED)
        for place, (_, _, tokens) in enumerate(examples):
            labels[place, : len(tokens)] = torch.tensor(tokens)
        return {"input_features": batch, "labels": labels}

    def long(self, step: int) -> bool:
        """Whether the step's batch is padded to 30 s."""
        last_phase = step >= self.training.steps * (1 - self.training.long_share)
        return last_phase and np.random.default_rng([self.training.seed, 2, step]).random() < LONG_ODDS


def pad(features: Sequence[np.ndarray], frames: int = 0) -> torch.Tensor:
    """(batch, mel, longest) of (mel, frames) log-mels, at least `frames` long.

    What is added is what digital silence looks like beside a clip, as the feature extractor makes it when it pads.
    """
    import torch

    longest = max(frames, *(one.shape[1] for one in features))
    longest += longest % 2  # the encoder halves it
    batch = np.empty((len(features), features[0].shape[0], longest), np.float32)
    for place, one in enumerate(features):
        batch[place, :, : one.shape[1]] = one
        batch[place, :, one.shape[1] :] = floor(one)
    return torch.from_numpy(batch)


def by_length(clips: Clips, chosen: Sequence[int], size: int = 32) -> Iterator[list[int]]:
    """The chosen clips in batches of like length, longest first (so that memory runs out at once or never)."""
    order = sorted(chosen, key=lambda clip: -clips.seconds[clip])
    for at in range(0, len(order), size):
        yield order[at : at + size]


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread: the same ones every time.

    >>> evenly(10, 4)
    [0, 2, 5, 7]
    """
    return [at * count // most for at in range(most)] if most < count else list(range(count))
