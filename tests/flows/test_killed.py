"""Runs whose trials and schedulers are killed and resumed have the results of an undisturbed run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flow_process import FlowProcess
from metaflow import Run
from servers.bucket import Bucket
from servers.metadata import Metadata

READ_RUNS = """
import json, sys
from metaflow import Run, get_metadata, namespace
namespace(None)
killed, stopped, run = (Run("WhisperFlow/" + id) for id in sys.argv[1:4])
run["select"].task.data.leaderboard.drop(columns="seconds").to_pickle("board.pickle")
print(json.dumps({
    "metadata": get_metadata(),
    "finished": [killed.finished, stopped.finished, run.finished, run.successful],
    "resumed from": run.origin_pathspec,
    "tasks": {step.id: len(list(step)) for step in run},
    "tags": sorted(run.user_tags),
    "tries": [task.current_attempt for task in killed["train"]],
}))
"""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start(start_flow: Callable[..., FlowProcess], run_folder: Path, tiny_run: Run, tiny_profile: str, tmp_path: Path):
    """A function that starts the flow of `tiny_run` in another folder, with frequent checkpoints."""
    shutil.copytree(run_folder / "mine", tmp_path / "mine")
    shutil.copy(run_folder / "withdrew.txt", tmp_path)
    frequent = tiny_profile.replace("[training]", "[training]\ncheckpoint_minutes = 0.0")
    (tmp_path / "frequent.toml").write_text(frequent, encoding="utf-8")
    return partial(start_flow, cwd=tmp_path)


def read_runs(*runs: str, cwd: Path, env: dict[str, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The resumed run's leaderboard, and what the Client reads of the runs.

    It does so in another process, since a Client keeps the first datastore and metadata service that it uses.
    """
    command = [sys.executable, "-c", READ_RUNS, *runs]
    process = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return pd.read_pickle(cwd / "board.pickle"), json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """The environment with artifacts in a bucket and metadata at a service."""
    with Bucket(tmp_path_factory.mktemp("bucket"), "artifacts") as bucket, Metadata() as service:
        root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
        yield {**bucket.settings, **root, **service.settings}


def test_killed_trials_and_killed_runs_give_the_same_leaderboard(start, backend, tiny_run, tmp_path):
    """SIGTERM for one trial, as on a spot machine, and SIGKILL for the other one; then SIGKILL for the run's scheduler,
    and SIGTERM for that of the resumed run, as when a container is stopped."""
    run = start("--config", "profile", "frequent.toml", "run", env=backend)
    terminated = run.wait_for(r"\(pid (\d+)\)\] trial 1  step +([4-9]|1\d)/80")
    os.kill(int(terminated[1]), signal.SIGTERM)
    running = run.wait_for(r"\(pid (\d+)\)\] trial 0  step +([1-4]\d)/80")
    _kill(int(running[1]))
    saved = run.wait_for(r"asked to end at step (\d+)")
    next_try = run.wait_for(r"trial 1  resumed at step (\d+) of 80")
    assert next_try[1] == saved[1]
    retried_at = run.wait_for(r"trial 0  resumed at step (\d+) of 80")
    run.wait_for(r"trial 0  step ([56]\d|7[0-4])/80")
    time.sleep(0.1)  # in the middle of a step or of a checkpoint
    assert run.stop(signal.SIGKILL) == -signal.SIGKILL
    assert "Traceback" not in "".join(run.lines)
    [leftover] = (tmp_path / "tmp").iterdir()  # removed by the next run

    stopped = start("resume", env=backend)
    resumed_at = stopped.wait_for(r"trial 0  resumed at step (\d+) of 80")
    assert int(resumed_at[1]) > int(retried_at[1]) > 0
    assert not leftover.exists()
    assert stopped.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "Traceback" not in "".join(stopped.lines)
    assert not list((tmp_path / "tmp").iterdir())
    assert "To resume after the finished steps" in stopped.lines[-1]

    _, flow_file, *pasted = shlex.split(stopped.lines[-1].rpartition(":  ")[2])
    assert Path(flow_file).name == "whisper_flow.py"
    resumed = start(*pasted, env=backend)
    outputs = "".join(run.lines), "".join(stopped.lines), resumed.finish()
    ids = [re.search(r"run-id (\d+)", output)[1] for output in outputs]
    board, client_data = read_runs(*ids, cwd=tmp_path, env=backend)
    undisturbed = tiny_run["select"].task.data.leaderboard.drop(columns="seconds")
    pd.testing.assert_frame_equal(board, undisturbed, check_exact=True)
    assert client_data == {
        "metadata": f"service@{backend['METAFLOW_SERVICE_URL']}",
        "finished": [False, False, True, True],
        "resumed from": f"WhisperFlow/{ids[0]}",  # Metaflow names the first run
        "tasks": {step.id: len(list(step)) for step in tiny_run},
        "tags": ["profile:tiny", f"winner:{undisturbed['trial'][0]}"],
        "tries": [1, 1],
    }
