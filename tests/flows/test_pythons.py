"""One whole run in each Python that setup.cfg names, where it is at hand with what the flow needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

CONFIG = ConfigParser()
CONFIG.read(Path(__file__).parents[2] / "setup.cfg")
KIND = "Programming Language :: Python :: 3."
VERSIONS = ["3." + line.removeprefix(KIND) for line in CONFIG["metadata"]["classifiers"].split("\n") if KIND in line]
NEEDED = "import ctranslate2, metaflow, sys, torch, transformers; print('%d.%d' % sys.version_info[:2])"


def interpreter(version: str) -> str | None:
    """A Python of the version with the flow's packages: one that WHISPER_PYTHONS names, by paths, or pythonX.Y."""
    named = os.environ.get("WHISPER_PYTHONS", "").split(os.pathsep)
    for path in filter(None, [*named, shutil.which(f"python{version}")]):
        process = subprocess.run([path, "-c", NEEDED], capture_output=True, text=True, timeout=120)
        if process.stdout.strip() == version:
            return path
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_run_succeeds_in_every_python(version, recordings, tiny_profile, flow_file, tmp_path):
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip("the other tests' Python")
    if not (python := interpreter(version)):
        pytest.skip(f"no Python {version} with the flow's packages here, nor in WHISPER_PYTHONS")
    (tmp_path / "withdrew.txt").touch()
    (tmp_path / "tiny.toml").write_text(tiny_profile, encoding="utf-8")
    command = [python, str(flow_file), "--config", "profile", "tiny.toml", "run"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    assert (tmp_path / "released" / "latest" / "ct2-int8" / "model.bin").is_file()
