"""An estimate of a search before training: steps, time, cost and disk."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

from asr import InputError
from asr.corpus.shards import Shard
from asr.settings import Settings, Training
from asr.terminal import format_duration
from asr.training import gpu, halving, models, optimizers
from asr.training.batches import LONG_PROBABILITY, WINDOW_SECONDS, long_parts
from asr.training.learner import Learner
from asr.training.models import FRAMES_PER_SECOND, WINDOW_FRAMES
from asr.training.search import Trial

PROBE_STEPS = 5  # after one warm-up step
OVERHEAD = 0.3  # of the steps' time: batches, checkpoints and parallel trials; measured on the sample
START_SECONDS = 12.0  # seconds until a trial's first step: imports, shards
TOKENS_PER_SECOND = 7  # of speech, for the probe
PACKED_SECONDS = WINDOW_SECONDS / 2  # mean of a pack
DECODING_SHARE = 1 / 3  # of a training step's time, for decoding as many clips


@dataclass(frozen=True)
class Estimate:
    """The cost of all trials."""

    seconds: float
    disk: int  # bytes
    cost: float  # in the currency of [search] hourly_cost
    text: str  # what `search` prints


def estimate_cost(
    settings: Settings, trials: Sequence[Trial], shards: Sequence[Shard], corpus: dict[str, Any],
    at_once: int, threads: int, cores: int,
) -> Estimate:  # fmt: skip
    """The cost of the trials, `at_once` in parallel with `threads` each, from a few measured steps on random input.

    Raises `InputError` where they would take longer than [search] max_hours, or where the disk has too little space.
    """
    train_shards = [shard for shard in shards if shard.split == "train" and not shard.retained]
    texts = [text for shard in train_shards for text in shard.clips["text"]]
    mean_seconds = corpus["split_hours"]["train"] * 3600 / len(texts)
    model, _ = models.prepare(settings, texts)
    parameters = sum(weight.numel() for weight in model.parameters())
    training, search = settings.training, settings.search
    batch, length = _batch_shape(training, mean_seconds)
    step = training.accumulate * _measure_batch(model, settings, threads, batch, length)
    long = _long_phase_cost(training, batch, length) if training.context == "trimmed" else 0.0
    validation_batches = min(training.validation_clips, corpus["clips"]["validation"]) * mean_seconds / (batch * length)
    validation_seconds = training.evaluations * validation_batches * DECODING_SHARE * step / training.accumulate
    slowdown = max(1.0, at_once * threads / cores)
    trial_seconds = (training.steps * step * (1 + long) * (1 + OVERHEAD) + validation_seconds) * slowdown
    trial_seconds *= halving.step_fraction(len(trials)) if search.stop_losers else 1
    trial_seconds += START_SECONDS * slowdown
    seconds = trial_seconds * -(-len(trials) // at_once)
    cost = search.hourly_cost * trial_seconds * len(trials) / 3600
    if search.max_hours and seconds > 3600 * search.max_hours:
        raise InputError(
            f"[search] max_hours: the trials would take about {format_duration(seconds)}, from {step * 1000:.0f} ms a "
            f"step measured here, and max_hours is {search.max_hours:g}; fewer trials or fewer steps may fit"
        )
    # A running trial holds the shards twice, as Parquet and as Arrow to map, and two checkpoints of weights and
    # optimiser; every trial leaves its float32 weights.
    checkpoint_bytes = 4 * 4 * parameters
    disk = at_once * (2 * sum(shard.size for shard in shards) + checkpoint_bytes)
    disk += len(trials) * (4 * parameters + 2 * checkpoint_bytes)
    check_disk(disk)
    summary = f"{len(trials)} of {training.steps} steps, {at_once} at once, torch threads each: {threads}"
    return Estimate(seconds, disk, cost, "\n".join([
        *_describe_corpus(corpus),
        f"trials     {summary}{'; losers stop early' if search.stop_losers else ''}",
        f"model      {parameters / 1e6:.1f} M parameters, {settings.model.base or 'from scratch'}",
        f"time       about {format_duration(seconds)}, from {step * 1000:.0f} ms a step measured here",
        *([f"cost       about {cost:.2f}, at {search.hourly_cost:g} an hour for each trial"] if cost else []),
        f"disk       {disk / 1e9:.1f} GB",
    ]))  # fmt: skip


def describe_remote(settings: Settings, trials: Sequence[Trial], corpus: dict[str, Any]) -> str:
    """The text that `search` prints for trials on other machines, without a time."""
    training, compute = settings.training, settings.compute
    summary = f"{len(trials)} of {training.steps} steps{'; losers stop early' if settings.search.stop_losers else ''}"
    pods = f"{compute.gpus} {compute.gpu}{' on spot' if compute.spot else ''} for each, {compute.hours} h at most"
    time = "each trial reports the time left, from its own steps"
    return "\n".join([*_describe_corpus(corpus), f"trials     {summary}", f"pods       {pods}", f"time       {time}"])


def _long_phase_cost(training: Training, batch: int, length: float) -> float:
    """The extra time of the long phase, as a share of a trial's step time without it."""
    parts = long_parts(training, batch)
    long_steps = parts * LONG_PROBABILITY / (parts * LONG_PROBABILITY + 1 - LONG_PROBABILITY)  # of those in the phase
    return training.long_share * long_steps * (WINDOW_SECONDS / length / parts - 1)


def _batch_shape(training: Training, mean_seconds: float) -> tuple[int, float]:
    """The examples in a batch, and the seconds that each is padded to, for clips of `mean_seconds`."""
    length = {"padded": WINDOW_SECONDS, "packed": max(mean_seconds, PACKED_SECONDS)}.get(training.context, mean_seconds)
    return max(1, int(training.batch_seconds / length)) if training.batch_seconds else training.batch_size, length


def _describe_corpus(corpus: dict[str, Any]) -> list[str]:
    lines = [
        f"{split:11s}{clips} clips, {corpus['split_hours'][split]:.2f} h" for split, clips in corpus["clips"].items()
    ]
    for language, clips in corpus["retained"].items():
        summary = ", ".join(f"{count} of {split}" for split, count in clips.items() if count)
        lines.append(f"retained   {language}: {summary} clips")
    if len(corpus["sources"]) > 1:
        lines.append("sources    " + ", ".join(f"{name} {hours:.2f} h" for name, hours in corpus["sources"].items()))
    if corpus["speakers_crossing"]:
        lines.append(f"speakers   {corpus['speakers']}, of whom {corpus['speakers_crossing']} occur in several splits")
    summary = ", ".join(f"{count} {reason}" for reason, count in corpus["reasons"].items())
    return [*lines, f"rejected   {corpus['rejected']}{': ' if summary else ''}{summary}"]


def _measure_batch(
    model: WhisperForConditionalGeneration, settings: Settings, threads: int, batch: int, length: float
) -> float:
    """The median time of a training step on a batch of random log-mels of `length` seconds.

    Where the batch does not fit into a GPU, it is measured in parts, as in training.
    """
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frames = min(WINDOW_FRAMES, 2 * round(length * FRAMES_PER_SECOND / 2))
    tokens = 5 + round(length * TOKENS_PER_SECOND)
    with gpu.explained_errors(settings):
        learner = Learner(model, settings).train().to(device)
        optimizer = optimizers.build(learner, models.optimizer_name(settings), 1e-9, 0.0)
        parts = 1 if settings.training.micro_batch == "auto" else -(-batch // settings.training.micro_batch)
        while True:
            size = -(-batch // parts)
            features = torch.randn(size, model.config.num_mel_bins, frames, device=device)
            labels = torch.zeros((size, tokens), dtype=torch.long, device=device)
            try:
                return _time_step(learner, optimizer, features, labels, parts)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                parts *= 2


def _time_step(
    learner: Learner, optimizer: torch.optim.Optimizer, features: torch.Tensor, labels: torch.Tensor, parts: int
) -> float:
    """The median time of a step of `parts` such batches."""
    times = []
    for _ in range(1 + PROBE_STEPS):
        began = time.perf_counter()
        for _ in range(parts):
            loss = learner(features, labels)["loss"]
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def check_disk(needed: int, folder: Path | None = None) -> None:
    """Raises `InputError` where the disk of temporary files, or of `folder`, has less than `needed` bytes free."""
    for place in (Path(tempfile.gettempdir()), folder or Path.cwd()):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise InputError(f"training needs {needed / 1e6:.0f} MB of disk, and {place} has {free / 1e6:.0f} MB free")
