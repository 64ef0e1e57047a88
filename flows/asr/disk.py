"""Full disks, explained in one line whatever library raised the error; and a check that a folder can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr import InputError, error_chain, scratch

FULL = (errno.ENOSPC, errno.EDQUOT)
# Messages of errors without an errno: Rust's quote the system's, torch and datasets have their own.
MESSAGES = (*map(os.strerror, FULL), "PytorchStreamWriter failed writing", "unexpected pos", "Not enough disk space")
NO_TEMPORARY_FOLDER = "No usable temporary directory"  # the start of `tempfile`'s message


@contextmanager
def explained(*folders: Path) -> Iterator[None]:
    """Raise an `InputError` for an error that `explain` knows."""
    try:
        yield
    except Exception as error:
        if line := explain(error, *folders):
            raise InputError(line) from None
        raise


def explain(error: BaseException, *folders: Path) -> str:
    """What is wrong with a disk, in one line; empty where the error has another cause.

    `folders` are those that may have been written to, beside the temporary folder: an error of a write names no file.
    """
    if isinstance(error, InputError):
        return ""
    if isinstance(error, OSError) and NO_TEMPORARY_FOLDER in str(error):
        return f"{error.strerror}: they are full or cannot be written; TMPDIR can name another"
    if full := [cause for cause in error_chain(error) if _is_full(cause)]:
        files = [
            Path(cause.filename) for cause in full if isinstance(cause, OSError) and isinstance(cause.filename, str)
        ]
        candidates = (*folders, scratch.base_folder())
        place = _containing(files[0], candidates) if files else min(_one_per_disk(candidates), key=_free_bytes)
        return f"the disk that holds {place} is full: make room there"
    return ""


def check(folder: Path, key: str) -> None:
    """Raises `InputError`, with the key of the folder, if no file can be created in it."""
    try:
        with explained(folder), tempfile.TemporaryDirectory(dir=_nearest_existing(folder), prefix="."):
            pass
    except OSError as error:
        raise InputError(f"{key}: {folder} cannot be written: {error.strerror}") from None


def _is_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in FULL) or any(message in str(error) for message in MESSAGES)


def _containing(file: Path, folders: tuple[Path, ...]) -> Path:
    """The folder of these that contains the file, which is easier to read; else the file."""
    return next((folder for folder in folders if file.is_relative_to(folder)), file)


def _one_per_disk(folders: tuple[Path, ...]) -> list[Path]:
    """The first folder on each disk: others write to the disk meanwhile, so that a later look finds less free."""
    first = {os.stat(_nearest_existing(folder)).st_dev: folder for folder in reversed(folders)}
    return list(first.values())


def _free_bytes(folder: Path) -> int:
    """Free bytes on the folder's disk; 0 where it has no free inode."""
    disk = os.statvfs(_nearest_existing(folder))
    return disk.f_bavail * disk.f_frsize if disk.f_favail or not disk.f_files else 0


def _nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
