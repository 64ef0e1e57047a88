"""What a finished run holds, and what its release can do."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from asr.release import engine

SAMPLE = Path(__file__).parents[2] / "flows" / "sample"


@pytest.fixture(scope="session")
def artifacts(tiny_run):
    """The artifacts of the end step, read through the Metaflow Client as other tools do."""
    return tiny_run["end"].task.data


@pytest.fixture(scope="session")
def release(artifacts) -> Path:
    return Path(artifacts.release["path"])


REASONS = {
    "mine/train/noise.ogg": "unreadable audio",
    "mine/train/nothing.wav": "unreadable audio",
    "mine/train/gone.wav": "missing file",
    "mine/../../tiny.toml": "outside the folder",
    "mine/train/withdrawn.ogg": "excluded",
}


def test_found_clips_are_kept_or_rejected(artifacts):
    corpus = artifacts.corpus
    assert corpus["found"] == corpus["kept"] + corpus["rejected"] == 36 + 6
    assert len(artifacts.rejected) == corpus["rejected"]
    assert list(artifacts.rejected.columns) == ["clip", "reason"]
    assert corpus["hours"] > 0
    assert len(corpus["fingerprint"]) == 16


def test_bad_clips_are_rejected_with_their_reason_and_counted(artifacts):
    reasons = dict(artifacts.rejected.itertuples(index=False))
    assert REASONS.items() < reasons.items()
    assert [reason for clip, reason in reasons.items() if clip not in REASONS] == ["listed twice"]
    assert artifacts.corpus["reasons"] == {
        "unreadable audio": 2, "missing file": 1, "outside the folder": 1, "excluded": 1, "listed twice": 1,
    }  # fmt: skip


def test_every_report_lists_the_sources_by_name(artifacts, tiny_run):
    hours = artifacts.corpus["sources"]
    assert list(hours) == ["sample", "mine"]
    assert sum(hours.values()) == pytest.approx(artifacts.corpus["hours"])
    assert artifacts.scores["source"].value_counts().to_dict() == {"sample": 8, "mine": 4}
    assert artifacts.report["wer_by_source"].keys() == {"sample", "mine"}
    assert f"mine {hours['mine']:.2f} h" in tiny_run["search"].task.stdout


def test_preprocess_logs_accepted_and_rejected_clips(tiny_run):
    logs = sorted(task.stdout for task in tiny_run["preprocess"])
    assert len(logs) == 6
    assert any("4 clips accepted (0.0" in log and "6 rejected" in log for log in logs)
    assert not any("not made again" in log for log in logs)


def test_the_winner_has_the_lowest_validation_wer(artifacts):
    board = artifacts.leaderboard
    assert list(board["trial"].sort_values()) == [0, 1]
    assert board["validation_wer"].is_monotonic_increasing
    assert {"learning_rate", "weight_decay", "steps", "seconds", "stopped"} <= set(board.columns)
    assert artifacts.winner == board.iloc[0].to_dict()
    assert set(board["steps"]) == {80}
    assert set(board["stopped"]) == {"finished"}


def test_the_report_agrees_with_the_scores(artifacts):
    report, scores = artifacts.report, artifacts.scores
    assert report["clips"] == len(scores) == 12
    assert report["test_wer"] == pytest.approx(100 * scores["word_errors"].sum() / scores["words"].sum())
    low, high = report["test_wer_ci"]
    assert low <= report["test_wer"] <= high
    assert report["test_wer_ci_unit"] == "clip"
    assert report["baseline_wer"] is report["against_baseline"] is None
    assert report["test_cer"] >= 0
    for name in ("test_wer", "test_cer", "served_wer", "orthographic_wer"):
        low, high = report[f"{name}_ci"]
        assert low <= report[name] <= high
    assert report["substitutions"] + report["deletions"] + report["insertions"] == pytest.approx(report["test_wer"])
    assert {"invented_words_per_minute", "loops", "wrong_language", "full_context_wer"} <= report.keys()
    assert report["noisy_wer"].keys() == report["noisy_wer_ci"].keys() == {"20", "10", "5", "0"}
    assert report["room_wer_ci"][0] <= report["room_wer"] <= report["room_wer_ci"][1]
    assert (report["noisy_clips"], report["noise_heard"], report["room_heard"]) == (12, "made", "simulated")
    assert report["noisy_clean_wer"] == report["served_wer"]


def test_the_breakdown_covers_every_clip(tiny_run, artifacts):
    breakdown = tiny_run["evaluate"].task.data.breakdown
    assert {"source", "length", "noise", "speaker"} == set(breakdown["by"])
    clips = breakdown.groupby("by")["clips"].sum()
    assert clips["source"] == clips["length"] == clips["noise"] == artifacts.report["clips"]


def test_five_steps_have_a_complete_card(tiny_run):
    from metaflow.cards import get_cards

    titles = {
        "collect": "Corpus", "train": "Trial 0", "select": "Leaderboard", "evaluate": "The worst clips",
        "push": "Release",
    }  # fmt: skip
    for step, word in titles.items():
        pages = [get_cards(task)[0].get() for task in tiny_run[step]]
        assert any(word in page for page in pages), step
        assert not any("could not be drawn" in page for page in pages), step
        assert all("Profile tiny · " in page for page in pages), step
        assert all(len(page.encode()) < 3_000_000 for page in pages), step


def test_tags_make_a_run_findable(tiny_run, artifacts):
    assert {"profile:tiny", f"winner:{artifacts.winner['trial']}"} <= set(tiny_run.tags)


READ_ARTIFACTS = """
import json, sys
for name in ("numpy", "pandas", "torch", "asr"):
    sys.modules[name] = None  # as where they are not installed
from metaflow import Run, namespace
namespace(None)
read, closed = {}, set()
for step in Run(sys.argv[1]):
    for artifact in step.task:
        try:
            read.setdefault(artifact.id, artifact.data)  # the last step's come first
        except ImportError:
            closed.add(artifact.id)
print(json.dumps({"closed": sorted(closed), "read": read}, default=lambda other: type(other).__name__))
"""
TABLES = ["breakdown", "leaderboard", "rejected", "scores"]  # which are pandas', and have a plain twin


def test_artifacts_are_readable_without_this_program_pandas_or_numpy(tiny_run, artifacts, run_folder):
    command = [sys.executable, "-c", READ_ARTIFACTS, tiny_run.pathspec]
    process = subprocess.run(command, cwd=run_folder, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    data = json.loads(process.stdout)
    assert data["closed"] == TABLES
    assert {"report", "winner", "outcome", "curves", "shards", "trials", "packed", "space"} <= data["read"].keys()
    for name in TABLES:
        table = getattr(artifacts, name)
        assert [list(row) for row in data["read"][f"{name}_rows"]] == [list(table.columns)] * len(table)
    assert data["read"]["leaderboard_rows"][0] == artifacts.winner == artifacts.leaderboard.iloc[0].to_dict()


def test_the_space_is_not_a_parameter(tiny_run, artifacts):
    assert tiny_run["_parameters"].task.data.profile  # the one thing that a run is given
    assert {artifact.id for artifact in tiny_run["_parameters"].task} == {"name", "profile"}
    assert {"app.py", "transcriber.py", "requirements.txt", "README.md"} <= artifacts.space.keys()


def test_the_documented_snippet_compares_runs(tiny_run, artifacts, run_folder):
    """In a process of its own, in the folder of the run, as a reader would."""
    readme = (Path(__file__).parents[2] / "flows/docs/runs.md").read_text(encoding="utf-8")
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "islice" in block]
    code = f"{snippet}\nprint(runs.loc[{tiny_run.id!r}].to_json())"
    process = subprocess.run([sys.executable, "-c", code], cwd=run_folder, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    data = json.loads(process.stdout.splitlines()[-1])
    assert data["profile"] == "tiny"
    assert data["fingerprint"] == artifacts.corpus["fingerprint"]
    assert data["code"] == artifacts.code_version
    assert data["WER"] == pytest.approx(artifacts.report["test_wer"])


def test_a_run_records_its_code_version(artifacts):
    assert artifacts.code_version.startswith("0.1.0+")


def fetch(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asr.release.fetch", *arguments]
    env = {**os.environ, "PYTHONPATH": str(SAMPLE.parent)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_a_fetched_release_is_unchanged_and_becomes_latest(tiny_run, release, run_folder, tmp_path):
    process = fetch(tiny_run.id, "--folder", str(tmp_path / "fetched"), cwd=run_folder)
    assert process.returncode == 0, process.stderr
    latest = (tmp_path / "fetched" / "latest").resolve()
    assert latest.name == release.name
    files = {path.relative_to(release): path.read_bytes() for path in release.rglob("*") if path.is_file()}
    assert files == {path.relative_to(latest): path.read_bytes() for path in latest.rglob("*") if path.is_file()}


def test_an_unknown_run_cannot_be_fetched(tiny_run, run_folder):
    process = fetch("5", cwd=run_folder)
    assert process.returncode == 1
    assert process.stderr.startswith("run 5 is unknown here")


def test_the_release_is_where_the_run_was_launched_and_latest_points_to_it(artifacts, release, run_folder, tiny_run):
    assert release == run_folder / "released" / f"tiny-{tiny_run.id}"
    assert (run_folder / "released" / "latest").resolve() == release
    assert artifacts.release["pushed"] is False
    assert artifacts.release["why"]
    record = json.loads((release / "release.json").read_text(encoding="utf-8"))
    assert record["test_wer"] == artifacts.report["test_wer"]
    assert record["language"] == "sv"


USE_RELEASE = """
import sys
import soundfile, torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline

release, clip = sys.argv[1:]
processor = WhisperProcessor.from_pretrained(release)
model = WhisperForConditionalGeneration.from_pretrained(release)
sound, rate = soundfile.read(clip, dtype="float32")
features = processor(sound, sampling_rate=rate, return_tensors="pt").input_features
with torch.inference_mode():
    tokens = model.generate(features, language="sv", task="transcribe", max_new_tokens=8)
assert tokens.shape[0] == 1
swedish = "Åsa köper sju ägg på lördag."
assert processor.tokenizer.decode(processor.tokenizer(swedish).input_ids, skip_special_tokens=True) == swedish
result = pipeline("automatic-speech-recognition", model=release)(sound, generate_kwargs={"max_new_tokens": 8})
assert isinstance(result["text"], str)
"""


def test_the_release_works_in_transformers_without_a_network(release):
    """In a process of its own: Metaflow's Runner patches typing, and torch cannot load after it."""
    clip = next((SAMPLE / "test").glob("*.ogg"))
    command = [sys.executable, "-c", USE_RELEASE, str(release), str(clip)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr


def test_the_captured_space_reproduces_the_served_hypotheses(artifacts, release):

    transcriber = engine.load_engine(artifacts.space).Transcriber(release)
    first = artifacts.scores.iloc[0]
    sound = soundfile.read(SAMPLE / first["clip"].removeprefix("sample/"), dtype="float32")[0]
    # The run served the clip from 16-bit FLAC in a batch.
    flac = io.BytesIO()
    soundfile.write(flac, np.clip(sound, -1, 1), 16_000, format="FLAC", subtype="PCM_16")
    flac.seek(0)
    assert transcriber.transcribe_batch([soundfile.read(flac, dtype="float32")[0]]) == [first["served"]]


def test_a_progress_line_names_its_trial_and_the_time_left(tiny_run):
    log = "".join(task.stdout for task in tiny_run["train"])
    for number in (0, 1):
        assert f"trial {number}  step" in log
    assert "validation WER" in log
    assert "min left" in log


def test_the_plan_is_printed_before_training(tiny_run):
    plan = tiny_run["search"].task.stdout
    for word in (
        "train      12 clips",
        "rejected   6: 2 unreadable audio",
        "trials     2 of 80 steps",
        "time       about",
        "disk",
    ):
        assert word in plan


def test_the_summary_names_the_release_and_how_to_serve_it(tiny_run, release):
    log = tiny_run["end"].task.stdout
    assert f"released/{release.name}" in log
    assert "space/app.py" in log
    assert "95 % interval" in log
