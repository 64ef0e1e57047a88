"""The table of a test, and the report that sums it up."""

import pytest
from asr.scoring import report

SAID, HEARD = ["hej på dig", "åtta ägg"], ["hej på mig", "åtta ägg"]
CLIPS = {"clips": ["test/a", "test/b"], "speakers": ["Åsa", None], "seconds": [1.0, 2.0], "references": SAID}


def test_a_report_gives_percentages_of_all_words_said():
    table = report.scores(**CLIPS, heard=HEARD, served=SAID, baseline=["", ""])
    told = report.report(table)
    assert told["test_wer"] == pytest.approx(20)
    assert told["test_cer"] == pytest.approx(100 / 18)
    assert told["served_wer"] == 0
    assert told["baseline_wer"] == 100
    assert (told["clips"], told["speakers"], told["test_wer_ci_unit"]) == (2, 1, "clip")
    assert told["test_wer_ci"][0] <= 20 <= told["test_wer_ci"][1]


def test_without_a_base_there_is_no_baseline():
    table = report.scores(**CLIPS, heard=HEARD, served=HEARD, baseline=None)
    assert report.report(table)["baseline_wer"] is None
    assert [column for column in table if "baseline" in column] == []


def test_the_table_shows_each_clip_with_what_was_heard():
    table = report.scores(**CLIPS, heard=HEARD, served=HEARD, baseline=None)
    assert table["clip"].tolist() == CLIPS["clips"]
    assert table["heard"].tolist() == HEARD
    assert table["word_errors"].tolist() == [1, 0]
