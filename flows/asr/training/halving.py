"""Asynchronous successive halving of the trials of a search (after ASHA, arXiv:1810.05934).

At each rung, a fixed share of the steps, a trial writes its validation loss to the datastore and reads those that the
others have written so far. It stops unless it is in the best third, and checks that again until the next rung. No trial
waits for another, so a late or dead one blocks none; the best trial at the highest rung always finishes. The result
depends on the trials' speeds: two searches may stop different trials at different steps.

The loss decides, not the WER: see "Halving by loss, not by WER" in flows/docs/decisions.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from asr.store import Store

RUNGS = (0.15, 0.4)  # of the steps
REDUCTION = 3  # one of three trials continues


class SuccessiveHalving:
    """The trials of a search, from the view of one of them."""

    def __init__(self, store: Store, search: str, number: int, trials: int) -> None:
        self.store, self.search, self.number = store, search, number
        self.others = [other for other in range(trials) if other != number]
        self._seen: dict[str, float] = {}  # losses do not change, so each is read once

    def report(self, rung: int, loss: float) -> None:
        """Write this trial's validation loss at the rung."""
        self.store.remember(self._name(rung, self.number), loss)

    def is_outpaced(self, rung: int, loss: float) -> bool:
        """Whether this trial, with that loss at the rung, is not in the best third of those known so far."""
        names = [self._name(rung, other) for other in self.others]
        self._seen |= self.store.recall_all([name for name in names if name not in self._seen])
        return not is_promising(loss, (self._seen[name] for name in names if name in self._seen))

    def _name(self, rung: int, number: int) -> str:
        return f"rungs/{self.search}/{rung}/{number}"


def is_promising(loss: float, others: Iterable[float]) -> bool:
    """Whether the loss is in the best third of all, itself included; the first always is.

    >>> is_promising(0.5, []), is_promising(0.5, [0.4]), is_promising(0.5, [0.4, 0.6, 0.7, 0.8, 0.9])
    (True, False, True)
    """
    losses = list(others)
    best = max(1, (1 + len(losses)) // REDUCTION)
    return math.isfinite(loss) and sum(other < loss for other in losses) < best


def rung_steps(steps: int) -> list[int]:
    """The steps after which trials are compared.

    >>> rung_steps(900)
    [135, 360]
    """
    return sorted({max(1, round(share * steps)) for share in RUNGS} - {steps})


def step_fraction(trials: int) -> float:
    """The share of all steps of `trials` trials that is computed with halving, if none had to be waited for.

    >>> round(step_fraction(9), 2)
    0.3
    """
    computed, running = 0.0, float(trials)
    for begins, ends in itertools.pairwise((0.0, *RUNGS, 1.0)):
        computed, running = computed + running * (ends - begins), max(1.0, running / REDUCTION)
    return computed / trials
