"""Whole runs of the flow, each in its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch  # noqa: F401  before a Runner, whose own typing_extensions changes `typing` so that torch cannot be imported
from filelock import FileLock
from flow_process import FLOW
from metaflow import Run, Runner, metadata, namespace

SAMPLE = FLOW.parent / "sample"
TINY = """
name = "tiny"
[corpus]
shard_clips = 40
exclude = "withdrew.txt"
[[corpus.sources]]
limit_clips = 8
[[corpus.sources]]
source = "folder"
path = "mine"
name = "mine"
weight = 2.0
[model]
width = 32
heads = 2
encoder_layers = 1
decoder_layers = 1
vocabulary = 300
[training]
steps = 80
batch_size = 4
evaluations = 2
[search]
trials = 2
[release]
max_served_gap = 1000.0
"""


@pytest.fixture(scope="session", autouse=True)
def _anyone() -> None:
    """As in a bare container: no user name; and the Client shows every run."""
    for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"):
        os.environ.pop(name, None)
    os.environ["METAFLOW_USER"] = "tests"
    namespace(None)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the session's whole run, which all processes of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "run"


def write_recordings(corpus: Path) -> None:
    """A folder of recordings, four clips a split, and six rows of train that are rejected."""
    for split in ("train", "validation", "test"):
        (corpus / split).mkdir(parents=True)
        clips = sorted((SAMPLE / split).glob("*.ogg"))[-4:]
        lines = ["file_name,transcription,speaker_id", *(f"{clip.name},Hej på dig,{split}" for clip in clips)]
        for clip in clips:
            shutil.copy(clip, corpus / split)
        if split == "train":
            lines += ["noise.ogg,Inte ljud,x", "nothing.wav,Tom,x", "gone.wav,Borta,x", "../../tiny.toml,Ute,x"]
            lines += ["withdrawn.ogg,Hej,Anna", f"{clips[0].name},Hej igen,x"]
            shutil.copy(clips[0], corpus / split / "withdrawn.ogg")
        (corpus / split / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (corpus / "train" / "noise.ogg").write_text("not audio")
    (corpus / "train" / "nothing.wav").write_bytes(b"")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of recordings."""
    write_recordings(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture(scope="session")
def tiny_run(run_folder: Path) -> Run:
    """A finished run of the whole flow, on a part of the sample and a folder; many tests read it."""
    id_file = run_folder / "id"
    with FileLock(f"{run_folder}.lock"):  # the first process that needs it makes it
        if not id_file.exists():
            write_recordings(run_folder / "mine")
            (run_folder / "withdrew.txt").write_text("# in May\nAnna\n", encoding="utf-8")
            (profile := run_folder / "tiny.toml").write_text(TINY, encoding="utf-8")
            runner = Runner(str(FLOW), cwd=str(run_folder), show_output=False, config=[("profile", str(profile))])
            with runner.run() as running:
                assert running.status == "successful", running.stdout + running.stderr
                id_file.write_text(running.run.id)
    metadata(f"local@{run_folder}")
    namespace(None)
    return Run(f"WhisperFlow/{id_file.read_text()}")


@pytest.fixture(scope="session")
def tiny_profile() -> str:
    """The profile of `tiny_run`."""
    return TINY


@pytest.fixture(scope="session")
def flow_file() -> Path:
    return FLOW


@pytest.fixture(scope="session")
def flow() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs the flow's command line to its end."""

    def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FLOW), *arguments]
        environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", **env}  # by default there is no Hub
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run
