"""Metaflow's `spin`: a single step, with the artifacts of a finished run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from metaflow import Runner

# Fewer training steps and test clips than the run has, in a module that replaces artifacts.
SMALLER = """
profile = {profile!r}
profile["training"] |= {{"steps": 2, "evaluations": 1}}
shards = [shard for shard in {shards!r} if shard["split"] != "test"] + [{test!r}]
ARTIFACTS = {{"profile": profile, "shards": shards}}
"""
STEPS = ("start", "preprocess", "collect", "search", "train", "select", "evaluate", "push", "end")
JOINS = ("collect", "select")


@pytest.fixture(scope="module")
def fewer_steps(tiny_run, tmp_path_factory) -> Path:
    artifacts = tiny_run["end"].task.data
    test = next(shard for shard in artifacts.shards if shard["split"] == "test")
    fewer_clips = {**test, "clips": {name: column[:2] for name, column in test["clips"].items()}}
    module = tmp_path_factory.mktemp("smaller") / "smaller.py"
    module.write_text(
        SMALLER.format(profile=artifacts.profile, shards=artifacts.shards, test=fewer_clips), encoding="utf-8"
    )
    return module


@pytest.fixture(scope="module")
def spin(tiny_run, fewer_steps, flow, run_folder) -> Callable[..., str]:
    """A function that spins a step of the run and returns its output."""

    def spin_step(step: str, *arguments: str) -> str:
        options = [] if step in JOINS else ["--artifacts-module", str(fewer_steps)]
        process = flow("spin", f"{tiny_run.pathspec}/{step}", *options, *arguments, cwd=run_folder)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return spin_step


def file_hashes(run_folder: Path) -> dict[str, str]:
    """The hash of every file of the datastore and the releases."""
    files = [
        file for folder in (".metaflow", "released") for file in (run_folder / folder).rglob("*") if file.is_file()
    ]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


OUTPUT = {
    "preprocess": "clips accepted",
    "search": "trials     2 of 2 steps",
    "train": "step 2/2",
    "evaluate": "and as served",
    "end": "test WER",
}


@pytest.mark.parametrize("step", STEPS)
def test_spinning_a_step_changes_no_run_and_no_release(spin, run_folder, step):
    before = file_hashes(run_folder)
    output = spin(step)
    assert "Task finished successfully" in output
    assert OUTPUT.get(step, "") in output
    assert "unchanged since an earlier run" not in output
    assert "could not be tagged" not in output
    after = file_hashes(run_folder)
    assert {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)} == set()


def test_spinning_push_publishes_nothing(tiny_run, flow_file, run_folder):
    with Runner(str(flow_file), cwd=str(run_folder), show_output=False).spin(
        f"{tiny_run.pathspec}/push", persist=True
    ) as running:
        assert running.status == "successful", running.stdout + running.stderr
        release, latest = (running.task[name].data for name in ("release", "latest"))
    assert not latest
    assert not release["pushed"]
    assert release["why"] == "a spin publishes nothing"
