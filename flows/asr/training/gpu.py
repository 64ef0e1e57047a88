"""Problems with a GPU, explained in one line with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from asr import InputError
from asr.settings import Settings, Training

DRIVER_FILE = Path("/proc/driver/nvidia/version")  # exists where an NVIDIA driver is loaded
GIB = 2**30
OTHERS_SHARE = 0.1  # of the GPU's memory in other processes: above it they are reported as the cause


def unused_reason() -> str | None:
    """Why torch does not use the GPU; None where it does, or there is none."""
    if torch.cuda.is_available() or not DRIVER_FILE.exists():
        return None
    try:
        torch.cuda.init()
        reason = "it is hidden by CUDA_VISIBLE_DEVICES"
    except Exception as error:  # RuntimeError of an old driver, AssertionError of a torch without CUDA
        reason = str(error).strip().splitlines()[0].rstrip(".")
    requirement = f"this torch needs a driver for CUDA {torch.version.cuda}" if torch.version.cuda else "it has no CUDA"
    return f"the GPU here is not used: {reason} ({requirement}). Update its driver, or install a torch that fits it"


@contextmanager
def explained_errors(settings: Settings) -> Iterator[None]:
    """Raise `InputError` for a GPU that is too small or in use; other errors pass."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(_out_of_memory(settings.training)) from None
    except RuntimeError as error:  # torch.AcceleratorError is a subclass
        if "busy or unavailable" in str(error):
            raise InputError(
                "the GPU is taken: another process has it for itself. `nvidia-smi` names the process; wait for it, or "
                "choose another GPU with CUDA_VISIBLE_DEVICES"
            ) from None
        raise


def _out_of_memory(training: Training) -> str:
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
    others = total - free - (torch.cuda.memory_reserved() if total else 0)
    if others > OTHERS_SHARE * total:
        return (
            f"other processes hold {others / GIB:.1f} of the GPU's {total / GIB:.1f} GiB of memory, and what is left "
            "does not hold one clip: end them (`nvidia-smi` names them), or train one trial at a time (--max-workers 1)"
        )
    smaller = [
        *([] if training.gradient_checkpointing else ["gradient_checkpointing = true"]),
        *([] if training.lora_rank else ["lora_rank = 32"]),
        *([] if training.freeze_encoder or training.lora_rank else ["freeze_encoder = true"]),
    ]
    advice = f"set {' or '.join(smaller)} in [training], or take a smaller base" if smaller else "take a smaller base"
    return f"[model] base: the GPU's {total / GIB:.1f} GiB of memory do not hold the model and one clip; {advice}"
