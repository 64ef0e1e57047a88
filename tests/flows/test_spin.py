"""A step alone, again and again, as one writes it: Metaflow's `spin` on what a finished run left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from metaflow import Run, Runner

# Less to train and to hear than the run had. A module that is given takes the place of artifacts.
LESS = """
profile = {profile!r}
profile["training"] |= {{"steps": 2, "evaluations": 1}}
shards = [shard for shard in {shards!r} if shard["split"] != "test"] + [{test!r}]
ARTIFACTS = {{"profile": profile, "shards": shards}}
"""
STEPS = ("start", "preprocess", "collect", "search", "train", "select", "evaluate", "push", "end")
JOINS = ("collect", "select")


@pytest.fixture(scope="module")
def less(tiny_run, tmp_path_factory) -> Path:
    held = Run(tiny_run.run.pathspec)["end"].task.data
    test = next(shard for shard in held.shards if shard["split"] == "test")
    few = {**test, "clips": {name: column[:2] for name, column in test["clips"].items()}}
    module = tmp_path_factory.mktemp("less") / "less.py"
    module.write_text(LESS.format(profile=held.profile, shards=held.shards, test=few), encoding="utf-8")
    return module


@pytest.fixture(scope="module")
def spin(tiny_run, less, flow, place) -> Callable[..., str]:
    """A function that spins a step of the run; what it says."""

    def say(step: str, *more: str) -> str:
        given = [] if step in JOINS else ["--artifacts-module", str(less)]
        ended = flow("spin", f"{tiny_run.run.pathspec}/{step}", *given, *more, cwd=place)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return say


def kept(place: Path) -> dict[str, str]:
    """Every file of the run's datastore and of the releases, by a hash of it."""
    files = [file for folder in (".metaflow", "released") for file in (place / folder).rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


SAID = {
    "preprocess": "clips accepted",
    "search": "trials     2 of 2 steps",
    "train": "step 2/2",
    "evaluate": "and as served",
    "end": "test WER",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_spun_and_leaves_runs_and_releases_as_they_were(spin, place, step):
    before = kept(place)
    said = spin(step)
    assert "Task finished successfully" in said
    assert SAID.get(step, "") in said
    assert "unchanged since an earlier run" not in said
    assert "could not be tagged" not in said
    after = kept(place)
    assert {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)} == set()


def test_what_a_spun_push_would_do_is_told_and_not_done(tiny_run, flow_file, place):
    with Runner(str(flow_file), cwd=str(place), show_output=False).spin(
        f"{tiny_run.run.pathspec}/push", persist=True
    ) as spun:
        assert spun.status == "successful", spun.stdout + spun.stderr
        release, latest = (spun.task[name].data for name in ("release", "latest"))
    assert not latest
    assert not release["pushed"]
    assert release["why"] == "a spin publishes nothing"
