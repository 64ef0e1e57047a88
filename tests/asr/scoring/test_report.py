"""The table of a test, and the report that sums it up."""

import pandas as pd
import pytest
from asr.scoring import report
from asr.settings import Settings

SAID, HEARD = ["hej på dig", "åtta ägg"], ["hej på mig", "åtta ägg"]


def scores(heard, served, baseline=None, said=SAID, **text):
    columns = {"clip": ["test/a", "test/b"], "source": ["one", "two"], "speaker": ["Åsa", None], "seconds": [1.0, 2.0]}
    settings = Settings.model_validate({"text": text})
    return report.scores(pd.DataFrame(columns).assign(reference=said), heard, served, baseline, settings)


def test_a_report_gives_percentages_of_all_words_said():
    told = report.report(scores(HEARD, SAID, ["", ""]))
    assert told["test_wer"] == pytest.approx(20)
    assert told["test_cer"] == pytest.approx(100 / 18)
    assert told["served_wer"] == 0
    assert told["baseline_wer"] == 100
    assert (told["clips"], told["speakers"], told["test_wer_ci_unit"]) == (2, 1, "clip")
    assert told["test_wer_ci"][0] <= 20 <= told["test_wer_ci"][1]


def test_without_a_base_there_is_no_baseline():
    table = scores(HEARD, HEARD)
    assert report.report(table)["baseline_wer"] is None
    assert [column for column in table if "baseline" in column] == []


def test_the_table_shows_each_clip_with_what_was_heard():
    table = scores(HEARD, HEARD)
    assert table["clip"].tolist() == ["test/a", "test/b"]
    assert table["heard"].tolist() == HEARD
    assert table["word_errors"].tolist() == [1, 0]


def test_each_source_has_a_wer_of_its_own():
    assert report.report(scores(HEARD, HEARD))["wer_by_source"] == pytest.approx({"one": 100 / 3, "two": 0})


def test_capitals_and_punctuation_count_in_the_orthographic_wer_alone():
    told = report.report(scores(["hej på dig", "åtta ägg"], SAID, said=["Hej på dig.", "åtta ägg"]))
    assert told["test_wer"] == 0
    assert told["orthographic_wer"] == pytest.approx(40)


def test_the_profile_says_what_counts_as_the_same_word():
    said, heard = ["Hej på dig.", "8 ägg"], ["hej på dig", "åtta ägg"]
    rules = {
        rule: report.report(scores(heard, heard, said=said, scoring=rule)) for rule in ("basic", "lenient", "verbatim")
    }
    assert [told["test_wer"] for told in rules.values()] == pytest.approx([20, 0, 60])
    assert [told["served_wer"] for told in rules.values()] == pytest.approx([20, 0, 60])
