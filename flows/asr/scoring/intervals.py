"""How far a score would move on other clips, and whether one model is better than another: bootstrap and paired test.

Both count whole speakers where at least 20 are known, since a speaker's clips resemble each other; below that they
count clips, and then say nothing of new speakers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
CHANCE = 0.05  # a p above it: the clips cannot tell two models apart
RESAMPLES = 2_000
FEWEST_SPEAKERS = 20  # below it an interval by speaker is far too narrow: with 5 it holds the truth 80 times of 100
AT_ONCE = 1 << 22  # draws in memory


@dataclass(frozen=True)
class Interval:
    low: float  # percent
    high: float
    unit: str  # speaker: it speaks for new speakers; clip: for new clips of these speakers only


@dataclass(frozen=True)
class Comparison:
    """One model against another on the same clips."""

    difference: float  # WER points, below 0 where the first is better
    low: float  # its 95 % interval
    high: float
    p: float  # how often a difference as large comes by chance where there is none
    unit: str


def interval(wrong: Sequence[int], words: Sequence[int], speakers: Sequence[str | None], seed: int = 0) -> Interval:
    """The 95 % interval of an error rate, from the wrong words (or characters) and those said in each clip.

    The percentile bootstrap, widened as a small sample needs it. Where every unit is equally wrong, as one alone or
    all of them perfect, resampling sees no spread, and a share p of bad ones would have been missed with a chance of
    (1 - p)^units: the interval then reaches as far as that share can. Without words it is 0 to 0.
    """
    bad, all_, unit = _units(wrong, words, speakers)
    if not all_.any():
        return Interval(0.0, 0.0, unit)
    rate = 100 * float(bad.sum() / all_.sum())
    if not (bad * all_.sum() - all_ * bad.sum()).any():  # how much worse than the whole each is, in whole numbers
        unseen = 100 * (1 - ((1 - LEVEL) / 2) ** (1 / np.count_nonzero(all_)))
        return Interval(max(0.0, rate - unseen), max(rate, min(100.0, rate + unseen)), unit)
    low, high = _bootstrap(bad, all_, seed)
    return Interval(low, high, unit)


def compare(
    first: Sequence[int], second: Sequence[int], words: Sequence[int], speakers: Sequence[str | None], seed: int = 0
) -> Comparison:
    """The first model against the second on the same clips: their WERs' difference, its 95 % interval, and a p-value.

    The p-value is that of a paired permutation test (approximate randomisation): if both were equally good, either
    could have made either's errors in each unit. It is 1 where they make as many errors everywhere, and for one unit,
    whose interval is 100 points wide on either side.
    """
    gap, all_, unit = _units(np.subtract(first, second), words, speakers)
    difference = 100 * float(gap.sum() / max(all_.sum(), 1))
    if not gap.any() or not all_.any():
        return Comparison(0.0, 0.0, 0.0, 1.0, unit)
    if len(gap) == 1:
        return Comparison(difference, difference - 100, difference + 100, 1.0, unit)
    low, high = _bootstrap(gap, all_, seed)
    random, as_large = np.random.default_rng(seed), 0
    for times in _blocks(len(gap)):
        signs = random.integers(0, 2, (times, len(gap)), dtype=np.int8) * 2 - 1
        as_large += int((np.abs(signs @ gap) >= abs(gap.sum())).sum())
    p = (1 + as_large) / (1 + RESAMPLES)
    return Comparison(difference, low, high, p, unit)


def _units(
    counts: Sequence[int] | np.ndarray, words: Sequence[int], speakers: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray, str]:
    """The sums of either by speaker, or both by clip, and which of the two it is."""
    if not len(words):
        raise ValueError("there are no clips")
    by_speaker = None not in speakers and len(set(speakers)) >= FEWEST_SPEAKERS
    place = np.unique([str(who) for who in speakers], return_inverse=True)[1] if by_speaker else np.arange(len(words))
    sums = (np.bincount(place, of).astype(np.int64) for of in (counts, words))
    return next(sums), next(sums), "speaker" if by_speaker else "clip"


def _bootstrap(counts: np.ndarray, words: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of 100 * counts / words over units drawn with replacement.

    A plain percentile interval is narrow by sqrt((n - 1) / n) and takes a normal's tails for a t's; both are mended in
    the quantiles (the expanded percentile interval; Hesterberg 2015, doi:10.1080/00031305.2015.1089789).
    """
    from scipy import stats

    random, units, rates = np.random.default_rng(seed), len(words), list[np.ndarray]()
    for times in _blocks(units):
        drawn = random.integers(0, units, (times, units))
        rates.append(100 * counts[drawn].sum(1) / np.maximum(words[drawn].sum(1), 1))
    reach = stats.t.ppf((1 + LEVEL) / 2, units - 1) * math.sqrt(units / (units - 1))
    low, high = np.quantile(np.concatenate(rates), stats.norm.cdf([-reach, reach]))
    return float(low), float(high)


def _blocks(units: int) -> list[int]:
    """`RESAMPLES` in parts that fit into memory together with so many units."""
    most = max(1, AT_ONCE // units)
    return [min(most, RESAMPLES - done) for done in range(0, RESAMPLES, most)]
