"""Whole runs of the flow, each in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from metaflow import Runner, namespace

FLOW = Path(__file__).parents[2] / "flows" / "whisper_flow.py"
TINY = """
name = "tiny"
[corpus]
limit_clips = 24
shard_clips = 40
[model]
width = 32
heads = 2
encoder_layers = 1
decoder_layers = 1
vocabulary = 300
[training]
steps = 12
batch_size = 4
evaluations = 2
[search]
trials = 2
[release]
max_served_gap = 1000.0
"""


@pytest.fixture(scope="session", autouse=True)
def _anyone() -> None:
    """As in a bare container: no user's name, and the Client sees every run."""
    for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"):
        os.environ.pop(name, None)
    os.environ["METAFLOW_USER"] = "tests"
    namespace(None)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the session's whole run is made in."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="session")
def tiny_run(place: Path):
    """A finished run of the whole flow on a tiny cut of the sample, which many tests look at."""
    profile = place / "tiny.toml"
    profile.write_text(TINY, encoding="utf-8")
    with Runner(str(FLOW), cwd=str(place), show_output=False, config=[("profile", str(profile))]).run() as running:
        assert running.status == "successful", running.stdout + running.stderr
        yield running


@pytest.fixture(scope="session")
def flow_file() -> Path:
    return FLOW


@pytest.fixture(scope="session")
def flow() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The flow from the command line."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FLOW), *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}  # or the Hub is asked again and again for half a minute
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run
