"""Batch sampling and collation: buckets of similar lengths, packs of a speaker's clips.

Every random choice depends on the seed and a count of epochs or draws only, so that a resumed trial sees the same
batches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from asr.settings import Training
from asr.training.augmentation import silence_level
from asr.training.models import FRAMES_PER_SECOND, WINDOW_FRAMES

if TYPE_CHECKING:
    import torch

    from asr.training.dataset import ClipDataset, Example

WINDOW_SECONDS = WINDOW_FRAMES / FRAMES_PER_SECOND
BUCKET_BATCHES = 16  # batches per bucket of clips that are sorted by length
LONG_PROBABILITY = 0.15  # of a batch in the last `long_share` of the steps being padded to 30 s
LONG_PARTS = 4  # parts of such a batch without `batch_seconds`: a T4 cannot hold all of it
GAP_SECONDS = (0.2, 1.0)  # of silence between the clips of a pack
SILENCE_SECONDS = (1.0, 10.0)  # of a silent draw; up to 30 where context is padded or packed
IGNORED_LABEL = -100  # torch's label without a loss
PROMPT_OFFSET = -1_000  # minus a token: an input token without a loss


class Unit(NamedTuple):
    """One item of a batch."""

    clips: tuple[int, ...]  # several are joined; none: silence
    gaps: tuple[float, ...]  # seconds between them
    seconds: float  # of the clips and gaps, or of the silence
    quiet: tuple[float, float] = (0.0, 0.0)  # seconds added before and after

    @property
    def length(self) -> float:
        """Seconds with the quiet."""
        return self.seconds + sum(self.quiet)


@dataclass(frozen=True)
class Draw:
    """A unit with its position in training."""

    step: int  # of the optimiser
    long: bool  # its batch is padded to 30 s
    number: int  # of the draw since the first step
    unit: Unit


@dataclass(frozen=True)
class ClipPool:
    """What the sampler needs of the clips of a split, one entry per clip."""

    seconds: Sequence[float]
    weights: Sequence[float] | None = None  # draws per epoch; None: 1 each
    speakers: Sequence[str] | None = None  # clips of the same speaker may be packed
    tokens: Sequence[int] | None = None  # of each text; a pack holds no more than `max_tokens`
    max_tokens: int = 0


class BucketBatchSampler:
    """A batch sampler: batches of draws of similar length, every clip once per epoch or as often as its weight.

    A fractional weight is a probability: 1.5 is once in half of the epochs and twice in the others. Iteration starts at
    optimiser step `start` with the batches of that step; with a `world_size` each rank gets its share of the batches.

    >>> training = Training(steps=3, batch_size=2)
    >>> buckets = BucketBatchSampler(ClipPool([5, 1, 4, 2, 3], weights=[1, 2, 1, 0, 2]), training)
    >>> sorted(draw.unit.clips[0] for batch in buckets for draw in batch)
    [0, 1, 1, 2, 4, 4]
    """

    def __init__(self, clips: ClipPool, training: Training, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.clips, self.training, self.start, self.rank, self.world_size = clips, training, start, rank, world_size
        self.total_batches = training.steps * training.accumulate
        self.weights = np.asarray(clips.weights if clips.weights is not None else np.ones(len(clips.seconds)))
        if not self.weights.any():
            raise ValueError("no clip has a weight above 0")
        self.weights = self.weights / min(1.0, self.weights.sum())  # at least one draw per epoch

    def __len__(self) -> int:
        """Batches of all steps, including those before `start`: the trainer counts from the first."""
        return self.total_batches // self.world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        number = 0
        for at, (long, batch) in enumerate(itertools.islice(self._batches(), self.total_batches)):
            step = at // self.training.accumulate
            if step >= self.start and at % self.world_size == self.rank:
                yield [Draw(step, long, number + index, unit) for index, unit in enumerate(batch)]
            number += len(batch)

    def _batches(self) -> Iterator[tuple[bool, list[Unit]]]:
        """Endless batches, and whether each is padded to 30 s."""
        training, at = self.training, 0
        for epoch in itertools.count():
            random = np.random.default_rng([training.seed, 2, epoch])
            for batch in self._epoch(epoch):
                late = at >= self.total_batches * (1 - training.long_share)
                long = training.context == "trimmed" and late and random.random() < LONG_PROBABILITY
                parts = long_parts(training, len(batch)) if long else 1
                for part in range(parts):
                    yield long or training.context == "padded", batch[part::parts]
                at += parts

    def _epoch(self, epoch: int) -> list[list[Unit]]:
        training, seconds = self.training, self.clips.seconds
        random = np.random.default_rng([training.seed, epoch])
        times = np.floor(self.weights).astype(int)
        if (self.weights != times).any():
            times += random.random(len(times)) < self.weights - times
        order = random.permutation(np.repeat(np.arange(len(times)), times)).tolist()
        if training.context == "packed":
            units = pack_clips(order, self.clips, random)
        else:
            units = [Unit((clip,), (), seconds[clip]) for clip in order]
        if training.quiet_seconds:
            units = [self._add_quiet(unit, random) for unit in units]
        if training.silence_share:
            units += self._silent_units(len(units), random)
            units = [units[at] for at in random.permutation(len(units))]
        size = training.batch_size * BUCKET_BATCHES
        if training.batch_seconds and units:
            mean = sum(unit.length for unit in units) / len(units)
            size = max(1, round(training.batch_seconds * BUCKET_BATCHES / mean))
        batches = []
        for at in range(0, len(units), size):
            batches += self._split_by_size(sorted(units[at : at + size], key=lambda unit: unit.length))
        random.shuffle(batches)
        return batches

    def _add_quiet(self, unit: Unit, random: np.random.Generator) -> Unit:
        """The unit with up to `quiet_seconds` before and after it, in half of the draws and within a window.

        It is drawn before bucketing, so that it counts in the length; otherwise a fifth of each batch would be padding.
        """
        before, after = random.uniform(0, self.training.quiet_seconds, 2)
        if random.random() < 0.5:
            return unit
        free = max(0.0, WINDOW_SECONDS - unit.seconds)
        before = min(before, free)
        return unit._replace(quiet=(float(before), float(min(after, free - before))))

    def _silent_units(self, spoken: int, random: np.random.Generator) -> list[Unit]:
        share = self.training.silence_share
        count = int(share / (1 - share) * spoken + random.random())
        shortest, longest = SILENCE_SECONDS
        longest = longest if self.training.context == "trimmed" else WINDOW_SECONDS
        return [Unit((), (), float(seconds)) for seconds in random.uniform(shortest, longest, count)]

    def _split_by_size(self, bucket: list[Unit]) -> list[list[Unit]]:
        """Batches of units sorted by length, within `batch_size` or `batch_seconds`."""
        training, batches = self.training, list[list[Unit]]()
        for unit in bucket:
            last = batches[-1] if batches else []
            if training.batch_seconds:
                length = WINDOW_SECONDS if training.context == "padded" else unit.length
                fits = (len(last) + 1) * length <= training.batch_seconds
            else:
                fits = len(last) < training.batch_size
            if last and fits:
                last.append(unit)
            else:
                batches.append([unit])
        return batches


def long_phase_start(training: Training) -> int | None:
    """The first step with batches padded to 30 s; None where there are none, or no others."""
    begins = math.ceil(training.steps * (1 - training.long_share))
    return begins if training.context == "trimmed" and 0 < begins < training.steps else None


def long_parts(training: Training, clips: int) -> int:
    """The number of parts of a batch of `clips` clips that is padded to 30 s, so that memory does not grow."""
    parts = math.ceil(clips * WINDOW_SECONDS / training.batch_seconds) if training.batch_seconds else LONG_PARTS
    return min(parts, clips)


def pack_clips(order: Sequence[int], clips: ClipPool, random: np.random.Generator) -> list[Unit]:
    """Join the clips of each speaker, in the order of `order`, up to a length.

    The length, up to 30 s, is drawn for each pack: a model trained on full windows only is worse on short ones.
    """
    speakers = clips.speakers or [""] * len(clips.seconds)
    units: list[Unit] = []
    open_packs: dict[str, tuple[list[int], list[float], float, int, float]] = {}
    for clip in order:
        speaker, length = speakers[clip], clips.seconds[clip]
        tokens = 2 + clips.tokens[clip] if clips.tokens else 0  # with a timestamp on both sides
        if speaker in open_packs:
            pack, gaps, seconds, count, limit = open_packs[speaker]
            gap = round(float(random.uniform(*GAP_SECONDS)), 2)
            if seconds + gap + length <= limit and count + tokens <= clips.max_tokens:
                open_packs[speaker] = ([*pack, clip], [*gaps, gap], seconds + gap + length, count + tokens, limit)
                continue
            units.append(Unit(tuple(pack), tuple(gaps), seconds))
        open_packs[speaker] = ([clip], [], length, tokens, float(random.uniform(0, WINDOW_SECONDS)))
    units += [Unit(tuple(pack), tuple(gaps), seconds) for pack, gaps, seconds, _, _ in open_packs.values()]
    return [units[at] for at in random.permutation(len(units))]


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Collate examples to `input_features` (batch, mel, frames) and `labels` (batch, tokens).

    Trimmed and packed batches are as long as their longest example. In the last `long_share` of the steps some trimmed
    batches are padded to 30 s, so that the model also works at the context of a stock Whisper.
    """
    batch = pad_features([example.features for example in examples], WINDOW_FRAMES if examples[0].draw.long else 0)
    return {"input_features": batch, "labels": pad_labels([example.labels for example in examples])}


def pad_labels(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """(batch, longest) tokens, padded with `IGNORED_LABEL`."""
    import torch

    labels = torch.full((len(sequences), max(len(tokens) for tokens in sequences)), IGNORED_LABEL)
    for row, tokens in enumerate(sequences):
        labels[row, : len(tokens)] = torch.tensor(tokens)
    return labels


def pad_features(features: Sequence[np.ndarray], frames: int = 0) -> torch.Tensor:
    """(batch, mel, longest) of (mel, frames) log-mels, at least `frames` long.

    The padding is digital silence, as from the feature extractor.
    """
    import torch

    longest = max(frames, *(clip.shape[1] for clip in features))
    longest += longest % 2  # the encoder halves it
    batch = np.empty((len(features), features[0].shape[0], longest), np.float32)
    for row, clip in enumerate(features):
        batch[row, :, : clip.shape[1]] = clip
        batch[row, :, clip.shape[1] :] = silence_level(clip)
    return torch.from_numpy(batch)


def batches_by_length(clips: ClipDataset, chosen: Sequence[int], size: int = 32) -> Iterator[list[int]]:
    """The chosen clips in batches of similar length, longest first, so that memory runs out at once or never."""
    order = sorted(chosen, key=lambda clip: -clips.seconds[clip])
    for at in range(0, len(order), size):
        yield order[at : at + size]


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread.

    >>> evenly_spaced(10, 4)
    [0, 2, 5, 7]
    """
    return [at * count // most for at in range(most)] if most < count else list(range(count))
