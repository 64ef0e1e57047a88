"""What a search will take: steps, time and disk, told before training begins."""

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

from asr import Refused
from asr.corpus.shards import Shard
from asr.settings import Settings
from asr.training import models, optimizers
from asr.training.batches import FRAMES_PER_SECOND, LONG_ODDS, WINDOW_FRAMES
from asr.training.search import Trial
from asr.training.trial import Learner, clock

PROBE_STEPS = 5  # after one to warm up
BESIDE = 0.35  # of the steps' time: evaluations, making batches, and what branches cost each other; seen on the sample
STARTING = 12.0  # seconds until a trial's first step: imports, shards
TOKENS_PER_SECOND = 7  # of speech; only the probe's time depends on it


@dataclass(frozen=True)
class Plan:
    """The cost of all trials."""

    seconds: float
    disk: int  # bytes
    text: str  # what `search` prints


def plan(
    settings: Settings, trials: Sequence[Trial], shards: Sequence[Shard], corpus: dict[str, Any],
    at_once: int, threads: int, cores: int,
) -> Plan:  # fmt: skip
    """The cost of the trials, `at_once` side by side with `threads` each, from a few measured steps on random input.

    Raises `Refused` where the disk will not hold what they write.
    """
    texts = [text for shard in shards if shard.split == "train" for text in shard.clips["text"]]
    mean = corpus["split_hours"]["train"] * 3600 / len(texts)
    model, _ = models.prepare(settings, texts)
    parameters = sum(one.numel() for one in model.parameters())
    training = settings.training
    long = training.long_share * LONG_ODDS * (WINDOW_FRAMES / (mean * FRAMES_PER_SECOND) - 1)
    step = _seconds_a_step(model, settings, threads, mean)
    crowding = max(1.0, at_once * threads / cores)
    a_trial = STARTING + training.steps * step * (1 + long) * (1 + BESIDE) * crowding
    seconds = a_trial * -(-len(trials) // at_once)
    # A running trial holds the shards twice, as Parquet and as Arrow to map; every trial leaves its float32 weights.
    disk = at_once * 2 * sum(shard.size for shard in shards) + (len(trials) + 2) * 4 * parameters
    check_disk(disk)
    return Plan(seconds, disk, "\n".join([
        *_corpus(corpus),
        f"trials     {len(trials)} of {training.steps} steps, {at_once} at once, torch threads each: {threads}",
        f"model      {parameters / 1e6:.1f} M parameters, {settings.model.base or 'from nothing'}",
        f"time       about {clock(seconds)}, from {step * 1000:.0f} ms a step measured here",
        f"disk       {disk / 1e9:.1f} GB",
    ]))  # fmt: skip


def _corpus(corpus: dict[str, Any]) -> list[str]:
    lines = [
        f"{split:11s}{clips} clips, {corpus['split_hours'][split]:.2f} h" for split, clips in corpus["clips"].items()
    ]
    if len(corpus["sources"]) > 1:
        lines.append("sources    " + ", ".join(f"{name} {hours:.2f} h" for name, hours in corpus["sources"].items()))
    if corpus["speakers_crossing"]:
        lines.append(f"speakers   {corpus['speakers']}, of whom {corpus['speakers_crossing']} stand in several splits")
    told = ", ".join(f"{count} {reason}" for reason, count in corpus["reasons"].items())
    return [*lines, f"rejected   {corpus['rejected']}{': ' if told else ''}{told}"]


def _seconds_a_step(
    model: WhisperForConditionalGeneration, settings: Settings, threads: int, mean_seconds: float
) -> float:
    """The median time of a training step on random log-mels of the corpus' mean length."""
    torch.set_num_threads(threads)
    config, batch = model.config, settings.training.batch_size
    learner = Learner(model, settings).train()
    optimizer = optimizers.build(learner, models.optimizer(settings), 1e-9, 0.0)
    features = torch.randn(
        batch, config.num_mel_bins, min(WINDOW_FRAMES, 2 * round(mean_seconds * FRAMES_PER_SECOND / 2))
    )
    labels = torch.zeros((batch, 5 + round(mean_seconds * TOKENS_PER_SECOND)), dtype=torch.long)
    times = []
    for _ in range(1 + PROBE_STEPS):
        began = time.perf_counter()
        learner(features, labels)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def check_disk(needed: int, folder: Path | None = None) -> None:
    """Raises `Refused` where the disk of temporary files, or of `folder`, has less than `needed` bytes free."""
    for place in (Path(tempfile.gettempdir()), folder or Path.cwd()):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise Refused(f"training needs {needed / 1e9:.1f} GB of disk, and {place} has {free / 1e9:.1f} GB free")
