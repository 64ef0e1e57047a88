"""Confidence intervals of error rates by bootstrap, and a paired permutation test between two models.

Both resample whole speakers where at least 20 are known, because a speaker's clips resemble each other. With fewer they
resample clips, and the result then holds only for new clips of the same speakers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
SIGNIFICANCE = 0.05  # above this p-value the clips cannot tell two models apart
RESAMPLES = 2_000
MIN_SPEAKERS = 20  # with fewer, an interval by speaker is too narrow: with 5 it covers the truth 80 times of 100
MAX_DRAWS = 1 << 22  # draws held in memory at once


@dataclass(frozen=True)
class Interval:
    low: float  # percent
    high: float
    unit: str  # "speaker": holds for new speakers; "clip": only for new clips of these speakers


@dataclass(frozen=True)
class Comparison:
    """One model against another on the same clips."""

    difference: float  # WER points, below 0 if the first is better
    low: float  # 95 % interval of the difference
    high: float
    p: float  # how often chance alone makes a difference this large
    unit: str


def confidence_interval(
    wrong: Sequence[int], words: Sequence[int], speakers: Sequence[str | None], seed: int = 0
) -> Interval:
    """The 95 % interval of an error rate, from the wrong and the reference words (or characters) of each clip.

    The percentile bootstrap, widened for small samples. If every unit has the same error rate (a single unit, or a
    perfect score), resampling has no spread. A share p of bad units would have been missed with probability
    (1 - p)^units, so the interval then extends by the largest such share. Without words it is 0 to 0.
    """
    errors, totals, unit = _sum_by_unit(wrong, words, speakers)
    if not totals.any():
        return Interval(0.0, 0.0, unit)
    rate = 100 * float(errors.sum() / totals.sum())
    has_spread = (errors * totals.sum() - totals * errors.sum()).any()  # in integers, so exact
    if not has_spread:
        unseen = 100 * (1 - ((1 - LEVEL) / 2) ** (1 / np.count_nonzero(totals)))
        return Interval(max(0.0, rate - unseen), max(rate, min(100.0, rate + unseen)), unit)
    low, high = _bootstrap(errors, totals, seed)
    return Interval(low, high, unit)


def compare_models(
    first: Sequence[int], second: Sequence[int], words: Sequence[int], speakers: Sequence[str | None], seed: int = 0
) -> Comparison:
    """The difference between two models' WERs on the same clips, with its 95 % interval and p-value.

    The p-value is from a paired permutation test (approximate randomisation): if both models were equally good, each
    unit's errors could be swapped between them. It is 1 if they make the same number of errors in every unit, and for a
    single unit, whose interval is 100 points wide on either side.

    Args:
        first: word errors of the first model in each clip.
        second: word errors of the second model.
        words: reference words in each clip.
        speakers: the clips' speakers, None where unknown.
    """
    gap, totals, unit = _sum_by_unit(np.subtract(first, second), words, speakers)
    difference = 100 * float(gap.sum() / max(totals.sum(), 1))
    if not gap.any() or not totals.any():
        return Comparison(0.0, 0.0, 0.0, 1.0, unit)
    if len(gap) == 1:
        return Comparison(difference, difference - 100, difference + 100, 1.0, unit)
    low, high = _bootstrap(gap, totals, seed)
    random, as_large = np.random.default_rng(seed), 0
    for size in _batch_sizes(len(gap)):
        signs = random.integers(0, 2, (size, len(gap)), dtype=np.int8) * 2 - 1
        as_large += int((np.abs(signs @ gap) >= abs(gap.sum())).sum())
    p = (1 + as_large) / (1 + RESAMPLES)
    return Comparison(difference, low, high, p, unit)


def _sum_by_unit(
    counts: Sequence[int] | np.ndarray, words: Sequence[int], speakers: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Both counts summed by speaker, or by clip, and the name of that unit."""
    if not len(words):
        raise ValueError("there are no clips")
    by_speaker = None not in speakers and len(set(speakers)) >= MIN_SPEAKERS
    names = [str(speaker) for speaker in speakers]
    index = np.unique(names, return_inverse=True)[1] if by_speaker else np.arange(len(words))
    sums = (np.bincount(index, values).astype(np.int64) for values in (counts, words))
    return next(sums), next(sums), "speaker" if by_speaker else "clip"


def _bootstrap(counts: np.ndarray, words: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of 100 * counts / words over units drawn with replacement.

    A plain percentile interval is too narrow by sqrt((n - 1) / n) and uses normal instead of t quantiles. The expanded
    percentile interval corrects both (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).
    """
    from scipy import special

    random, units, rates = np.random.default_rng(seed), len(words), list[np.ndarray]()
    for size in _batch_sizes(units):
        drawn = random.integers(0, units, (size, units))
        rates.append(100 * counts[drawn].sum(1) / np.maximum(words[drawn].sum(1), 1))
    quantile = special.stdtrit(units - 1, (1 + LEVEL) / 2) * math.sqrt(units / (units - 1))
    low, high = np.quantile(np.concatenate(rates), special.ndtr([-quantile, quantile]))
    return float(low), float(high)


def _batch_sizes(units: int) -> list[int]:
    """`RESAMPLES` split so that each batch fits into memory."""
    largest = max(1, MAX_DRAWS // units)
    return [min(largest, RESAMPLES - start) for start in range(0, RESAMPLES, largest)]
