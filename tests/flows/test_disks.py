"""A disk that is full or closed ends a run in one line that names it, whatever was just written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLOSED = Path("/sys")  # on Linux, where root cannot make a file either
# A disk of so many kilobytes over the current folder, in a namespace of its own, which needs no right to mount.
SMALL = 'mount -t tmpfs -o size=$0k tmpfs "$PWD" && cd "$PWD" && exec "$@"'


def on_a_disk_of(kilobytes: int, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    line = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL, str(kilobytes), *command]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def may_mount() -> bool:
    try:
        return on_a_disk_of(40, Path.cwd(), "true").returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_mount(), reason="no small disk can be mounted here")
@pytest.mark.parametrize(("kilobytes", "step"), [(8, ""), (200, ""), (600, "preprocess"), (2000, "preprocess")])
def test_a_full_disk_is_named_in_one_line(flow_file, tmp_path, tiny_profile, kilobytes, step):
    """Full as the run begins, as its first task does, at a task's metadata, and at its shards."""
    profile = tmp_path / "tiny.toml"
    text = tiny_profile.replace('exclude = "withdrew.txt"', "")
    profile.write_text(text[: text.index("[[corpus.sources]]\nsource")] + text[text.index("[model]") :])
    (tmp_path / "small").mkdir()
    run = [sys.executable, str(flow_file), "--config", "profile", str(profile), "run"]
    process = on_a_disk_of(kilobytes, tmp_path / "small", *run)
    output = process.stdout + process.stderr
    assert process.returncode == 1
    assert f"the disk that holds {tmp_path / 'small' / '.metaflow'} is full: make room there" in output
    assert "Traceback" not in output
    assert f"/{step}/" in output or not step


@pytest.mark.skipif(not CLOSED.is_dir(), reason="no /sys here")
@pytest.mark.parametrize("elsewhere", [{}, {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(CLOSED / "new")}])
def test_an_unwritable_datastore_is_named_with_what_to_do(flow, tmp_path, elsewhere):
    process = flow("run", cwd=tmp_path if elsewhere else CLOSED, **elsewhere)
    output = process.stdout + process.stderr
    assert process.returncode == 1
    [line] = [line for line in output.splitlines() if "cannot be opened or made" in line]
    assert str(CLOSED) in line
    assert "METAFLOW_DATASTORE_SYSROOT_LOCAL" in line
    assert "Traceback" not in output
    assert "resume" not in output
