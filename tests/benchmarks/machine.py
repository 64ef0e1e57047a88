"""The result of a benchmark as a JSON line, with the machine that it ran on."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """`cpu`, `capability` (the vector instructions that torch uses), `cores` of this process and torch's `threads`."""
    import torch
    from asr import hardware

    return {
        "cpu": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": hardware.cores(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def print_result(figures: dict[str, Any]) -> None:
    """Print the figures and the machine as one JSON line."""
    print(json.dumps({**figures, **describe()}))
