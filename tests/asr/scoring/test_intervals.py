"""Bootstrap intervals and the paired test: coverage, false alarms, and whether they hold for new speakers."""

import math

import numpy as np
import pytest
from asr.scoring.intervals import Interval, compare_models, confidence_interval

REPETITIONS = 1_000


def clips(count, seed=0):
    random = np.random.default_rng(seed)
    words = random.integers(1, 12, count)
    return [int(random.integers(0, word_count + 1)) for word_count in words], words.tolist()


def known_speakers(speaker_count, clip_count):
    return [f"p{at % speaker_count}" for at in range(clip_count)]


def unknown_speakers(clip_count):
    return [None] * clip_count


@pytest.mark.parametrize("speakers", [5, 40])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_the_rate(seed, speakers):
    wrong, words = clips(200, seed)
    interval = confidence_interval(wrong, words, known_speakers(speakers, 200))
    assert interval.low < 100 * sum(wrong) / sum(words) < interval.high


@pytest.mark.parametrize(
    ("speakers", "unit"),
    [
        (known_speakers(20, 60), "speaker"),
        (known_speakers(19, 60), "clip"),
        ([None] * 60, "clip"),
        ([*known_speakers(30, 59), None], "clip"),
    ],
    ids=["20 known", "19 known", "none known", "one unknown"],
)
def test_the_unit_is_the_speaker_only_if_twenty_are_known(speakers, unit):
    assert confidence_interval(*clips(60), speakers).unit == unit
    assert compare_models(clips(60)[0], [0] * 60, clips(60)[1], speakers).unit == unit


def test_the_interval_is_deterministic():
    assert confidence_interval(*clips(60), known_speakers(20, 60)) == confidence_interval(
        *clips(60), known_speakers(20, 60)
    )


def test_the_interval_weighs_words_not_clips():
    assert confidence_interval([1, 0] * 50, [1, 99] * 50, unknown_speakers(100)).high < 3


def test_more_clips_narrow_the_interval():
    wrong, words = clips(30)
    few, many = (
        confidence_interval(wrong, words, unknown_speakers(30)),
        confidence_interval(wrong * 16, words * 16, unknown_speakers(480)),
    )
    assert 3 < (few.high - few.low) / (many.high - many.low) < 5


def test_differing_speakers_widen_the_interval():
    """A hundred clips of one bad speaker say no more about new speakers than a single clip."""
    speakers = known_speakers(20, 400)
    wrong, words = [10 if speaker in ("p0", "p1") else 0 for speaker in speakers], [10] * 400
    by_speaker, by_clip = (
        confidence_interval(wrong, words, speakers),
        confidence_interval(wrong, words, unknown_speakers(400)),
    )
    assert by_speaker.high - by_speaker.low > 2 * (by_clip.high - by_clip.low)


def population(random, units, clips_per_unit=10, mean=0.1, spread=9.0):
    """(units,) wrong words and reference words of units that differ; the expected WER is `mean`."""
    rates = random.beta(spread * mean, spread * (1 - mean), units)
    words = random.integers(3, 15, (units, clips_per_unit))
    return random.binomial(words, rates[:, None]).sum(1).tolist(), words.sum(1).tolist()


@pytest.mark.parametrize(
    ("units", "clips_per_unit"), [(20, 10), (40, 5), (150, 1)], ids=["20 speakers", "40", "150 clips"]
)
def test_the_interval_covers_the_truth_as_often_as_its_level(units, clips_per_unit):
    random, covered = np.random.default_rng(units), 0
    for repetition in range(REPETITIONS):
        interval = confidence_interval(
            *population(random, units, clips_per_unit), known_speakers(units, units), seed=repetition
        )
        covered += interval.low <= 10 <= interval.high
    assert 0.92 <= covered / REPETITIONS <= 0.98


@pytest.mark.parametrize("units", [20, 150])
def test_equally_good_models_differ_as_often_as_the_significance_level(units):
    random, alarms = np.random.default_rng(units), 0
    for repetition in range(REPETITIONS):
        difficulty = random.beta(1, 9, units)
        words = random.integers(3, 15, (units, 8)).sum(1)
        first, second = (random.binomial(words, difficulty * random.uniform(0.5, 1, units)).tolist() for _ in range(2))
        alarms += compare_models(first, second, words.tolist(), known_speakers(units, units), seed=repetition).p < 0.05
    assert 0.03 <= alarms / REPETITIONS <= 0.07


def test_a_model_that_is_better_on_every_speaker_is_significantly_better():
    words = [50] * 30
    comparison = compare_models([4] * 30, [5] * 30, words, known_speakers(30, 30))
    assert comparison.p < 0.01
    assert (comparison.difference, comparison.low, comparison.high) == pytest.approx((-2, -2, -2))
    swapped = compare_models([5] * 30, [4] * 30, words, known_speakers(30, 30))
    assert (swapped.difference, swapped.p) == (pytest.approx(2), comparison.p)


def test_models_with_the_same_errors_do_not_differ():
    wrong, words = clips(40)
    comparison = compare_models(wrong, wrong, words, unknown_speakers(40))
    assert (comparison.difference, comparison.low, comparison.high, comparison.p) == (0, 0, 0, 1)


def test_without_errors_the_upper_bound_is_that_of_clopper_and_pearson():
    """No error in n clips: the share of bad clips is below this bound 97.5 % of the time."""
    interval = confidence_interval([0] * 30, [5] * 30, unknown_speakers(30))
    assert interval.low == 0
    assert interval.high == pytest.approx(100 * (1 - 0.025 ** (1 / 30)))
    assert confidence_interval([0] * 3000, [5] * 3000, unknown_speakers(3000)).high < 0.13


def test_with_only_errors_the_lower_bound_is_that_of_clopper_and_pearson():
    interval = confidence_interval([5] * 30, [5] * 30, known_speakers(25, 30))
    assert (interval.high, interval.unit) == (100, "speaker")
    assert interval.low == pytest.approx(100 * 0.025 ** (1 / 25))


@pytest.mark.parametrize(("wrong", "low", "high"), [(0, 0, 97.5), (2, 0, 100), (4, 2.5, 100), (8, 102.5, 200)])
def test_one_clip_has_a_wide_interval(wrong, low, high):
    assert confidence_interval([wrong], [4], ["Åsa"]) == Interval(pytest.approx(low), pytest.approx(high), "clip")
    comparison = compare_models([wrong], [1], [4], ["Åsa"])
    assert (comparison.p, comparison.high - comparison.low) == (1, 200)


def test_empty_references_have_bounds():
    assert confidence_interval([0, 2], [0, 0], [None, None]) == Interval(0, 0, "clip")
    assert compare_models([0, 2], [0, 1], [0, 0], [None, None]).p == 1
    interval = confidence_interval([0, 1], [0, 5], [None, None])
    assert 0 <= interval.low <= 20 <= interval.high
    assert all(map(math.isfinite, (interval.low, interval.high)))


def test_without_clips_there_is_no_interval():
    with pytest.raises(ValueError, match="no clips"):
        confidence_interval([], [], [])


def test_a_hundred_thousand_clips_fit_into_memory():
    wrong, words = clips(100_000)
    interval = confidence_interval(wrong, words, unknown_speakers(100_000))
    assert interval.high - interval.low < 1
