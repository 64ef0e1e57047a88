"""The device that CTranslate2 runs on: a CPU or a GPU, chosen by DEVICE, COMPUTE_TYPE and WORKERS."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

import ctranslate2

CUBLAS = "libcublas.so.12"  # the only library of CUDA that CTranslate2's wheel lacks, except for the driver
MAX_WORKERS = 64


@dataclass(frozen=True)
class Hardware:
    """A device, its number type, and the number of parallel copies of the model."""

    device: str = "cpu"  # or cuda
    compute_type: str = "int8"
    workers: int = 1

    @property
    def batches_callers(self) -> bool:
        """Whether recordings of several callers are decoded in one batch."""
        return self.device == "cuda"

    @property
    def threads(self) -> int:
        """CPU threads of each worker: 0, CTranslate2's default, for a single worker."""
        return max(1, (os.cpu_count() or 1) // self.workers) if self.workers > 1 else 0

    @classmethod
    def from_environment(cls) -> Hardware:
        """Read DEVICE (auto, cpu, cuda), COMPUTE_TYPE and WORKERS. Raises ValueError, in one line, for a bad value."""
        device, workers = os.environ.get("DEVICE", "auto"), os.environ.get("WORKERS", "1")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"DEVICE={device} is neither auto nor cpu nor cuda")
        missing = "" if device == "cpu" else _missing_cuda()
        if device == "cuda" and missing:
            raise ValueError(f"DEVICE=cuda: {missing}")
        device = "cpu" if device == "cpu" or missing else "cuda"
        supported = ctranslate2.get_supported_compute_types(device)
        compute_type = os.environ.get("COMPUTE_TYPE") or ("int8_float16" if "int8_float16" in supported else "int8")
        if compute_type not in supported:
            names = ", ".join(sorted(supported))
            raise ValueError(f"COMPUTE_TYPE={compute_type} is not supported on {device}: {names}")
        if not workers.isdecimal() or not 1 <= int(workers) <= MAX_WORKERS:
            raise ValueError(f"WORKERS={workers} is no number from 1 to {MAX_WORKERS}")
        return cls(device, compute_type, int(workers))


def _missing_cuda() -> str:
    """The reason why CTranslate2 cannot run on a GPU, in a sentence; empty if it can."""
    if not ctranslate2.get_cuda_device_count():
        return "no GPU of NVIDIA with a driver is found"
    try:
        ctypes.CDLL(CUBLAS)
    except OSError:
        return (
            f"{CUBLAS} is missing; pip install nvidia-cublas-cu12, and add its lib folder to LD_LIBRARY_PATH before "
            "the start"
        )
    return ""
