"""The CPU and GPU that a step runs on, and how parallel branches share a machine."""

from __future__ import annotations

import os
from pathlib import Path

GPU_WATTS = {"T4": 70, "L4": 72, "A10": 150, "V100": 300, "A100": 400, "H100": 700, "H200": 700}  # data sheets
WATTS_PER_CORE = 10
MIN_WORKERS = 4  # the three default trials run in parallel on two cores, each with one thread
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's: microseconds of CPU per period, or "max"


def in_pod() -> bool:
    """Whether this process runs in a pod of Kubernetes."""
    return "METAFLOW_KUBERNETES_WORKLOAD" in os.environ


def cores() -> int:
    """Cores that this process may use. A container sees all cores of its machine, so its CPU quota counts too."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return min(visible, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota
        return visible


def max_workers() -> int:
    """Branches that run in parallel; METAFLOW_RUN_MAX_WORKERS overrides it."""
    return int(os.environ.get("METAFLOW_RUN_MAX_WORKERS", max(MIN_WORKERS, cores())))


def parallel_trials(trials: int) -> int:
    """Trials that run in parallel on this machine; a pod runs one."""
    return 1 if in_pod() else min(trials, max_workers())


def threads_per_trial(trials: int) -> int:
    """Torch threads for each of `trials` trials. More threads than cores slow all trials tenfold."""
    return max(1, cores() // parallel_trials(trials))


def describe() -> tuple[str, int]:
    """The name of the GPU or CPU, and its power in watts by the data sheet; 10 W per CPU core."""
    import torch

    if not torch.cuda.is_available():
        return f"{cores()} CPU cores", WATTS_PER_CORE * cores()
    name = torch.cuda.get_device_name().removeprefix("NVIDIA ").removeprefix("Tesla ")
    watts = next((watts for model, watts in GPU_WATTS.items() if name.startswith(model)), GPU_WATTS["A100"])
    return f"NVIDIA {name}", watts


def has_bfloat16() -> bool:
    """Whether a GPU supports bfloat16; one that does not, such as a T4, trains in float16."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def set_threads(count: int) -> None:
    """Set the number of threads. Must be called before numpy or torch is first used."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)
    import torch

    torch.set_num_threads(count)
