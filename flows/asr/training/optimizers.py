"""The optimiser of a trial: Muon from scratch, AdamW on a base.

"Muon from scratch, AdamW on a base" in flows/docs/decisions.md has the measurements.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from asr import hardware

BETAS = (0.9, 0.98)  # AdamW alone
MOMENTUM, BETAS_WITH_MUON = 0.9, (0.8, 0.98)  # Muon, and AdamW for the other weights
QUINTIC = (3.4445, -4.7750, 2.0315)  # Keller Jordan's coefficients
ITERATIONS = 5
MIN_NORM = 1e-7  # of a matrix, against division by zero
UPDATE_RMS = 0.2  # of an update, like AdamW's: arXiv:2502.16982
MAX_ELEMENTS = 1 << 24  # of the matrices orthogonalised together: 64 MB in float32


def build(model: torch.nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimiser `name`, muon or adamw. Norms and biases have no weight decay."""
    hidden: list[torch.nn.Parameter] = []
    weights: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim == 2 and ".layers." in parameter_name and name == "muon":
            hidden.append(parameter)
        else:
            (weights if parameter.ndim > 1 else others).append(parameter)
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    betas = BETAS if name == "adamw" else BETAS_WITH_MUON
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    if name == "adamw":
        return adamw
    return CombinedOptimizer(Muon(hidden, learning_rate, weight_decay), adamw)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and AdamW's step size (https://kellerjordan.github.io/posts/muon, arXiv:2502.16982).

    The same update as `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, which always orthogonalises in
    bfloat16 and is slow on a CPU without instructions for that.
    """

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[torch.nn.Parameter, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    wide = _wide(self._momentum(weight, weight.grad))
                    by_shape[wide.shape].append((weight, wide))
            for shape, members in by_shape.items():
                chunk, rate = max(1, MAX_ELEMENTS // shape.numel()), group["lr"] * UPDATE_RMS * math.sqrt(shape[1])
                for at in range(0, len(members), chunk):
                    weights, updates = zip(*members[at : at + chunk], strict=True)
                    for weight, update in zip(weights, orthogonalize(torch.stack(updates)), strict=True):
                        weight.mul_(1 - group["lr"] * group["weight_decay"])
                        weight.add_(update if weight.shape == shape else update.T, alpha=-rate)

    def _momentum(self, weight: torch.nn.Parameter, gradient: Tensor) -> Tensor:
        """The gradient after Nesterov momentum."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM)


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, transposed where it has more rows than columns, so that its Gram matrix is the smaller one."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of (count, rows, columns) matrices near 1 by Newton-Schulz iterations.

    `rows` is at most `columns`. In bfloat16 on a GPU that has it, else in float32. In float32 the
    iterations of wide matrices run on the Gram matrix only, for which bfloat16 is not precise enough.
    """
    dtype = torch.bfloat16 if matrices.is_cuda and hardware.has_bfloat16() else torch.float32
    near = matrices.to(dtype)
    near = near / torch.linalg.matrix_norm(near, keepdim=True).clamp(min=MIN_NORM)
    rows, columns = matrices.shape[1:]
    if dtype == torch.float32 and columns >= 2 * rows:
        gram = near @ near.mT
        factor = _quintic(gram)
        product = factor
        for _ in range(ITERATIONS - 1):
            gram = factor @ gram @ factor
            factor = _quintic(gram)
            product = factor @ product
        return product @ near
    for _ in range(ITERATIONS):
        near = _quintic(near @ near.mT) @ near
    return near.to(matrices.dtype)


def _quintic(gram: Tensor) -> Tensor:
    """a I + b G + c G^2 of (count, rows, rows) Gram matrices: the factor of one Newton-Schulz iteration."""
    a, b, c = QUINTIC
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimisers that step together. They share their groups with it, so that one schedule drives them all."""

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
        # Loading replaces the groups of each part; accelerate loads before the first step.
        self.param_groups = [group for part in self.parts for group in part.param_groups]
