"""Whether whisper-small trains on a 16 GB T4 in batches of 16: computed anywhere, measured where there is a GPU.

    python tests/benchmarks/memory.py

Computed: the bytes of weights, gradients, AdamW and half-precision copies, and of all tensors that a step keeps for
its way back, counted in a real step of one clip under autocast (bfloat16 on a CPU, which keeps what float16 keeps on a
T4) and multiplied by the batch. Fragmentation and cuDNN's workspace are not in it. Measured: the peak of a step of the
same batch, clips a second, and the share of the chip's peak that its floating-point operations come to.
"""

from __future__ import annotations

import time
from typing import Any

import machine
import random_models
import torch
from asr import compute
from asr.settings import Settings
from asr.training import optimizers
from asr.training.learner import Learner
from torch.utils.flop_counter import FlopCounterMode

BATCH = 16
T4_BYTES = 15_360 * 2**20  # of which a process gets about 14.6 GiB
SPOKEN = {"6 s": (600, 40), "30 s": (3_000, 200)}  # a batch's frames and the tokens of each clip
PEAK_TFLOPS = {"T4": 65, "V100": 125, "A100": 312, "L4": 121, "H100": 989, "H200": 989}  # dense, half precision
STEPS = 10


def learner() -> Learner:
    model, _ = random_models.build(random_models.SMALL, ["Klockan är halv åtta.", "Det är sju grader i natt."] * 20)
    settings = Settings.model_validate({"model": {"base": "some"}})  # as a pretrained one: no CTC head
    return Learner(model, settings).train()


def batch(clips: int, frames: int, tokens: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(clips, 80, frames, device=device), torch.ones(clips, tokens, dtype=torch.long, device=device)


def kept(one: Learner, frames: int, tokens: int) -> int:
    """Bytes that a clip's forward pass keeps for the way back."""
    weights = {weight.untyped_storage().data_ptr() for weight in one.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        one(*batch(2, frames, tokens))
        two_clips = sum(storage.nbytes() for at, storage in storages.items() if at not in weights)
        storages.clear()
        one(*batch(1, frames, tokens))
    return two_clips - sum(storage.nbytes() for at, storage in storages.items() if at not in weights)


def computed(one: Learner) -> dict[str, float]:
    """GiB for a step of a whole batch, by the length of its clips."""
    parameters = sum(weight.numel() for weight in one.parameters())
    state = parameters * (4 + 4 + 8 + 2)  # weights, gradients, AdamW's two moments, half-precision copies
    return {what: (state + BATCH * kept(one, *spoken)) / 2**30 for what, spoken in SPOKEN.items()}


class Step:
    """A training step of a learner, on its device and in the precision that trials have there."""

    def __init__(self, one: Learner, device: str) -> None:
        self.one, self.device = one.to(device), device
        self.dtype = None if device == "cpu" else torch.bfloat16 if compute.has_bfloat16() else torch.float16
        self.optimizer = optimizers.build(one, "adamw", 1e-5, 0.01)
        self.scaler = torch.amp.GradScaler(device, enabled=self.dtype == torch.float16)

    def __call__(self, features: torch.Tensor, labels: torch.Tensor, **known: Any) -> None:
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            loss = self.one(features, labels, **known)["loss"]
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.one.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def share_of_peak(operations: float, seconds: float) -> float | None:
    """Of the GPU's peak in half precision; None where that is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((tflops for chip, tflops in PEAK_TFLOPS.items() if chip in name), None)
    return round(operations / seconds / 1e12 / peak, 3) if peak else None


def measured(one: Learner, frames: int, tokens: int, device: str = "cuda", clips: int = BATCH) -> dict[str, Any]:
    """The peak of training steps in GiB, clips a second, and the share of the chip's peak."""
    step, (features, labels) = Step(one, device), batch(clips, frames, tokens, device)
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
    one = learner()
    told: dict[str, Any] = {"small_gib": {what: round(gib, 1) for what, gib in computed(one).items()}}
    for what, gib in told["small_gib"].items():
        fits = "fits" if gib * 2**30 < T4_BYTES else "does not fit"
        print(f"whisper-small, {BATCH} clips of {what:5s} computed {gib:5.1f} GiB: {fits} a 16 GB T4")
    if not torch.cuda.is_available():
        print("measured: skipped, there is no GPU here")
        return told
    told["gpu"] = torch.cuda.get_device_name()
    for what, spoken in SPOKEN.items():
        told[f"small_measured_{what.replace(' ', '')}"] = found = measured(one, *spoken)
        print(
            f"on {told['gpu']}, {what:5s} {found['gib']:5.1f} GiB, {found['clips_per_second']:.0f} clips/s, "
            f"of its peak: {found['share_of_peak']}"
        )
    return told


if __name__ == "__main__":
    machine.print_result(report())
