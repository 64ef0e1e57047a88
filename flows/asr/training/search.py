"""From a search space to trials, and from their outcomes to the leaderboard."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asr import InputError
from asr.plain_values import from_plain
from asr.scoring import intervals
from asr.settings import Range, Search, Settings
from asr.training import models

if TYPE_CHECKING:
    import pandas as pd

Space = tuple[float, ...] | Range
OVERRIDABLE = ("warmup", "label_smoothing", "batch_size")  # keys of [training] that a search may override
MAX_DRAWS = 20  # draws per trial, since a point may repeat


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters."""

    number: int
    learning_rate: float
    weight_decay: float
    overrides: tuple[tuple[str, int | float], ...] = ()  # keys of [training] with their values

    def apply_to(self, settings: Settings) -> Settings:
        """The settings that this trial trains with."""
        return settings.model_copy(update={"training": settings.training.model_copy(update=dict(self.overrides))})


@dataclass(frozen=True)
class LogEntry:
    """Training metrics of a trial at a step."""

    step: int
    loss: float  # of the training batches since the last entry
    learning_rate: float
    clips_per_second: float  # since the last entry, without evaluations


@dataclass(frozen=True)
class CurvePoint:
    """The result of one evaluation of a trial."""

    step: int
    loss: float  # of the training batches since the last report
    validation_loss: float  # per token
    validation_wer: float  # percent
    low: float  # of the 95 % interval
    high: float


@dataclass(frozen=True)
class ClipErrors:
    """The word errors of a trial's best model in each validation clip; the clips are the same in every trial."""

    errors: tuple[int, ...] = ()  # words
    words: tuple[int, ...] = ()  # in the reference
    speakers: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The result of a trial."""

    trial: Trial
    validation_wer: float  # percent
    steps: int
    seconds: float
    stopped: str  # why it ended: finished, plateau, outpaced, diverged, failed
    curve: tuple[CurvePoint, ...]
    clip_errors: ClipErrors = ClipErrors()
    history: tuple[LogEntry, ...] = field(default=(), compare=False)  # speeds are not reproducible

    @property
    def best_evaluation(self) -> CurvePoint | None:
        """The evaluation of the model that the trial returned."""
        return best_evaluation(self.curve)


def failed_outcome(trial: dict[str, Any]) -> Outcome:
    """The outcome of a trial that failed."""
    return Outcome(from_plain(Trial, trial), math.nan, 0, 0.0, "failed", ())


def best_evaluation(curve: Sequence[CurvePoint]) -> CurvePoint | None:
    """The evaluation with the lowest validation WER, the earliest of equals."""
    return min(curve, key=lambda point: (point.validation_wer, point.step), default=None)


def plan_trials(settings: Settings) -> list[Trial]:
    """The trials of a search: `trials` points of its space, chosen by `sampler` and the seed.

    Raises `InputError` for a base that cannot be read, or a learning rate that is too high for it.
    """
    search, usual = settings.search, models.default_hyperparameters(settings)
    rates = usual.learning_rates if search.learning_rate == "auto" else search.learning_rate
    highest = rates.high if isinstance(rates, Range) else max(rates)
    if highest > usual.limit:
        raise InputError(
            f"[search] learning_rate: {highest:g} is suitable only for training from scratch; "
            f"{settings.model.base} would forget what it knows: {usual.limit:g} at most"
        )
    space: dict[str, Space] = {"learning_rate": rates, "weight_decay": search.weight_decay}
    space |= {name: values for name in OVERRIDABLE if (values := getattr(search, name)) is not None}
    points = _grid(space, search) if search.sampler == "grid" else _sample(space, search)
    return [
        Trial(number, point[0], point[1], tuple(zip(list(space)[2:], point[2:], strict=True)))
        for number, point in enumerate(points)
    ]


def _grid(space: Mapping[str, Space], search: Search) -> list[tuple[Any, ...]]:
    """All combinations, or `trials` of them sampled by the seed; in grid order."""
    lists = [sorted(set(values)) for values in space.values() if isinstance(values, tuple)]
    if search.trials >= (count := math.prod(map(len, lists))):
        return list(itertools.product(*lists))
    return [_combination(lists, nth) for nth in sorted(random.Random(search.seed).sample(range(count), search.trials))]


def _combination(lists: Sequence[Sequence[Any]], nth: int) -> tuple[Any, ...]:
    """The `nth` of all combinations, without making them: five long lists have too many.

    >>> _combination(["ab", "xyz"], 4), list(itertools.product("ab", "xyz"))[4]
    (('b', 'y'), ('b', 'y'))
    """
    point: list[Any] = []
    for values in reversed(lists):
        nth, at = divmod(nth, len(values))
        point.insert(0, values[at])
    return tuple(point)


def _sample(space: Mapping[str, Space], search: Search) -> list[tuple[Any, ...]]:
    """`trials` different points, or as many as there are."""
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=search.seed)
    if search.sampler == "quasi":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.QMCSampler(seed=search.seed, scramble=True)
    lists = {name: sorted(set(values)) for name, values in space.items() if isinstance(values, tuple)}
    axes: dict[str, BaseDistribution] = {  # of a list, the index
        name: FloatDistribution(values.low, values.high, log=values.log) if isinstance(values, Range)
        else IntDistribution(0, len(lists[name]) - 1)
        for name, values in space.items()
    }  # fmt: skip
    study, points = optuna.create_study(sampler=sampler), dict[tuple[Any, ...], None]()
    count = math.prod(map(len, lists.values())) if len(lists) == len(space) else search.trials
    for _ in range(MAX_DRAWS * search.trials):
        sample = study.ask(axes)
        study.tell(sample, 0.0)
        values = sample.params
        points[tuple(lists[name][values[name]] if name in lists else float(values[name]) for name in space)] = None
        if len(points) == min(search.trials, count):
            break
    return list(points)


def leaderboard(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per trial, the winner first: the lowest validation WER, then the fewest steps, then the lowest number.

    `low` and `high` bound the WER's 95 % interval; `p` is the p-value of the difference to the winner. Both are missing
    for a trial without a WER. Raises `InputError`, with the table, where no trial has a WER.
    """
    import pandas as pd

    rows = [
        {
            "trial": outcome.trial.number,
            "learning_rate": outcome.trial.learning_rate,
            "weight_decay": outcome.trial.weight_decay,
            **dict(outcome.trial.overrides),
            "validation_wer": outcome.validation_wer,
            "steps": outcome.steps,
            "seconds": outcome.seconds,
            "stopped": outcome.stopped,
            "low": outcome.best_evaluation.low if outcome.best_evaluation else math.nan,
            "high": outcome.best_evaluation.high if outcome.best_evaluation else math.nan,
            "p": math.nan,
        }
        for outcome in outcomes
    ]
    if all(outcome.stopped == "failed" for outcome in outcomes):
        raise InputError("every trial failed, see above: `resume train` tries them again, from their last checkpoints")
    board = pd.DataFrame(rows).sort_values(["validation_wer", "steps", "trial"], ignore_index=True)
    if board["validation_wer"].isna().all():
        raise InputError("no trial has an error rate; lower learning rates may help:", board.to_string(index=False))
    clip_errors = {outcome.trial.number: outcome.clip_errors for outcome in outcomes}
    best = clip_errors[board["trial"].iloc[0]]
    for row, number in board["trial"].items():
        if (own := clip_errors[number]).errors:
            board.loc[row, "p"] = intervals.compare_models(own.errors, best.errors, best.words, best.speakers).p
    return board
