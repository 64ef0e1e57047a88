"""`python -m asr.scoring`: the flow's evaluation for any model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from asr.scoring import __main__ as command
from asr.scoring import report
from asr.scoring.report import Evaluation
from asr.settings import Settings

FLOWS = Path(__file__).parents[3] / "flows"
PROFILE = """
name = "tiny"
[corpus]
limit_clips = 12
"""


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    """A function that runs the command in its own folder."""
    folder = tmp_path_factory.mktemp("scoring")
    (folder / "tiny.toml").write_text(PROFILE, encoding="utf-8")

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(FLOWS), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "asr.scoring", *map(str, arguments)]
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
        return process, folder

    return run


def test_models_are_scored_side_by_side_and_leave_their_clips_report_and_page(score, base, tmp_path):
    process, _ = score(base, base, "--profile", "tiny.toml", "--out", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "12 test clips, 0 rejected"
    rows = [line for line in lines if line.strip().startswith(str(base)) and " to " in line]
    assert len(rows) == 2
    assert rows[1].split()[-1] == "1.000"  # p: it is the same model
    for number in ("0", "1"):
        report = json.loads((tmp_path / "out" / number / "report.json").read_text(encoding="utf-8"))
        scores = pd.read_csv(tmp_path / "out" / number / "scores.csv")
        assert len(scores) == report["clips"] == 12
        assert f"{report['test_wer']:.2f} (" in rows[0]
        assert "<h1>Test</h1>" in (tmp_path / "out" / number / "page.html").read_text(encoding="utf-8")
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "MODEL nowhere is neither a model's folder nor available from the Hub"),
        (["."], "MODEL . is neither a model's folder nor available from the Hub: config.json is missing"),
        (["{base}", "--profile", "gone.toml"], "--profile: gone.toml cannot be read"),
        (["{base}", "--profile", "."], "--profile: . cannot be read"),
    ],
)
def test_a_user_mistake_gives_one_line_before_any_work(score, base, arguments, line):
    process, _ = score(*(argument.format(base=base) for argument in arguments))
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.startswith(line)
    assert len(process.stderr.splitlines()) == 1


def test_a_corpus_with_only_a_test_split_is_enough(score, base, tmp_path, tone):
    import soundfile

    corpus = tmp_path / "corpus" / "test"
    corpus.mkdir(parents=True)
    soundfile.write(corpus / "a.wav", tone(2.0), 16_000)
    (corpus / "metadata.csv").write_text("file_name,transcription\na.wav,Hej på dig\n", encoding="utf-8")
    profile = tmp_path / "own.toml"
    profile.write_text(f'[corpus]\nsource = "folder"\npath = "{corpus.parent}"\n', encoding="utf-8")
    process, _ = score(base, "--profile", profile)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("1 test clips, 0 rejected")


def test_the_table_of_a_language_without_spaces_has_one_rate_and_calls_it_cer():
    profile = Settings.model_validate({"corpus": {"language": "zh"}})
    clips = pd.DataFrame(
        {"reference": ["今天天气很好"], "speaker": None, "source": "one", "seconds": 2.0, "decibels": 30.0}
    )
    scores = report.score_clips(clips, {"hypothesis": ["今天天气很号"], "served": ["今天天气很号"]}, profile)
    figures = report.build_report(scores, profile) | {"invented_words_per_minute": 0.0}
    table = command.format_table([("model", Evaluation(scores, figures, report.build_breakdown(scores), {}))])
    assert table.split()[:2] == ["model", "CER"]
    assert "CER in percent" in table and table.count("CER") == 2 and "WER" not in table
