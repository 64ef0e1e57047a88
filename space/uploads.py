"""What visitors upload: in a folder of this server's own, which is gone when the server is."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starlette.exceptions import HTTPException

NAME = "whisper-space-"
SPARE = 200_000_000  # bytes that stay free on the disk
FRESH = 60.0  # seconds in which something may come into a folder
KEPT = 3600.0  # seconds


class Uploads:
    """The folder; Gradio is told of it by GRADIO_TEMP_DIR. Those of servers that are dead are deleted.

    `shown` are files that go with the page.
    """

    def __init__(self, shown: Sequence[Path] = ()) -> None:
        self._base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
        self._base.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=self._base))
        self._lock = os.open(new, os.O_RDONLY)  # held as long as this process lives, however it ends
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = new.rename(self._base / f"{NAME}{new.name}")  # no other server saw it without its lock
        self._shown = {str(path) for path in shown}
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        self.sweep()

    def is_upload(self, path: str) -> bool:
        """Whether a path is one that Gradio gave for an upload: a file in a folder of its own."""
        below = path.startswith(f"{self.folder}{os.sep}") and os.path.dirname(path) != str(self.folder)
        return below and os.path.normpath(path) == path and "\0" not in path

    def is_readable(self, path: str) -> bool:
        return self.is_upload(path) or path in self._shown

    def check_room(self) -> None:
        """Raise HTTPException where the disk has no room for more."""
        if shutil.disk_usage(self.folder).free < SPARE:
            raise HTTPException(507, "the server has no room for a file now")

    def sweep(self) -> None:
        """Delete what is older than an hour, empty folders, and the folders of servers that are dead."""
        now = time.time()
        for path in sorted(self.folder.rglob("*"), reverse=True):  # a folder after what is in it
            with suppress(OSError):  # somebody else was faster
                age = now - path.stat().st_ctime
                if path.is_dir():
                    if age > FRESH:
                        path.rmdir()
                elif age > KEPT:
                    path.unlink()
        for path in self._base.glob(f"{NAME}*"):
            if path != self.folder and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)


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
