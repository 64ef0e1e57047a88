"""The folder of a run's temporary files, removed at the end of the run however its tasks ended."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr.process_tempdir import ProcessTempdir

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
    before, folder = os.environ.get("TMPDIR"), ProcessTempdir(Path(tempfile.gettempdir()), PREFIX)
    folder.delete_dead()
    _set_tmpdir(str(folder.path))
    try:
        yield
    finally:
        _set_tmpdir(before)
        folder.delete()


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
