"""The summary that a run prints at its end."""

import re
import sys

import pandas as pd
import pytest
from asr import summary

REPORT = {
    "unit": "word", "test_wer": 8.236, "test_wer_ci": (6.9, 9.8), "test_wer_ci_unit": "speaker",
    "served_wer": 8.4, "served_wer_ci": (7.0, 9.9), "orthographic_wer": 11.5, "orthographic_wer_ci": (9.0, 13.0),
    "against_baseline": {"p": 0.0005}, "baseline_wer_ci": (12.0, 14.0),
    "wer_by_source": {"sample": 8.236}, "speakers_crossing": 0,
    "baseline_wer": None, "clips": 216, "speakers": 20,
}  # fmt: skip
ROW = {"trial": 1, "validation_wer": 7.123, "steps": 900, "seconds": 61.2, "stopped": "finished"}
LEADERBOARD = pd.DataFrame([ROW | {"low": 5.2, "high": 9.1, "p": 1.0}])


def summary_text(latest=True, path="/elsewhere/released/sample-1", **figures):
    return summary.format_summary(LEADERBOARD, {**REPORT, **figures}, {"path": path, "why": "it is worse"}, latest)


def test_the_summary_shows_leaderboard_score_release_and_how_to_try_it():
    text = summary_text()
    for part in ("7.12", "8.24 %", "6.90 to 9.80", "/elsewhere/released/sample-1", "python space/app.py"):
        assert part in text
    assert "held back" not in text


def test_columns_line_up_with_their_headings_even_in_stripped_lines():
    rows = [ROW | {"trial": number, "low": 5.2, "high": 9.1, "p": 1.0 / (1 + number)} for number in (0, 11, 112)]
    lines = [line.strip() for line in summary.format_leaderboard(pd.DataFrame(rows), "WER").splitlines()]
    ends = [[match.end() for match in re.finditer(r"95 % from|\S+", line)][1:] for line in lines]
    assert ends[0] == ends[1] == ends[2] == ends[3]
    assert [line.split()[0] for line in lines] == ["trial", "0", "11", "112"]


def test_a_release_that_is_held_back_is_shown_with_the_reason_and_how_to_try_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = summary_text(latest=False, path=str(tmp_path / "released" / "sample-1"))
    assert "it is worse" in text
    assert "MODEL_ID=released/sample-1 " in text
    assert text.endswith("space/app.py")


@pytest.mark.parametrize(("unit", "warned"), [("clip", True), ("speaker", False)])
def test_an_interval_by_clip_warns_that_it_does_not_hold_for_new_speakers(unit, warned):
    assert ("not speak for new speakers" in summary_text(test_wer_ci_unit=unit)) == warned


def test_the_base_is_shown_if_there_was_one():
    assert "13.20 % (12.00 to 14.00); p of the difference < 0.001" in summary_text(baseline_wer=13.2)
    assert "base" not in summary_text()


def test_retained_languages_are_shown():
    gap = {"en": {"difference": 2.4, "low": 1.0, "high": 3.8, "p": 0.002}}
    text = summary_text(retained_wer={"en": 12.3}, retained_baseline_wer={"en": 9.9}, against_retained_baseline=gap)
    assert "in en         12.30 %; the base had 9.90 %, p 0.002" in text


def test_a_command_quotes_its_paths(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my venv/bin/python")
    text = summary_text(latest=False, path="/my releases/sample-1")
    assert "MODEL_ID='/my releases/sample-1' '/my venv/bin/python' " in text


def test_sources_are_shown_if_there_are_several():
    assert "sample" not in summary_text().replace("sample-1", "")
    text = summary_text(wer_by_source={"recordings": 7.5, "parliament": 12.25})
    assert "recordings 7.50 %" in text
    assert "parliament 12.25 %" in text


def test_speakers_in_several_splits_are_shown():
    assert "crossing" not in summary_text()
    assert "4 speakers occur in several splits" in summary_text(speakers_crossing=4)


def test_the_wer_with_capitals_and_punctuation_is_shown():
    assert "11.50 % (9.00 to 13.00), capitals and punctuation counted" in summary_text()


def test_rates_of_characters_are_called_cer():
    text = summary_text(unit="character", baseline_wer=13.2)
    assert "test CER      8.24 %" in text and "validation_cer" in text
    assert "WER" not in text and "_wer" not in text
