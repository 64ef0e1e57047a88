"""A temporary folder of one process, which another one deletes if the process was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class ProcessTempdir:
    """A new folder in `base`, locked as long as this process lives, however it ends. Its name begins with `prefix`."""

    def __init__(self, base: Path, prefix: str) -> None:
        new = Path(tempfile.mkdtemp(dir=base))
        self._lock = os.open(new, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._others = f"{prefix}*"
        self.path = new.rename(base / f"{prefix}{new.name}")  # renamed once locked: nobody takes it for dead

    def delete_dead(self) -> None:
        """Delete the folders with the same prefix whose processes are gone."""
        for folder in self.path.parent.glob(self._others):
            if folder != self.path and _is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _is_dead(folder: Path) -> bool:
    """Whether no process holds the folder's lock."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # deleted meanwhile, or another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
