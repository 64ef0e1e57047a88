"""Uploaded files, in a temporary folder of this server, which is deleted when the server ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from process_tempdir import ProcessTempdir
from starlette.exceptions import HTTPException

PREFIX = "whisper-space-"
MIN_FREE_BYTES = 200_000_000  # of the disk
MAX_AGE = 3600.0  # seconds until an upload is deleted
MIN_EMPTY_AGE = 60.0  # seconds until an empty folder is deleted: an upload may be starting in it


class Uploads:
    """The folder, which Gradio uses by GRADIO_TEMP_DIR. Folders of servers that are dead are deleted.

    `public_files` belong to the page and may be read as well.
    """

    def __init__(self, public_files: Sequence[Path] = ()) -> None:
        base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
        base.mkdir(parents=True, exist_ok=True)
        self._tempdir = ProcessTempdir(base, PREFIX)
        self.folder = self._tempdir.path
        self._public_files = {str(path) for path in public_files}
        atexit.register(self._tempdir.delete)
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        self.sweep()

    def is_upload(self, path: str) -> bool:
        """Whether a path has the form of Gradio's uploads: a file in a subfolder."""
        is_below = path.startswith(f"{self.folder}{os.sep}") and os.path.dirname(path) != str(self.folder)
        return is_below and os.path.normpath(path) == path and "\0" not in path

    def is_readable(self, path: str) -> bool:
        """Whether a visitor may read a path."""
        return self.is_upload(path) or path in self._public_files

    def check_space(self) -> None:
        """Raise HTTPException if the disk is nearly full."""
        if shutil.disk_usage(self.folder).free < MIN_FREE_BYTES:
            raise HTTPException(507, "the server has no room for a file now")

    def sweep(self) -> None:
        """Delete old uploads, empty folders, and the folders of dead servers."""
        now = time.time()
        for path in sorted(self.folder.rglob("*"), reverse=True):  # a folder after its files
            with suppress(OSError):  # deleted meanwhile
                age = now - path.stat().st_ctime
                if path.is_dir():
                    if age > MIN_EMPTY_AGE:
                        path.rmdir()
                elif age > MAX_AGE:
                    path.unlink()
        self._tempdir.delete_dead()
