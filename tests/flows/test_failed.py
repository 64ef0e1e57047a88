"""Failures that no retry mends: one trial, all trials, and a damaged datastore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from metaflow import Runner

REFUSED = "the memory is too small for batches of 512"


@pytest.fixture
def spin_with(tiny_run, flow_file, run_folder, tmp_path) -> Callable[..., Iterator[Any]]:
    """A function that spins a step of the run with other artifacts; for a join, by task."""

    @contextmanager
    def spin(step: str, artifacts: dict[str, Any]) -> Iterator[Any]:
        (tmp_path / "other.py").write_text(f"ARTIFACTS = {artifacts!r}", encoding="utf-8")
        with Runner(str(flow_file), cwd=str(run_folder), show_output=False).spin(
            f"{tiny_run.pathspec}/{step}", persist=True, artifacts_module=str(tmp_path / "other.py")
        ) as running:
            yield running

    return spin


def trials(tiny_run) -> list[str]:
    """The tasks of the trials, as a spun join names them."""
    return ["/".join(task.pathspec.split("/")[1:]) for task in tiny_run["train"]]


def test_a_trial_that_cannot_run_fails_with_its_reason(spin_with, tiny_run):
    shards = tiny_run["end"].task.data.shards
    with spin_with("train", {"shards": [{**shard, "key": "0" * 40} for shard in shards]}) as running:
        assert running.status == "successful", running.stdout + running.stderr
        assert running.task["refused"].data.endswith("is gone: `resume preprocess` makes it again")
        assert "Traceback" not in running.stdout + running.stderr


def test_the_leaderboard_lists_a_failed_trial_beside_the_others(spin_with, tiny_run):
    failed_task, *_ = trials(tiny_run)
    number = tiny_run["train"][failed_task.rsplit("/", 1)[1]].data.outcome["trial"]["number"]
    with spin_with("select", {failed_task: {"refused": REFUSED}}) as running:
        assert running.status == "successful", running.stdout + running.stderr
        board, winner = running.task["leaderboard_rows"].data, running.task["winner"].data
        assert f"trial {number} failed: {REFUSED}" in running.stdout
    assert [row["stopped"] for row in board] == ["finished", "failed"]
    assert (board[-1]["trial"], winner["trial"]) == (number, 1 - number)


def test_a_run_fails_when_every_trial_failed(spin_with, tiny_run):
    all_of_them = {trial: {"refused": REFUSED} for trial in trials(tiny_run)}
    with pytest.raises(RuntimeError) as failed, spin_with("select", all_of_them):
        pytest.fail("a winner was found")
    assert "every trial failed, see above: `resume train`" in str(failed.value)
    assert "Traceback" not in str(failed.value)


@pytest.fixture
def damaged(tiny_run, run_folder) -> Iterator[Path]:
    """The winner's weights in the datastore, with a thousand bytes flipped during the test."""
    key = tiny_run["select"].task.data.weights_key
    (file,) = (run_folder / ".metaflow" / "WhisperFlow" / "data").rglob(key)
    content = file.read_bytes()
    flipped = bytearray(content)
    for at in range(len(content) // 2, len(content) // 2 + 1000):
        flipped[at] ^= 0xFF
    file.write_bytes(flipped)
    yield file
    file.write_bytes(content)


def test_damaged_weights_are_reported_and_never_released(damaged, flow, run_folder, tiny_run):
    latest = (run_folder / "released" / "latest").resolve()
    process = flow("resume", "evaluate", "--origin-run-id", tiny_run.id, cwd=run_folder)
    output = process.stdout + process.stderr
    assert process.returncode == 1
    assert f"{damaged} is damaged, its content is not what was stored: delete it, and `resume train`" in output
    assert "Traceback" not in output
    assert (run_folder / "released" / "latest").resolve() == latest
