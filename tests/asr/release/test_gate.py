"""Whether a release may replace the last one."""

import pandas as pd
import pytest
from asr.release import gate
from asr.settings import Release


def run_checks(
    test=8, served=8, baseline=None, loads=(), invented=0.0, timestamp_error=None, retained_loss=None, **release
):
    report = {
        "test_wer": test, "served_wer": served, "baseline_wer": baseline, "loads": list(loads),
        "invented_words_per_minute": invented, "timestamp_error": timestamp_error,
    }  # fmt: skip
    if retained_loss:
        report["against_retained_baseline"] = {
            language: {"difference": points} for language, points in retained_loss.items()
        }
    return gate.run_checks(report, Release(**release))


def faults(*scores, **options):
    return gate.failures(run_checks(*scores, **options))


@pytest.mark.parametrize(
    ("test", "served", "baseline"), [(8, 8, None), (8, 10, None), (8, 7, None), (8, 8, 8.01), (120, 120, 130)]
)
def test_a_good_release_passes(test, served, baseline):
    assert faults(test, served, baseline) == []


def test_a_release_that_is_much_worse_as_served_is_rejected():
    fault, *others = faults(8, 10.1)
    assert not others
    assert "2.1 points" in fault
    assert "max_served_gap" in fault
    assert faults(8, 10.1, max_served_gap=3) == []


@pytest.mark.parametrize("baseline", [8, 7.5])
def test_a_release_that_is_no_better_than_its_base_is_rejected(baseline):
    fault, *others = faults(8, 8, baseline)
    assert not others
    assert f"{baseline:.1f} %" in fault


def test_an_unusable_format_rejects_the_release():
    assert faults(loads=["transformers cannot use it: no weights"]) == ["transformers cannot use it: no weights"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"invented": 5.1, "max_invented": 5.0}, "5.1 words a minute"),
        ({"timestamp_error": 0.51, "max_timestamp_error": 0.5}, "0.51 s off"),
        ({"retained_loss": {"en": 2.1, "de": -3.0}, "max_forgotten": 2.0}, "in en its error rate is +2.1 points"),
    ],
)
def test_limits_of_the_profile_are_checked(values, expected):
    (fault,) = faults(**values)
    assert expected in fault


def test_a_value_at_its_limit_or_without_one_or_unknown_passes():
    assert faults(invented=5.0, max_invented=5.0, timestamp_error=0.5, max_timestamp_error=0.5) == []
    assert faults(invented=99.0, timestamp_error=9.0, retained_loss={"en": 9.0}) == []
    assert faults(retained_loss={"en": 2.0}, max_forgotten=2.0) == []
    assert faults(timestamp_error=None, max_timestamp_error=0.1) == []


def test_without_a_base_nothing_is_compared_with_it():
    with_base, without_base = ({check.name for check in run_checks(8, 8, baseline)} for baseline in (9, None))
    assert without_base < with_base and len(with_base - without_base) == 1


def test_every_failure_is_reported():
    assert len(faults(20, 30, 10, loads=["x"], invented=9.0, max_invented=1.0)) == 4


@pytest.mark.parametrize("score", [{"served": float("nan"), "test": 8}, {"served": 8, "test": float("nan")}])
def test_an_error_rate_that_could_not_be_measured_is_rejected(score):
    assert faults(**score)


def test_each_check_reports_its_finding_in_one_line():
    for check in (*run_checks(20, 30, 10), *run_checks(8, 8, 10, invented=1.0, max_invented=2.0)):
        assert check.name and check.finding
        assert "\n" not in check.finding


def table(errors, words=10, speakers=None):
    speaker_names = speakers or [None] * len(errors)
    return pd.DataFrame({
        "sound": [f"{at:x}" for at in range(len(errors))], "words": words, "served_word_errors": errors,
        "speaker": speaker_names,
    })  # fmt: skip


def test_a_release_must_be_significantly_better_than_the_published_one():
    published = [2] * 40
    assert gate.compare_with_published(table([1] * 40), published, "abcdef0123").passed
    for errors in ([2] * 40, [3] * 40, [1, *[2] * 39]):
        check = gate.compare_with_published(table(errors), published, "abcdef0123")
        assert not check.passed
        assert "published" in check.finding and "abcdef01" in check.finding


def test_a_later_release_is_compared_by_the_counts_of_the_last_one():
    counts = gate.error_counts(table([1, 2, 3]), "basic")
    assert gate.match_published_counts(counts, table([9, 9, 9]), "basic") == [1, 2, 3]
    assert gate.match_published_counts(counts, table([9, 9]), "basic") == [1, 2]


def test_counts_of_other_clips_or_another_rule_do_not_match():
    counts = gate.error_counts(table([1, 2, 3]), "basic")
    assert gate.match_published_counts(counts, table([9] * 4), "basic") is None  # a clip without a published count
    assert gate.match_published_counts(counts, table([9] * 3), "lenient") is None
    assert gate.match_published_counts(counts, table([9] * 3, words=11), "basic") is None
    assert gate.match_published_counts({}, table([9] * 3), "basic") is None


def test_counts_hold_no_text_and_no_name():
    assert gate.error_counts(table([1, 2]), "basic") == {"scoring": "basic", "clips": {"0": [10, 1], "1": [10, 2]}}
