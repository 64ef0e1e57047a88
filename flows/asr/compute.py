"""Where steps run, and how branches share a machine."""

from __future__ import annotations

import os
from pathlib import Path

WATTS = {"T4": 70, "L4": 72, "A10": 150, "V100": 300, "A100": 400, "H100": 700, "H200": 700}  # data sheets
WATTS_A_CORE = 10
FEWEST_WORKERS = 4  # so that the three default trials run side by side on two cores, each on one thread
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU in a period, or "max"


def in_pod() -> bool:
    """Whether this process runs in a pod of Kubernetes."""
    return "METAFLOW_KUBERNETES_WORKLOAD" in os.environ


def cores() -> int:
    """Cores this process may use: a container sees all of its machine, whatever its share."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return min(seen, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or none with a share of its own
        return seen


def workers() -> int:
    """Branches at once, unless METAFLOW_RUN_MAX_WORKERS says otherwise."""
    return int(os.environ.get("METAFLOW_RUN_MAX_WORKERS", max(FEWEST_WORKERS, cores())))


def at_once(trials: int) -> int:
    """Trials that run side by side on this machine; a pod has one of them."""
    return 1 if in_pod() else min(trials, workers())


def threads(trials: int) -> int:
    """Torch threads for each of so many trials. Branches that outnumber the cores' threads slow each other tenfold."""
    return max(1, cores() // at_once(trials))


def hardware() -> tuple[str, int]:
    """What this process computes on, and how many watts that takes, by its maker's word; 10 W a core of a CPU."""
    import torch

    if not torch.cuda.is_available():
        return f"{cores()} CPU cores", WATTS_A_CORE * cores()
    name = torch.cuda.get_device_name().removeprefix("NVIDIA ").removeprefix("Tesla ")
    watts = next((watts for known, watts in WATTS.items() if name.startswith(known)), WATTS["A100"])
    return f"NVIDIA {name}", watts


def bfloat16() -> bool:
    """Whether there is a GPU with instructions for bfloat16; one without, such as a T4, trains in float16."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def use(count: int) -> None:
    """Compute with `count` threads from here on. Call it before numpy or torch is first used."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)
    import torch

    torch.set_num_threads(count)
