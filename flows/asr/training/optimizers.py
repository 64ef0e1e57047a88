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
    """`name` is muon or adamw. Only matrices decay; embeddings, norms and biases do not."""
    parameters = {name_: one for name_, one in model.named_parameters() if one.requires_grad}
    matrices = [one for name_, one in parameters.items() if one.ndim == 2 and "embed" not in name_]
    hidden = [one for name_, one in parameters.items() if one.ndim == 2 and ".layers." in name_]
    chosen = {id(one) for one in matrices}
    others = [one for one in parameters.values() if id(one) not in chosen]
    if name == "adamw":
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True)
    inner = {id(one) for one in hidden}
    rest = [one for one in matrices if id(one) not in inner]
    groups = [{"params": rest, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return Together(
        torch.optim.Muon(hidden, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=BETAS, fused=True),
    )


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one: their groups are shared, so one schedule drives them all."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        for part in parts:  # the very same dictionaries, so that a new learning rate reaches each part
            part.param_groups = [self._twin(group) for group in part.param_groups]

    def _twin(self, group: dict[str, Any]) -> dict[str, Any]:
        return next(mine for mine in self.param_groups if mine["params"][0] is group["params"][0])

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
            for group, loaded in zip([self._twin(g) for g in part.param_groups], part.param_groups, strict=True):
                group.update(loaded)
