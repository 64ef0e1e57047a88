"""The folder of a run's temporary files: it goes with the run, however the tasks that wrote there ended."""

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
COMMANDS = {"run", "resume", "spin"}  # that start tasks here


@contextmanager
def of_run() -> Iterator[None]:
    """For the time of a command that starts tasks: let them, and what they start, write into one folder, then removed.

    A task that is killed leaves its files, and Metaflow those that it hands to a card's process. What a run that was
    killed left is removed by the next.
    """
    if not COMMANDS & set(sys.argv):
        yield
        return
    base, before = Path(tempfile.gettempdir()), os.environ.get("TMPDIR")
    new = Path(tempfile.mkdtemp())
    lock = os.open(new, os.O_RDONLY)  # held as long as this process lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = new.rename(base / f"{PREFIX}{new.name}")  # no other run saw it without its lock
    for other in base.glob(f"{PREFIX}*"):
        if other != folder and _is_dead(other):
            shutil.rmtree(other, ignore_errors=True)
    _use(str(folder))
    try:
        yield
    finally:
        _use(before)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def place() -> Path:
    """The folder of temporary files that a user knows: the one that a run's lies in."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(PREFIX) else folder


def _use(folder: str | None) -> None:
    if folder is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = folder
    tempfile.tempdir = None  # Python keeps the first


def _is_dead(folder: Path) -> bool:
    """Whether no process holds the folder's lock."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # gone, or somebody else's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
