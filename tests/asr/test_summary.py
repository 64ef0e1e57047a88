"""What a run says at its end."""

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
BOARD = pd.DataFrame([ROW | {"low": 5.2, "high": 9.1, "p": 1.0}])


def tell(latest=True, path="/elsewhere/released/sample-1", **more):
    return summary.format_summary(BOARD, {**REPORT, **more}, {"path": path, "why": "it is worse"}, latest)


def test_the_end_tells_the_leaderboard_the_score_the_release_and_how_to_hear_it():
    told = tell()
    for part in ("7.12", "8.24 %", "6.90 to 9.80", "/elsewhere/released/sample-1", "python space/app.py"):
        assert part in told
    assert "held back" not in told


def test_columns_stand_under_their_headings_though_each_line_is_stripped():
    rows = [ROW | {"trial": at, "low": 5.2, "high": 9.1, "p": 1.0 / (1 + at)} for at in (0, 11, 112)]
    lines = [line.strip() for line in summary.format_leaderboard(pd.DataFrame(rows), "WER").splitlines()]
    ends = [[found.end() for found in re.finditer(r"95 % from|\S+", line)][1:] for line in lines]
    assert ends[0] == ends[1] == ends[2] == ends[3]
    assert [line.split()[0] for line in lines] == ["trial", "0", "11", "112"]


def test_a_release_held_back_says_why_and_how_to_hear_that_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = tell(latest=False, path=str(tmp_path / "released" / "sample-1"))
    assert "it is worse" in told
    assert "MODEL_ID=released/sample-1 " in told
    assert told.endswith("space/app.py")


@pytest.mark.parametrize(("unit", "warned"), [("clip", True), ("speaker", False)])
def test_an_interval_by_clip_says_that_it_does_not_speak_for_new_speakers(unit, warned):
    assert ("not speak for new speakers" in tell(test_wer_ci_unit=unit)) == warned


def test_a_base_is_told_where_there_was_one():
    assert "13.20 % (12.00 to 14.00); p of the difference < 0.001" in tell(baseline_wer=13.2)
    assert "base" not in tell()


def test_what_was_not_to_be_forgotten_is_told_by_language():
    gap = {"en": {"difference": 2.4, "low": 1.0, "high": 3.8, "p": 0.002}}
    told = tell(retained_wer={"en": 12.3}, retained_baseline_wer={"en": 9.9}, against_retained_baseline=gap)
    assert "in en         12.30 %; the base had 9.90 %, p 0.002" in told


def test_a_command_can_be_pasted_whatever_its_paths_hold(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my venv/bin/python")
    told = tell(latest=False, path="/my releases/sample-1")
    assert "MODEL_ID='/my releases/sample-1' '/my venv/bin/python' " in told


def test_sources_are_told_where_there_are_several():
    assert "sample" not in tell().replace("sample-1", "")
    told = tell(wer_by_source={"recordings": 7.5, "parliament": 12.25})
    assert "recordings 7.50 %" in told
    assert "parliament 12.25 %" in told


def test_speakers_in_several_splits_are_told():
    assert "crossing" not in tell()
    assert "4 speakers stand in several splits" in tell(speakers_crossing=4)


def test_the_wer_with_capitals_and_punctuation_is_told():
    assert "11.50 % (9.00 to 13.00), capitals and punctuation counted" in tell()


def test_rates_of_characters_are_called_cer():
    told = tell(unit="character", baseline_wer=13.2)
    assert "test CER      8.24 %" in told and "validation_cer" in told
    assert "WER" not in told and "_wer" not in told
