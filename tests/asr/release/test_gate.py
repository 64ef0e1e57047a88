"""Whether a release may take the place of the last one."""

import pytest
from asr.release import gate
from asr.settings import Release


def faults(test, served, baseline=None, **release):
    return gate.faults({"test_wer": test, "served_wer": served, "baseline_wer": baseline}, Release(**release))


@pytest.mark.parametrize(
    ("test", "served", "baseline"), [(8, 8, None), (8, 10, None), (8, 7, None), (8, 8, 8.01), (120, 120, 130)]
)
def test_a_sound_release_goes_out(test, served, baseline):
    assert faults(test, served, baseline) == []


def test_a_release_that_loses_too_much_when_served_is_held_back():
    fault, *more = faults(8, 10.1)
    assert not more
    assert "2.1 points" in fault
    assert "max_served_gap" in fault
    assert faults(8, 10.1, max_served_gap=3) == []


@pytest.mark.parametrize("baseline", [8, 7.5])
def test_a_release_that_is_no_better_than_its_base_is_held_back(baseline):
    fault, *more = faults(8, 8, baseline)
    assert not more
    assert f"{baseline:.1f} %" in fault


def test_every_fault_is_told():
    assert len(faults(20, 30, 10)) == 2


@pytest.mark.parametrize("score", [{"served": float("nan"), "test": 8}, {"served": 8, "test": float("nan")}])
def test_what_could_not_be_measured_is_held_back(score):
    assert faults(**score)


def test_a_fault_is_one_sentence_each():
    assert all("\n" not in fault for fault in faults(20, 30, 10))
