"""Ctrl-C in a terminal, which signals every process of a run, and SIGTERM, which only its scheduler gets."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_process import FlowProcess
from metaflow import Run


@pytest.fixture
def interrupt(run_folder: Path, tmp_path: Path) -> Callable[..., tuple[re.Match[str], list[str]]]:
    """A function that starts the flow and ends it after a line; that match, and the arguments to resume it."""

    (tmp_path / "tmp").mkdir()

    def start_and_stop(
        arguments: list[str], pattern: str, number: signal.Signals = signal.SIGINT, seconds: float = 0.0
    ) -> tuple[re.Match[str], list[str]]:
        env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        run = FlowProcess(*arguments, cwd=run_folder, env=env)
        match = run.wait_for(pattern)
        time.sleep(seconds)
        assert run.stop(number, group=number == signal.SIGINT) == 128 + number
        assert "Traceback" not in "".join(run.lines)
        return match, run.resume_arguments

    return start_and_stop


def test_an_interrupted_run_prints_no_traceback_and_keeps_its_progress(interrupt, tiny_run: Run, tmp_path):
    """Ctrl-C during a trial's imports and after its first step; SIGTERM, as a container gets, after it was resumed."""
    train = ["resume", "train", "--origin-run-id", tiny_run.id]
    # Python cannot ignore signals in the first moment.
    _, resume = interrupt(train, r"/train/.*Task is starting", seconds=1.0)
    _, resume = interrupt(resume, r"trial 0  step +1/80")
    resumed, _ = interrupt(resume, r"trial 0  resumed at step (\d+) of 80", signal.SIGTERM)
    assert int(resumed[1]) > 0
    assert not list((tmp_path / "tmp").iterdir())
