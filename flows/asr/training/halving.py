"""Which trial goes on: asynchronous successive halving among independent branches (after ASHA, arXiv:1810.05934).

At each rung, a fixed share of the steps, a trial writes its validation loss into the datastore and reads what the
others have written there by then. It ends unless it is in the best third, and looks again now and then, until the next
rung, whether it still is. Nobody waits and nobody decides for another, so a sibling that is late, dead or gone blocks
no one; and since the best at the highest rung is always left, one trial at least comes to its end. Which siblings a
trial sees depends on who is faster: with losers stopped, two searches may stop different trials at different steps.

The loss decides, not the WER: while a model learns to read, its WER says little. Of nine trials of the sample, one
that was to end at 40 % stood at 111 % at a sixth of its steps, and one that was to end at 80 % stood at 93 %; their
losses were 1.3 and 2.2. On those nine, with four at once, any order of starting cost a quarter to a third of all nine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from asr.store import Store

RUNGS = (0.15, 0.4)  # of the steps
REDUCTION = 3  # one in so many goes on


class SuccessiveHalving:
    """The trials of one search, seen from one of them."""

    def __init__(self, store: Store, search: str, number: int, trials: int) -> None:
        self.store, self.search, self.number = store, search, number
        self.others = [one for one in range(trials) if one != number]
        self._seen: dict[str, float] = {}  # what a trial has once told stands, so nobody reads it again

    def report(self, rung: int, loss: float) -> None:
        """Tell the others this trial's validation loss at the rung."""
        self.store.remember(self._name(rung, self.number), loss)

    def is_outpaced(self, rung: int, loss: float) -> bool:
        """Whether this trial, with that loss at the rung, is not among the best of those known by now."""
        names = [self._name(rung, other) for other in self.others]
        self._seen |= self.store.recall_all([name for name in names if name not in self._seen])
        return not is_promising(loss, (self._seen[name] for name in names if name in self._seen))

    def _name(self, rung: int, number: int) -> str:
        return f"rungs/{self.search}/{rung}/{number}"


def is_promising(loss: float, others: Iterable[float]) -> bool:
    """Whether the loss is in the best third of all, itself included; the first to come always is.

    >>> promising(0.5, []), promising(0.5, [0.4]), is_promising(0.5, [0.4, 0.6, 0.7, 0.8, 0.9])
    (True, False, True)
    """
    known = list(others)
    best = max(1, (1 + len(known)) // REDUCTION)
    return math.isfinite(loss) and sum(other < loss for other in known) < best


def rung_steps(steps: int) -> list[int]:
    """After which steps the trials are compared.

    >>> rung_steps(900)
    [135, 360]
    """
    return sorted({max(1, round(share * steps)) for share in RUNGS} - {steps})


def step_fraction(trials: int) -> float:
    """Of the steps of so many trials that are done where losers stop, if none had to be waited for.

    >>> round(step_fraction(9), 2)
    0.3
    """
    done, left = 0.0, float(trials)
    for begins, ends in itertools.pairwise((0.0, *RUNGS, 1.0)):
        done, left = done + left * (ends - begins), max(1.0, left / REDUCTION)
    return done / trials
