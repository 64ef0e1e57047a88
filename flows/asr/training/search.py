"""From a search space to trials."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from asr import Refused
from asr.settings import Search
from asr.training.models import Usual


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters to train with."""

    number: int
    learning_rate: float
    weight_decay: float
    threads: int  # of torch; fixed before the split, so that a resumed trial repeats itself


def trials(search: Search, usual: Usual, threads: int) -> list[Trial]:
    """The grid of learning rates and weight decays, or `search.trials` points of it drawn by its seed, in grid order.

    Raises `Refused` for a learning rate beyond what the base can take.
    """
    rates = usual.learning_rates if search.learning_rate == "auto" else search.learning_rate
    for rate in rates:
        if rate > usual.limit:
            raise Refused(
                f"[search] learning_rate: {rate:g} is for training from nothing; "
                f"this base would forget what it knows: at most {usual.limit:g}"
            )
    grid = list(itertools.product(sorted(rates), sorted(search.weight_decay)))
    if search.trials < len(grid):
        grid = sorted(random.Random(search.seed).sample(grid, search.trials))
    return [Trial(number, rate, decay, threads) for number, (rate, decay) in enumerate(grid)]
