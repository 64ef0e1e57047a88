"""The second run, the failed run, the interrupted run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from metaflow import Run

TRAIN = 2  # trials of the tiny run


def run_of(ended: subprocess.CompletedProcess[str]) -> Run:
    """The run that the command made."""
    found = re.search(r"run-id (\d+)", ended.stdout)
    assert found, ended.stdout + ended.stderr
    return Run(f"WhisperFlow/{found[1]}")


@pytest.fixture(scope="module")
def failed(place, tiny_run, flow):
    """The tiny run once more, where a file stands in the way of its push."""
    profile = (place / "tiny.toml").read_text(encoding="utf-8")
    (place / "again.toml").write_text(profile.replace("[release]", '[release]\nfolder = "again"'), encoding="utf-8")
    (place / "again").write_text("in the way")
    ended = flow("--config", "profile", "again.toml", "run", cwd=place)
    (place / "again").unlink()
    return ended, run_of(ended)


def test_a_failed_run_names_the_command_that_goes_on(failed):
    ended, run = failed
    assert ended.returncode != 0
    assert not run.successful
    assert "whisper_flow.py resume" in ended.stderr


def test_the_same_seed_gives_the_same_leaderboard(failed, tiny_run):
    boards = [run["select"].task.data.leaderboard.drop(columns="seconds") for run in (failed[1], tiny_run.run)]
    pd.testing.assert_frame_equal(*boards, check_exact=True)
    curves = [run["select"].task.data.curves for run in (failed[1], tiny_run.run)]
    assert curves[0] == curves[1]  # every loss, to the last bit


def test_the_same_corpus_has_the_same_fingerprint(failed, tiny_run):
    assert failed[1]["collect"].task.data.corpus == tiny_run.run["collect"].task.data.corpus


def test_an_unchanged_part_is_not_made_again_and_the_log_says_so(failed):
    logs = [task.stdout for task in failed[1]["preprocess"]]
    assert len(logs) == 6
    assert all("unchanged since an earlier run, not made again" in log for log in logs)


def test_resume_finishes_without_redoing_what_is_finished(failed, place, flow):
    ended = flow("resume", cwd=place)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = run_of(ended)
    assert run.successful
    for name in ("preprocess", "train", "evaluate"):
        for task in run[name]:
            assert task.origin_pathspec, f"{task} was run again"
    assert run["push"].task.origin_pathspec is None
    assert len(list(run["train"])) == TRAIN
    assert Path(run["end"].task.data.release["path"]) == place / "again" / f"tiny-{run.id}"


def test_a_corpus_may_have_hundreds_of_parts_and_ctrl_c_leaves_the_resume_command(tmp_path, flow_file):
    """Metaflow's own limit is a hundred."""
    (tmp_path / "many.toml").write_text("[corpus]\nlimit_clips = 50\nshard_clips = 1\n")
    command = [sys.executable, str(flow_file), "--config", "profile", "many.toml", "run"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout
    for line in running.stdout:
        if "preprocess" in line and "starting" in line:
            break
    else:
        pytest.fail(running.communicate()[1])
    time.sleep(0.5)  # into the step's work
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "whisper_flow.py resume" in err
