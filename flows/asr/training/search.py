"""From a search space to trials, and from their outcomes to a winner."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from asr import Refused
from asr.settings import Settings
from asr.training import models

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters to train with."""

    number: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Point:
    """How a trial stood at one evaluation."""

    step: int
    loss: float
    validation_wer: float


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, and its curve."""

    trial: Trial
    validation_wer: float  # percent
    steps: int
    seconds: float
    stopped: str  # why it ended: finished
    curve: tuple[Point, ...]


def trials(settings: Settings) -> list[Trial]:
    """The grid of learning rates and weight decays, or `trials` points of it drawn by the seed, in grid order.

    Raises `Refused` for a base that cannot be had, or a learning rate beyond what it can take.
    """
    search, usual = settings.search, models.usual(settings.model)
    rates = usual.learning_rates if search.learning_rate == "auto" else search.learning_rate
    for rate in rates:
        if rate > usual.limit:
            raise Refused(
                f"[search] learning_rate: {rate:g} is fit only for training from nothing; "
                f"{settings.model.base} would forget what it knows: {usual.limit:g} at most"
            )
    grid = list(itertools.product(sorted(set(rates)), sorted(set(search.weight_decay))))
    if search.trials < len(grid):
        grid = sorted(random.Random(search.seed).sample(grid, search.trials))
    return [Trial(number, rate, decay) for number, (rate, decay) in enumerate(grid)]


def leaderboard(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a trial, the winner first: the lowest validation WER, then the fewest steps, then the lowest number."""
    import pandas as pd

    rows = [
        {
            **{"trial" if name == "number" else name: value for name, value in asdict(one.trial).items()},
            "validation_wer": one.validation_wer,
            "steps": one.steps,
            "seconds": one.seconds,
            "stopped": one.stopped,
        }
        for one in outcomes
    ]
    return pd.DataFrame(rows).sort_values(["validation_wer", "steps", "trial"], ignore_index=True)
