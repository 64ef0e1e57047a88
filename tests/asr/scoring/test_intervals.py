"""Bootstrap intervals: what they hold, and whom they speak for."""

import numpy as np
import pytest
from asr.scoring.intervals import wer_interval
from asr.scoring.rates import Errors, wer


def clips(count, seed=0):
    random = np.random.default_rng(seed)
    words = random.integers(1, 12, count)
    return [Errors(int(said), int(random.integers(0, said + 1)), 0, 0) for said in words]


def people(count, clips):
    return [f"p{at % count}" for at in range(clips)]


@pytest.mark.parametrize("speakers", [5, 40])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_rate_itself(seed, speakers):
    scored = clips(200, seed)
    interval = wer_interval(scored, people(speakers, 200))
    assert interval.low < wer(scored) < interval.high


@pytest.mark.parametrize(
    ("speakers", "unit"),
    [(people(20, 60), "speaker"), (people(19, 60), "clip"), ([None] * 60, "clip"), ([*people(30, 59), None], "clip")],
    ids=["20 known", "19 known", "none known", "one unknown"],
)
def test_it_speaks_for_speakers_only_where_twenty_are_known(speakers, unit):
    assert wer_interval(clips(60), speakers).unit == unit


def test_it_is_the_same_each_time():
    assert wer_interval(clips(60), people(20, 60)) == wer_interval(clips(60), people(20, 60))


def test_it_weighs_words_not_clips():
    scored = [Errors(1, 1, 0, 0), Errors(99, 0, 0, 0)] * 50
    assert wer_interval(scored, [None] * 100).high < 3


def test_more_clips_narrow_it():
    few, many = wer_interval(clips(30), [None] * 30), wer_interval(clips(30) * 16, [None] * 480)
    assert 3 < (few.high - few.low) / (many.high - many.low) < 5


def test_speakers_who_differ_widen_it():
    """A hundred clips of one bad speaker say no more of new speakers than one such clip."""
    speakers = people(20, 400)
    scored = [Errors(10, 10 if who in ("p0", "p1") else 0, 0, 0) for who in speakers]
    by_speaker, by_clip = wer_interval(scored, speakers), wer_interval(scored, [None] * 400)
    assert by_speaker.high - by_speaker.low > 2 * (by_clip.high - by_clip.low)


@pytest.mark.parametrize(("wrong", "rate"), [(0, 0.0), (4, 100.0), (8, 200.0)])
def test_one_clip_gives_a_point(wrong, rate):
    interval = wer_interval([Errors(4, wrong, 0, 0)], ["Åsa"])
    assert (interval.low, interval.high, interval.unit) == (rate, rate, "clip")


@pytest.mark.parametrize(("wrong", "rate"), [(0, 0.0), (5, 100.0)])
def test_all_right_and_all_wrong_leave_no_doubt(wrong, rate):
    interval = wer_interval([Errors(5, wrong, 0, 0)] * 30, people(25, 30))
    assert (interval.low, interval.high) == (rate, rate)


def test_clips_in_which_nothing_was_said_do_no_harm():
    interval = wer_interval([Errors(0, 0, 0, 0), Errors(5, 1, 0, 0)], [None, None])
    assert 0 <= interval.low <= 20 <= interval.high
