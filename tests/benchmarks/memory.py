"""Whether whisper-small trains on a 16 GB T4 in batches of 16: computed anywhere, measured where there is a GPU.

    python tests/benchmarks/memory.py

Computed: the bytes of weights, gradients, AdamW and half-precision copies, and of all tensors that a step keeps for
its way back, counted in a real step of one clip under autocast (bfloat16 on a CPU, which keeps what float16 keeps on a
T4) and multiplied by the batch. Fragmentation and cuDNN's workspace are not in it. Measured: the peak of a step of the
same batch, clips a second, and the share of the chip's peak that its floating-point operations come to.
"""

from __future__ import annotations

import json
import time
from typing import Any

import geometry
import torch
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
    model, _ = geometry.build(geometry.SMALL, ["Klockan är halv åtta.", "Det är sju grader i natt."] * 20)
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


def measured(one: Learner, frames: int, tokens: int) -> dict[str, float]:
    """The peak of training steps on the GPU in GiB, clips a second, and the share of the chip's peak."""
    one, name = one.to("cuda"), torch.cuda.get_device_name()
    wide = torch.cuda.is_bf16_supported(including_emulation=False)
    optimizer = optimizers.build(one, "adamw", 1e-5, 0.01)
    scaler = torch.amp.GradScaler("cuda", enabled=not wide)
    features, labels = batch(BATCH, frames, tokens, "cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16 if wide else torch.float16):
            loss = one(features, labels)["loss"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        one.take_losses()

    step()
    with FlopCounterMode(display=False) as counter:
        step()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / STEPS
    peak = next((tflops for chip, tflops in PEAK_TFLOPS.items() if chip in name), None)
    return {
        "gib": torch.cuda.max_memory_allocated() / 2**30,
        "clips_per_second": BATCH / seconds,
        "share_of_peak": counter.get_total_flops() / seconds / 1e12 / peak if peak else float("nan"),
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
            f"{found['share_of_peak']:.0%} of its peak"
        )
    return told


if __name__ == "__main__":
    print(json.dumps(report()))
