"""Several GPUs for one trial: data parallelism in one machine, by torch's DistributedDataParallel under the Trainer.

The ranks share a step's `accumulate` batches, so the result is that of one GPU. Rank 0 is the step's own process: it
alone evaluates, reports and saves checkpoints. The other ranks are processes of `python -m asr.training.worker`, which
stop when rank 0 says so after a step.
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

from asr import InputError, hardware
from asr.corpus.shards import Shard
from asr.settings import Settings
from asr.training import gpu
from asr.training.search import Trial

TIMEOUT = timedelta(days=1)  # of a rank that waits for rank 0, which may evaluate for long
ENVIRONMENT = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")


@dataclass(frozen=True)
class Rank:
    """The share of a step's batches that a process computes."""

    index: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Job:
    """The trial, as a worker process reads it."""

    trial: Trial
    settings: Settings
    shards: Sequence[Shard]
    folder: Path  # of the shards' files
    checkpoint: Path | None  # the folder of the checkpoint to continue from
    step: int  # to continue from


class StopCallback(TrainerCallback):
    """After each step rank 0 broadcasts whether it was the last one."""

    def __init__(self) -> None:
        self.group: Any = None  # on the CPU, in addition to the GPUs' group

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        stop = torch.tensor(float(control.should_training_stop))
        dist.broadcast(stop, 0, group=self.group)
        control.should_training_stop = bool(stop)


def gpu_count(settings: Settings) -> int:
    """GPUs per trial. Raises `InputError` where [compute] asks for more than there are, or a pod's cannot be used."""
    if hardware.in_pod() and (reason := gpu.unused_reason()):
        raise InputError(reason)
    requested, available = settings.compute.gpus, torch.cuda.device_count()
    if requested > 1 and available < requested:
        raise InputError(f"[compute] gpus: {requested} are asked for, and this machine has {available}")
    return requested


@contextmanager
def worker_processes(job: Job, world_size: int, threads: int) -> Iterator[None]:
    """Run the other ranks of a job, with this process as rank 0, for the time of the block."""
    if world_size == 1:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world_size)}
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    workers: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        job_file = Path(scratch, "job")
        job_file.write_bytes(pickle.dumps(job))
        try:
            for rank in range(1, world_size):
                env = os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": path}
                env |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
                command = [sys.executable, "-m", "asr.training.worker", str(job_file)]
                workers.append(subprocess.Popen(command, env=env, stdin=subprocess.PIPE))
            with _rank_environment(group | {"RANK": "0", "LOCAL_RANK": "0"}):
                yield
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


@contextmanager
def _rank_environment(group: dict[str, str]) -> Iterator[None]:
    """Make this process a rank: torch and accelerate read that from the environment, and accelerate caches it."""
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
