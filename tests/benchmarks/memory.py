"""Whether whisper-small trains on a 16 GB T4 in batches of 16: computed anywhere, measured where there is a GPU.

    python tests/benchmarks/memory.py

Computed: the bytes of weights, gradients, AdamW and half-precision copies, and of all tensors that a step saves for
the backward pass, counted in a real step of one clip under autocast (bfloat16 on a CPU, which saves what float16 saves
on a T4) and multiplied by the batch. Fragmentation and cuDNN's workspace are not included. Measured: the peak of a step
of the same batch, clips per second, and the share of the chip's peak that its floating-point operations reach.
"""

from __future__ import annotations

import time
from typing import Any

import machine
import random_models
import torch
from asr import hardware
from asr.settings import Settings
from asr.training import optimizers
from asr.training.learner import Learner
from torch.utils.flop_counter import FlopCounterMode

BATCH = 16
T4_BYTES = 15_360 * 2**20  # of which a process gets about 14.6 GiB
SIZES = {"6 s": (600, 40), "30 s": (3_000, 200)}  # a batch's frames and the tokens of each clip
PEAK_TFLOPS = {"T4": 65, "V100": 125, "A100": 312, "L4": 121, "H100": 989, "H200": 989}  # dense, half precision
STEPS = 10


def build_learner() -> Learner:
    model, _ = random_models.build(random_models.SMALL, ["Klockan är halv åtta.", "Det är sju grader i natt."] * 20)
    settings = Settings.model_validate({"model": {"base": "some"}})  # as a pretrained one: no CTC head
    return Learner(model, settings).train()


def batch(clips: int, frames: int, tokens: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(clips, 80, frames, device=device), torch.ones(clips, tokens, dtype=torch.long, device=device)


def saved_bytes(learner: Learner, frames: int, tokens: int) -> int:
    """Bytes that a clip's forward pass saves for the backward pass."""
    weights = {weight.untyped_storage().data_ptr() for weight in learner.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def record_storage(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(record_storage, lambda tensor: tensor),
    ):
        learner(*batch(2, frames, tokens))
        two_clips = sum(storage.nbytes() for at, storage in storages.items() if at not in weights)
        storages.clear()
        learner(*batch(1, frames, tokens))
    return two_clips - sum(storage.nbytes() for at, storage in storages.items() if at not in weights)


def computed(learner: Learner) -> dict[str, float]:
    """GiB for a step of a batch, by the length of its clips."""
    parameters = sum(weight.numel() for weight in learner.parameters())
    state = parameters * (4 + 4 + 8 + 2)  # weights, gradients, AdamW's two moments, half-precision copies
    return {name: (state + BATCH * saved_bytes(learner, *sizes)) / 2**30 for name, sizes in SIZES.items()}


class Step:
    """A training step of a learner, on its device and in the precision that trials have there."""

    def __init__(self, learner: Learner, device: str) -> None:
        self.learner, self.device = learner.to(device), device
        self.dtype = None if device == "cpu" else torch.bfloat16 if hardware.has_bfloat16() else torch.float16
        self.optimizer = optimizers.build(learner, "adamw", 1e-5, 0.01)
        self.scaler = torch.amp.GradScaler(device, enabled=self.dtype == torch.float16)

    def __call__(self, features: torch.Tensor, labels: torch.Tensor, **known: Any) -> None:
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            loss = self.learner(features, labels, **known)["loss"]
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def share_of_peak(operations: float, seconds: float) -> float | None:
    """The share of the GPU's peak in half precision; None if the peak is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((tflops for chip, tflops in PEAK_TFLOPS.items() if chip in name), None)
    return round(operations / seconds / 1e12 / peak, 3) if peak else None


def measure(learner: Learner, frames: int, tokens: int, device: str = "cuda", clips: int = BATCH) -> dict[str, Any]:
    """The peak of training steps in GiB, clips a second, and the share of the chip's peak."""
    step, (features, labels) = Step(learner, device), batch(clips, frames, tokens, device)
    step(features, labels)
    with FlopCounterMode(display=False) as counter:
        step(features, labels)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step.wait()
    began = time.perf_counter()
    for _ in range(STEPS):
        step(features, labels)
    step.wait()
    seconds = (time.perf_counter() - began) / STEPS
    return {
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None,
        "clips_per_second": round(clips / seconds, 1),
        "share_of_peak": share_of_peak(counter.get_total_flops(), seconds),
    }


def report() -> dict[str, Any]:
    whisper = build_learner()
    result: dict[str, Any] = {"small_gib": {name: round(gib, 1) for name, gib in computed(whisper).items()}}
    for name, gib in result["small_gib"].items():
        fits = "fits" if gib * 2**30 < T4_BYTES else "does not fit"
        print(f"whisper-small, {BATCH} clips of {name:5s} computed {gib:5.1f} GiB: {fits} a 16 GB T4")
    if not torch.cuda.is_available():
        print("measured: skipped, there is no GPU here")
        return result
    result["gpu"] = torch.cuda.get_device_name()
    for name, sizes in SIZES.items():
        result[f"small_measured_{name.replace(' ', '')}"] = figures = measure(whisper, *sizes)
        print(
            f"on {result['gpu']}, {name:5s} {figures['gib']:5.1f} GiB, {figures['clips_per_second']:.0f} clips/s, "
            f"of its peak: {figures['share_of_peak']}"
        )
    return result


if __name__ == "__main__":
    machine.print_result(report())
