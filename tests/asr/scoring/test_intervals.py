"""Bootstrap intervals and the paired test: coverage, false alarms, and whether they hold for new speakers."""

import math

import numpy as np
import pytest
from asr.scoring.intervals import Interval, compare_models, confidence_interval

REPETITIONS = 2_000


def clips(count, seed=0):
    random = np.random.default_rng(seed)
    words = random.integers(1, 12, count)
    return [int(random.integers(0, said + 1)) for said in words], words.tolist()


def people(count, clips):
    return [f"p{at % count}" for at in range(clips)]


def nobody(clips):
    return [None] * clips


@pytest.mark.parametrize("speakers", [5, 40])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_the_rate(seed, speakers):
    wrong, words = clips(200, seed)
    found = confidence_interval(wrong, words, people(speakers, 200))
    assert found.low < 100 * sum(wrong) / sum(words) < found.high


@pytest.mark.parametrize(
    ("speakers", "unit"),
    [(people(20, 60), "speaker"), (people(19, 60), "clip"), ([None] * 60, "clip"), ([*people(30, 59), None], "clip")],
    ids=["20 known", "19 known", "none known", "one unknown"],
)
def test_the_unit_is_the_speaker_only_if_twenty_are_known(speakers, unit):
    assert confidence_interval(*clips(60), speakers).unit == unit
    assert compare_models(clips(60)[0], [0] * 60, clips(60)[1], speakers).unit == unit


def test_the_interval_is_deterministic():
    assert confidence_interval(*clips(60), people(20, 60)) == confidence_interval(*clips(60), people(20, 60))


def test_the_interval_weighs_words_not_clips():
    assert confidence_interval([1, 0] * 50, [1, 99] * 50, nobody(100)).high < 3


def test_more_clips_narrow_the_interval():
    wrong, words = clips(30)
    few, many = confidence_interval(wrong, words, nobody(30)), confidence_interval(wrong * 16, words * 16, nobody(480))
    assert 3 < (few.high - few.low) / (many.high - many.low) < 5


def test_differing_speakers_widen_the_interval():
    """A hundred clips of one bad speaker say no more of new speakers than one such clip."""
    speakers = people(20, 400)
    wrong, words = [10 if who in ("p0", "p1") else 0 for who in speakers], [10] * 400
    by_speaker, by_clip = confidence_interval(wrong, words, speakers), confidence_interval(wrong, words, nobody(400))
    assert by_speaker.high - by_speaker.low > 2 * (by_clip.high - by_clip.low)


def population(random, units, of=10, mean=0.1, spread=9.0):
    """(units,) wrong words and words said, by units that differ: a WER of `mean` in the long run."""
    rates = random.beta(spread * mean, spread * (1 - mean), units)
    words = random.integers(3, 15, (units, of))
    return random.binomial(words, rates[:, None]).sum(1).tolist(), words.sum(1).tolist()


@pytest.mark.parametrize(("units", "of"), [(20, 10), (40, 5), (150, 1)], ids=["20 speakers", "40", "150 clips"])
def test_the_interval_covers_the_truth_as_often_as_its_level(units, of):
    random, held = np.random.default_rng(units), 0
    for repetition in range(REPETITIONS):
        found = confidence_interval(*population(random, units, of), people(units, units), seed=repetition)
        held += found.low <= 10 <= found.high
    assert 0.92 <= held / REPETITIONS <= 0.98


@pytest.mark.parametrize("units", [20, 150])
def test_equally_good_models_differ_as_often_as_the_significance_level(units):
    random, alarms = np.random.default_rng(units), 0
    for repetition in range(REPETITIONS):
        difficulty = random.beta(1, 9, units)
        words = random.integers(3, 15, (units, 8)).sum(1)
        one, other = (random.binomial(words, difficulty * random.uniform(0.5, 1, units)).tolist() for _ in range(2))
        alarms += compare_models(one, other, words.tolist(), people(units, units), seed=repetition).p < 0.05
    assert 0.03 <= alarms / REPETITIONS <= 0.07


def test_a_model_that_is_better_on_every_speaker_is_found_better():
    words = [50] * 30
    found = compare_models([4] * 30, [5] * 30, words, people(30, 30))
    assert found.p < 0.01
    assert (found.difference, found.low, found.high) == pytest.approx((-2, -2, -2))
    turned = compare_models([5] * 30, [4] * 30, words, people(30, 30))
    assert (turned.difference, turned.p) == (pytest.approx(2), found.p)


def test_models_that_err_alike_do_not_differ():
    wrong, words = clips(40)
    found = compare_models(wrong, wrong, words, nobody(40))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_without_errors_the_interval_reaches_as_far_as_so_few_clips_can_miss():
    """No error in n clips: Clopper and Pearson's bound, 97.5 % of the time the share of bad clips is below it."""
    found = confidence_interval([0] * 30, [5] * 30, nobody(30))
    assert found.low == 0
    assert found.high == pytest.approx(100 * (1 - 0.025 ** (1 / 30)))
    assert confidence_interval([0] * 3000, [5] * 3000, nobody(3000)).high < 0.13


def test_with_only_errors_the_interval_reaches_as_far_down():
    found = confidence_interval([5] * 30, [5] * 30, people(25, 30))
    assert (found.high, found.unit) == (100, "speaker")
    assert found.low == pytest.approx(100 * 0.025 ** (1 / 25))


@pytest.mark.parametrize(("wrong", "low", "high"), [(0, 0, 97.5), (2, 0, 100), (4, 2.5, 100), (8, 102.5, 200)])
def test_one_clip_has_a_wide_interval(wrong, low, high):
    assert confidence_interval([wrong], [4], ["Åsa"]) == Interval(pytest.approx(low), pytest.approx(high), "clip")
    found = compare_models([wrong], [1], [4], ["Åsa"])
    assert (found.p, found.high - found.low) == (1, 200)


def test_empty_references_have_bounds():
    assert confidence_interval([0, 2], [0, 0], [None, None]) == Interval(0, 0, "clip")
    assert compare_models([0, 2], [0, 1], [0, 0], [None, None]).p == 1
    found = confidence_interval([0, 1], [0, 5], [None, None])
    assert 0 <= found.low <= 20 <= found.high
    assert all(map(math.isfinite, (found.low, found.high)))


def test_without_clips_there_is_no_interval():
    with pytest.raises(ValueError, match="no clips"):
        confidence_interval([], [], [])


def test_a_hundred_thousand_clips_fit_into_memory():
    wrong, words = clips(100_000)
    found = confidence_interval(wrong, words, nobody(100_000))
    assert found.high - found.low < 1
