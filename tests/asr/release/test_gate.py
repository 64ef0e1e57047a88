"""Whether a release may take the place of the last one."""

import pandas as pd
import pytest
from asr.release import gate
from asr.settings import Release


def checked(test=8, served=8, baseline=None, loads=(), invented=0.0, off=None, forgotten=None, **release):
    report = {
        "test_wer": test, "served_wer": served, "baseline_wer": baseline, "loads": list(loads),
        "invented_words_per_minute": invented, "timestamp_error": off,
    }  # fmt: skip
    if forgotten:
        report["against_retained_baseline"] = {language: {"difference": lost} for language, lost in forgotten.items()}
    return gate.checks(report, Release(**release))


def faults(*scores, **more):
    return gate.faults(checked(*scores, **more))


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


def test_a_format_that_cannot_be_used_holds_a_release_back():
    assert faults(loads=["transformers cannot use it: no weights"]) == ["transformers cannot use it: no weights"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"invented": 5.1, "max_invented": 5.0}, "5.1 words a minute"),
        ({"off": 0.51, "max_timestamp_error": 0.5}, "0.51 s off"),
        ({"forgotten": {"en": 2.1, "de": -3.0}, "max_forgotten": 2.0}, "in en its error rate is +2.1 points"),
    ],
)
def test_limits_of_the_profile_are_held(given, told):
    (fault,) = faults(**given)
    assert told in fault


def test_what_is_at_a_limit_unlimited_or_unknown_passes():
    assert faults(invented=5.0, max_invented=5.0, off=0.5, max_timestamp_error=0.5) == []
    assert faults(invented=99.0, off=9.0, forgotten={"en": 9.0}) == []
    assert faults(forgotten={"en": 2.0}, max_forgotten=2.0) == []
    assert faults(off=None, max_timestamp_error=0.1) == []


def test_without_a_base_nothing_is_asked_of_one():
    based, alone = ({check.name for check in checked(8, 8, baseline)} for baseline in (9, None))
    assert alone < based and len(based - alone) == 1


def test_every_fault_is_told():
    assert len(faults(20, 30, 10, loads=["x"], invented=9.0, max_invented=1.0)) == 4


@pytest.mark.parametrize("score", [{"served": float("nan"), "test": 8}, {"served": 8, "test": float("nan")}])
def test_what_could_not_be_measured_is_held_back(score):
    assert faults(**score)


def test_each_check_says_what_was_found_in_one_line_whether_it_passed_or_not():
    for check in (*checked(20, 30, 10), *checked(8, 8, 10, invented=1.0, max_invented=2.0)):
        assert check.name and check.told
        assert "\n" not in check.told


def table(wrong, words=10, speakers=None):
    who = speakers or [None] * len(wrong)
    return pd.DataFrame({
        "sound": [f"{at:x}" for at in range(len(wrong))], "words": words, "served_word_errors": wrong, "speaker": who,
    })  # fmt: skip


def test_what_is_published_must_be_beaten_beyond_chance():
    theirs = [2] * 40
    assert gate.contest(table([1] * 40), theirs, "abcdef0123").passed
    for ours in ([2] * 40, [3] * 40, [1, *[2] * 39]):
        check = gate.contest(table(ours), theirs, "abcdef0123")
        assert not check.passed
        assert "published" in check.told and "abcdef01" in check.told


def test_a_later_release_is_compared_by_the_counts_that_the_last_one_kept():
    counts = gate.counts(table([1, 2, 3]), "basic")
    assert gate.known(counts, table([9, 9, 9]), "basic") == [1, 2, 3]
    assert gate.known(counts, table([9, 9]), "basic") == [1, 2]


def test_counts_of_other_clips_or_another_rule_say_nothing():
    counts = gate.counts(table([1, 2, 3]), "basic")
    assert gate.known(counts, table([9] * 4), "basic") is None  # a clip it never heard
    assert gate.known(counts, table([9] * 3), "lenient") is None
    assert gate.known(counts, table([9] * 3, words=11), "basic") is None
    assert gate.known({}, table([9] * 3), "basic") is None


def test_counts_hold_no_text_and_no_name():
    assert gate.counts(table([1, 2]), "basic") == {"scoring": "basic", "clips": {"0": [10, 1], "1": [10, 2]}}
