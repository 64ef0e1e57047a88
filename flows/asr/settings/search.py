"""The table [search]."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from asr.settings.fields import (
    MAX_NUMBER,
    Flag,
    Fraction,
    LearningRate,
    NonNegativeFloat,
    PositiveInt,
    Seed,
    Table,
)


class Range(Table):
    """A range to draw from, uniformly or, with `log`, log-uniformly."""

    low: Annotated[float, Field(ge=0, lt=1, strict=True)]
    high: Annotated[float, Field(gt=0, lt=1, strict=True)]
    log: Flag = False

    @model_validator(mode="after")
    def _check_bounds(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and not self.low:
            raise ValueError("low 0 has no logarithm")
        return self


def _form_of(value: Any) -> str:
    """The form of a hyperparameter's value, so that an error message is about that form only."""
    return "range" if isinstance(value, dict | Range) else "word" if isinstance(value, str) else "list"


def _list_or_range(value: Any) -> str:
    return "range" if _form_of(value) == "range" else "list"


TaggedRange = Annotated[Range, Tag("range")]
Fractions = Annotated[
    Annotated[tuple[Fraction, ...], Field(min_length=1, max_length=1_000), Tag("list")] | TaggedRange,
    Discriminator(_list_or_range),
]
LearningRates = Annotated[
    Annotated[Literal["auto"], Tag("word")]
    | Annotated[tuple[LearningRate, ...], Field(min_length=1, max_length=1_000), Tag("list")]
    | TaggedRange,
    Discriminator(_form_of),
]


class Search(Table):
    """The hyperparameters to try, and when a trial is stopped early.

    Each is a list or a range. Missing ones have the value of [training].
    """

    trials: PositiveInt = Field(3, le=10_000)
    # grid: all combinations of the lists, or `trials` of them sampled by the seed; random: sampled independently;
    # quasi: a Sobol sequence, which covers the space evenly
    sampler: Literal["grid", "random", "quasi"] = "grid"
    learning_rate: LearningRates = "auto"
    weight_decay: Fractions = (0.01, 0.1)
    warmup: Fractions | None = None
    label_smoothing: Fractions | None = None
    batch_size: (
        Annotated[tuple[Annotated[PositiveInt, Field(le=1_000_000)], ...], Field(min_length=1, max_length=1_000)] | None
    ) = None
    stop_losers: Flag = False  # stop trials that fall behind the others, see training/halving.py
    # A search that is estimated to take longer is an error
    max_hours: Annotated[float, Field(gt=0, le=MAX_NUMBER, strict=True)] | None = None
    hourly_cost: NonNegativeFloat = (
        0.0  # of a machine that trains one trial, in any currency; the estimate then has the cost
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_sampler(self) -> Search:
        ranges = [name for name in type(self).model_fields if isinstance(getattr(self, name), Range)]
        if self.sampler == "grid" and ranges:
            raise ValueError(f'{ranges[0]} is a range, and a grid needs lists; say sampler = "quasi" or "random"')
        return self
