"""The optimiser of a trial.

From nothing, Muon on the layers' matrices (AdamW on the rest) reached in 700 steps a validation WER of
16 % where AdamW alone stood at 33 %: same sample model, same seed. A pretrained Whisper keeps AdamW, which made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

BETAS = (0.9, 0.98)


def build(model: torch.nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """`name` is muon or adamw. Weights decay; norms and biases do not."""
    hidden: list[torch.nn.Parameter] = []
    weights: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for where, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim == 2 and ".layers." in where and name == "muon":
            hidden.append(parameter)
        else:
            (weights if parameter.ndim > 1 else others).append(parameter)
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True)
    if name == "adamw":
        return adamw
    muon = torch.optim.Muon(hidden, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return Together(muon, adamw)


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one. They share their groups with it, so one schedule drives them all."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        # Loading gives each part new groups; accelerate does so before the first step.
        self.param_groups = [group for part in self.parts for group in part.param_groups]
