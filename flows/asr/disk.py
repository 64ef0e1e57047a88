"""A full disk, told in one line whatever library met it; and whether a folder may be written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr import InputError, scratch

FULL = (errno.ENOSPC, errno.EDQUOT)
# For errors without a number: Rust's have the system's words, torch's and datasets' their own.
WORDS = (*map(os.strerror, FULL), "PytorchStreamWriter failed writing", "unexpected pos", "Not enough disk space")
NOWHERE = "No usable temporary directory"  # how `tempfile` begins before it lists the folders that it tried


@contextmanager
def told(*places: Path) -> Iterator[None]:
    """Raises `InputError` for what `complaint` knows."""
    try:
        yield
    except Exception as error:
        if line := complaint(error, *places):
            raise InputError(line) from None
        raise


def complaint(error: BaseException, *places: Path) -> str:
    """What is wrong with a disk, in one line; empty where the error has another cause.

    `places` are the folders that may have been written to, beside the one of temporary files: a write names no file.
    """
    if isinstance(error, InputError):
        return ""
    if isinstance(error, OSError) and NOWHERE in str(error):
        return f"{error.strerror}: they are full or may not be written, and TMPDIR can name another"
    if full := [one for one in chain(error) if _is_full(one)]:
        named = [Path(one.filename) for one in full if isinstance(one, OSError) and isinstance(one.filename, str)]
        folders = (*places, scratch.place())
        place = _holding(named[0], folders) if named else min(folders, key=_room)
        return f"the disk that holds {place} is full: make room there"
    return ""


def check(folder: Path, key: str) -> None:
    """Raises `InputError`, with the key that names the folder, where nothing can be created in it."""
    try:
        with told(folder), tempfile.TemporaryDirectory(dir=_there(folder), prefix="."):
            pass
    except OSError as error:
        raise InputError(f"{key}: {folder} cannot be written: {error.strerror}") from None


def _is_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in FULL) or any(words in str(error) for words in WORDS)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _holding(file: Path, folders: tuple[Path, ...]) -> Path:
    """The folder that a file lies in, which is shorter to read than a temporary file's name; else the file."""
    return next((folder for folder in folders if file.is_relative_to(folder)), file)


def _room(folder: Path) -> int:
    """Bytes free on the folder's disk; 0 where it has no place for one more file."""
    disk = os.statvfs(_there(folder))
    return disk.f_bavail * disk.f_frsize if disk.f_favail or not disk.f_files else 0


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
