"""From a search space to trials, and from their outcomes to a winner."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asr import InputError
from asr.scoring import intervals
from asr.settings import Range, Search, Settings
from asr.training import models
from asr.values import from_plain

if TYPE_CHECKING:
    import pandas as pd

Space = tuple[float, ...] | Range
OVERRIDABLE = ("warmup", "label_smoothing", "batch_size")  # keys of [training] that a search may give instead
MAX_DRAWS = 20  # for each trial, until it is a point that was not drawn before


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters to train with."""

    number: int
    learning_rate: float
    weight_decay: float
    overrides: tuple[tuple[str, int | float], ...] = ()  # keys of [training], where the search gives them

    def apply_to(self, settings: Settings) -> Settings:
        """The settings that this trial trains with."""
        return settings.model_copy(update={"training": settings.training.model_copy(update=dict(self.overrides))})


@dataclass(frozen=True)
class LogEntry:
    """How a trial was doing in passing."""

    step: int
    loss: float  # of the training batches since the look before
    learning_rate: float
    clips_per_second: float  # since the look before, the time of evaluations left out


@dataclass(frozen=True)
class CurvePoint:
    """How a trial stood at one evaluation."""

    step: int
    loss: float  # of the training batches since the report before
    validation_loss: float  # a token
    validation_wer: float  # percent
    low: float  # its 95 % interval
    high: float


@dataclass(frozen=True)
class ClipErrors:
    """What the model that a trial handed on got wrong in each validation clip, the same ones in every trial."""

    errors: tuple[int, ...] = ()  # words
    words: tuple[int, ...] = ()  # that were said
    speakers: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, and its curve."""

    trial: Trial
    validation_wer: float  # percent
    steps: int
    seconds: float
    stopped: str  # why it ended: finished, plateau, outpaced, diverged, failed
    curve: tuple[CurvePoint, ...]
    clip_errors: ClipErrors = ClipErrors()
    history: tuple[LogEntry, ...] = field(default=(), compare=False)  # clips a second are never the same twice

    @property
    def best_evaluation(self) -> CurvePoint | None:
        """Where the model that was handed on stood."""
        return best_evaluation(self.curve)


def failed_outcome(trial: dict[str, Any]) -> Outcome:
    """Of a trial that did not come to its end, and was given up."""
    return Outcome(from_plain(Trial, trial), math.nan, 0, 0.0, "failed", ())


def best_evaluation(curve: Sequence[CurvePoint]) -> CurvePoint | None:
    """The point with the lowest validation WER, the earliest of equals."""
    return min(curve, key=lambda point: (point.validation_wer, point.step), default=None)


def plan_trials(settings: Settings) -> list[Trial]:
    """The trials of a search: `plan_trials` points of its space, chosen as `sampler` says, the same ones every time.

    Raises `InputError` for a base that cannot be had, or a learning rate beyond what it can take.
    """
    search, usual = settings.search, models.default_hyperparameters(settings)
    rates = usual.learning_rates if search.learning_rate == "auto" else search.learning_rate
    highest = rates.high if isinstance(rates, Range) else max(rates)
    if highest > usual.limit:
        raise InputError(
            f"[search] learning_rate: {highest:g} is fit only for training from nothing; "
            f"{settings.model.base} would forget what it knows: {usual.limit:g} at most"
        )
    space: dict[str, Space] = {"learning_rate": rates, "weight_decay": search.weight_decay}
    space |= {name: given for name in OVERRIDABLE if (given := getattr(search, name)) is not None}
    points = _grid(space, search) if search.sampler == "grid" else _sample(space, search)
    return [
        Trial(number, point[0], point[1], tuple(zip(list(space)[2:], point[2:], strict=True)))
        for number, point in enumerate(points)
    ]


def _grid(space: Mapping[str, Space], search: Search) -> list[tuple[Any, ...]]:
    """All combinations, or `plan_trials` of them drawn by the seed; in grid order."""
    lists = [sorted(set(values)) for values in space.values() if isinstance(values, tuple)]
    if search.trials >= (count := math.prod(map(len, lists))):
        return list(itertools.product(*lists))
    return [_combination(lists, nth) for nth in sorted(random.Random(search.seed).sample(range(count), search.trials))]


def _combination(lists: Sequence[Sequence[Any]], nth: int) -> tuple[Any, ...]:
    """That one of all combinations, none of which is made: five long lists have more than fit anywhere.

    >>> _combination(["ab", "xyz"], 4), list(itertools.product("ab", "xyz"))[4]
    (('b', 'y'), ('b', 'y'))
    """
    point: list[Any] = []
    for values in reversed(lists):
        nth, at = divmod(nth, len(values))
        point.insert(0, values[at])
    return tuple(point)


def _sample(space: Mapping[str, Space], search: Search) -> list[tuple[Any, ...]]:
    """`plan_trials` different points, or as many as there are."""
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=search.seed)
    if search.sampler == "quasi":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.QMCSampler(seed=search.seed, scramble=True)
    lists = {name: sorted(set(values)) for name, values in space.items() if isinstance(values, tuple)}
    axes: dict[str, BaseDistribution] = {  # of a list, the place in it
        name: FloatDistribution(values.low, values.high, log=values.log) if isinstance(values, Range)
        else IntDistribution(0, len(lists[name]) - 1)
        for name, values in space.items()
    }  # fmt: skip
    study, points = optuna.create_study(sampler=sampler), dict[tuple[Any, ...], None]()
    count = math.prod(map(len, lists.values())) if len(lists) == len(space) else search.trials
    for _ in range(MAX_DRAWS * search.trials):
        drawn = study.ask(axes)
        study.tell(drawn, 0.0)
        where = drawn.params
        points[tuple(lists[name][where[name]] if name in lists else float(where[name]) for name in space)] = None
        if len(points) == min(search.trials, count):
            break
    return list(points)


def leaderboard(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a trial, the winner first: the lowest validation WER, then the fewest steps, then the lowest number.

    `low` and `high` bound the WER's 95 % interval; `p` is how often a difference to the winner as large as the trial's
    comes by chance on these clips; a trial that came to no WER has none of them. Raises `InputError`, with the table,
    where no trial came to a WER.
    """
    import pandas as pd

    rows = [
        {
            "trial": one.trial.number,
            "learning_rate": one.trial.learning_rate,
            "weight_decay": one.trial.weight_decay,
            **dict(one.trial.overrides),
            "validation_wer": one.validation_wer,
            "steps": one.steps,
            "seconds": one.seconds,
            "stopped": one.stopped,
            "low": one.best_evaluation.low if one.best_evaluation else math.nan,
            "high": one.best_evaluation.high if one.best_evaluation else math.nan,
            "p": math.nan,
        }
        for one in outcomes
    ]
    if all(one.stopped == "failed" for one in outcomes):
        raise InputError(
            "every trial failed, as told above: `resume train` tries them again, from their last checkpoints"
        )
    board = pd.DataFrame(rows).sort_values(["validation_wer", "steps", "trial"], ignore_index=True)
    if board["validation_wer"].isna().all():
        raise InputError("no trial came to an error rate; lower learning rates may do:", board.to_string(index=False))
    heard = {one.trial.number: one.clip_errors for one in outcomes}
    best = heard[board["trial"].iloc[0]]
    for row, number in board["trial"].items():
        if (one := heard[number]).errors:
            board.loc[row, "p"] = intervals.compare_models(one.errors, best.errors, best.words, best.speakers).p
    return board
