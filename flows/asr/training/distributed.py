"""Several GPUs for one trial: data parallelism in one machine, by torch's DistributedDataParallel under the Trainer.

A step's `accumulate` batches are shared among the ranks, so a trial learns what it would learn on one GPU, and sooner.
Rank 0 is the step's own process: it alone listens, reports, judges and keeps checkpoints. The other ranks are processes
of `python -m asr.training.worker` that train along, and do what rank 0 tells them after each step.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from asr import InputError, compute
from asr.corpus.shards import Shard
from asr.settings import Settings
from asr.training import gpu
from asr.training.search import Trial

TIMEOUT = timedelta(days=1)  # that a rank waits for rank 0, which may listen for long
ENVIRONMENT = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")


@dataclass(frozen=True)
class Rank:
    """Which of a step's batches a process computes."""

    index: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Job:
    """What a rank must know of the trial."""

    trial: Trial
    settings: Settings
    shards: Sequence[Shard]
    folder: Path  # where the shards' files are
    checkpoint: Path | None  # a checkpoint's files
    step: int  # that the trial goes on from


class StopCallback(TrainerCallback):
    """After each step rank 0 says whether it was the last one."""

    def __init__(self) -> None:
        self.group: Any = None  # on the CPU, beside the GPUs' own

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        over = torch.tensor(float(control.should_training_stop))
        dist.broadcast(over, 0, group=self.group)
        control.should_training_stop = bool(over)


def gpu_count(settings: Settings) -> int:
    """GPUs for a trial. Raises `InputError` where [compute] asks for more than there are, or a pod's cannot be used."""
    if compute.in_pod() and (why := gpu.unused_reason()):
        raise InputError(why)
    asked, there = settings.compute.gpus, torch.cuda.device_count()
    if asked > 1 and there < asked:
        raise InputError(f"[compute] gpus: {asked} are asked for, and this machine has {there}")
    return asked


@contextmanager
def worker_processes(job: Job, world_size: int, threads: int) -> Iterator[None]:
    """The other ranks at work on a job, and this process as their rank 0; they end with the block."""
    if world_size == 1:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world_size)}
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    others: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch, "job")
        told.write_bytes(pickle.dumps(job))
        try:
            for rank in range(1, world_size):
                env = os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": path}
                env |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
                command = [sys.executable, "-m", "asr.training.worker", str(told)]
                others.append(subprocess.Popen(command, env=env, stdin=subprocess.PIPE))
            with _rank_environment(group | {"RANK": "0", "LOCAL_RANK": "0"}):
                yield
        finally:
            for one in others:
                one.kill()
                one.wait()


@contextmanager
def _rank_environment(group: dict[str, str]) -> Iterator[None]:
    """torch and accelerate take a process for a rank by its environment, and remember it."""
    from accelerate.state import AcceleratorState

    os.environ.update(group)
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for name in ENVIRONMENT:
            os.environ.pop(name, None)
        AcceleratorState._reset_state(reset_partial_state=True)
