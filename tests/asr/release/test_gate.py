"""Whether a release may replace the last one."""

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
    return gate.run_checks(report, Release(**release))


def faults(*scores, **more):
    return gate.failures(checked(*scores, **more))


@pytest.mark.parametrize(
    ("test", "served", "baseline"), [(8, 8, None), (8, 10, None), (8, 7, None), (8, 8, 8.01), (120, 120, 130)]
)
def test_a_good_release_passes(test, served, baseline):
    assert faults(test, served, baseline) == []


def test_a_release_that_loses_too_much_when_served_is_rejected():
    fault, *more = faults(8, 10.1)
    assert not more
    assert "2.1 points" in fault
    assert "max_served_gap" in fault
    assert faults(8, 10.1, max_served_gap=3) == []


@pytest.mark.parametrize("baseline", [8, 7.5])
def test_a_release_that_is_no_better_than_its_base_is_rejected(baseline):
    fault, *more = faults(8, 8, baseline)
    assert not more
    assert f"{baseline:.1f} %" in fault


def test_an_unusable_format_rejects_the_release():
    assert faults(loads=["transformers cannot use it: no weights"]) == ["transformers cannot use it: no weights"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"invented": 5.1, "max_invented": 5.0}, "5.1 words a minute"),
        ({"off": 0.51, "max_timestamp_error": 0.5}, "0.51 s off"),
        ({"forgotten": {"en": 2.1, "de": -3.0}, "max_forgotten": 2.0}, "in en its error rate is +2.1 points"),
    ],
)
def test_limits_of_the_profile_are_checked(given, told):
    (fault,) = faults(**given)
    assert told in fault


def test_what_is_at_a_limit_unlimited_or_unknown_passes():
    assert faults(invented=5.0, max_invented=5.0, off=0.5, max_timestamp_error=0.5) == []
    assert faults(invented=99.0, off=9.0, forgotten={"en": 9.0}) == []
    assert faults(forgotten={"en": 2.0}, max_forgotten=2.0) == []
    assert faults(off=None, max_timestamp_error=0.1) == []


def test_without_a_base_there_is_no_check_of_it():
    based, alone = ({check.name for check in checked(8, 8, baseline)} for baseline in (9, None))
    assert alone < based and len(based - alone) == 1


def test_every_failure_is_reported():
    assert len(faults(20, 30, 10, loads=["x"], invented=9.0, max_invented=1.0)) == 4


@pytest.mark.parametrize("score", [{"served": float("nan"), "test": 8}, {"served": 8, "test": float("nan")}])
def test_what_could_not_be_measured_is_rejected(score):
    assert faults(**score)


def test_each_check_reports_its_finding_in_one_line():
    for check in (*checked(20, 30, 10), *checked(8, 8, 10, invented=1.0, max_invented=2.0)):
        assert check.name and check.finding
        assert "\n" not in check.finding


def table(wrong, words=10, speakers=None):
    who = speakers or [None] * len(wrong)
    return pd.DataFrame({
        "sound": [f"{at:x}" for at in range(len(wrong))], "words": words, "served_word_errors": wrong, "speaker": who,
    })  # fmt: skip


def test_a_release_must_be_significantly_better_than_the_published_one():
    theirs = [2] * 40
    assert gate.compare_with_published(table([1] * 40), theirs, "abcdef0123").passed
    for ours in ([2] * 40, [3] * 40, [1, *[2] * 39]):
        check = gate.compare_with_published(table(ours), theirs, "abcdef0123")
        assert not check.passed
        assert "published" in check.finding and "abcdef01" in check.finding


def test_a_later_release_is_compared_by_the_counts_that_the_last_one_kept():
    counts = gate.error_counts(table([1, 2, 3]), "basic")
    assert gate.match_published_counts(counts, table([9, 9, 9]), "basic") == [1, 2, 3]
    assert gate.match_published_counts(counts, table([9, 9]), "basic") == [1, 2]


def test_counts_of_other_clips_or_another_rule_do_not_match():
    counts = gate.error_counts(table([1, 2, 3]), "basic")
    assert gate.match_published_counts(counts, table([9] * 4), "basic") is None  # a clip it never heard
    assert gate.match_published_counts(counts, table([9] * 3), "lenient") is None
    assert gate.match_published_counts(counts, table([9] * 3, words=11), "basic") is None
    assert gate.match_published_counts({}, table([9] * 3), "basic") is None


def test_counts_hold_no_text_and_no_name():
    assert gate.error_counts(table([1, 2]), "basic") == {"scoring": "basic", "clips": {"0": [10, 1], "1": [10, 2]}}
