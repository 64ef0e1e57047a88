"""The folder of a run's temporary files, removed at the end of the run however its tasks ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "whisper-flow-"
COMMANDS = {"run", "resume", "spin"}  # those that start tasks here


@contextmanager
def run_folder() -> Iterator[None]:
    """Give a command that starts tasks a temporary folder of its own, and remove it afterwards.

    A killed task leaves its files, and Metaflow leaves those that it passes to a card's process. The folder of a killed
    run is removed by the next run.
    """
    if not COMMANDS & set(sys.argv):
        yield
        return
    base, before = Path(tempfile.gettempdir()), os.environ.get("TMPDIR")
    new = Path(tempfile.mkdtemp())
    lock = os.open(new, os.O_RDONLY)  # held while this process lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = new.rename(base / f"{PREFIX}{new.name}")  # other runs never see it unlocked
    for other in base.glob(f"{PREFIX}*"):
        if other != folder and _is_dead(other):
            shutil.rmtree(other, ignore_errors=True)
    _set_tmpdir(str(folder))
    try:
        yield
    finally:
        _set_tmpdir(before)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def base_folder() -> Path:
    """The temporary folder that the user knows, which contains the run's."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(PREFIX) else folder


def _set_tmpdir(folder: str | None) -> None:
    if folder is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = folder
    tempfile.tempdir = None  # Python caches the first value


def _is_dead(folder: Path) -> bool:
    """Whether no process holds the folder's lock."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # removed, or another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
