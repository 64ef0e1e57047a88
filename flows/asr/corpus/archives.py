"""Tar archives of a corpus release, unpacked once into the cache.

The cache is `$XDG_CACHE_HOME/whisper-flow`. Work in progress is in `.NAME.partial`, under the lock `.NAME.lock`, and is
renamed to NAME when complete: whatever has its final name is complete.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from asr import InputError

DECOMPRESSORS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
MIN_CONTENT_BYTES, MAX_EXPANSION = 100_000_000, 50  # an archive may unpack to the larger of both; MP3 does not shrink
MAX_MEMBERS = 10_000_000  # four times the clips of English
MAX_DEPTH, MAX_NAME_BYTES = 32, 255  # parts and bytes of a path; a clip's has 4 and about 70
MAX_HEADER_BYTES = 32 * 1024  # between two contents; tarfile holds headers in memory, and searches them slowly
PROGRESS_SECONDS = 5.0  # between two lines of progress
# What tarfile and the decompressors raise on damaged bytes; their OSErrors have no errno.
READ_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
DAMAGE_ERRORS = (*READ_ERRORS, ValueError, LookupError, ArithmeticError, RecursionError)


def unpack_archive(archive: Path, cache: Path | None = None) -> Path:
    """Unpack a tar archive, plain or compressed by gzip, bzip2 or xz; returns the folder of its content.

    The cache recognises an archive by its name, size and modification time.

    Raises:
        InputError: the archive is missing, damaged, malicious or too large for the disk. Nothing of it is left behind.
    """
    try:
        stat = archive.stat()
        if not archive.is_file() or not stat.st_size:
            raise InputError(f"[corpus] {archive} is {'empty' if archive.is_file() else 'no file'}")
        folder = (cache or cache_folder()) / f"{archive.name[:50]}-{stat.st_size}-{stat.st_mtime_ns}"
        return build_once(folder, lambda partial: _unpack(archive, partial))
    except DAMAGE_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"[corpus] {archive} cannot be unpacked: {describe_error(error)}") from None
        formats = ".tar, .tar.gz, .tar.bz2 or .tar.xz"
        raise InputError(f"[corpus] {archive} is damaged, cut short or no {formats}: {describe_error(error)}") from None


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper-flow"


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """The folder, which `build` fills under a temporary name if it does not exist. Other processes wait meanwhile."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            acquired = lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another run that makes {folder}", flush=True)
            acquired = lock.acquire()
        with acquired:
            if not folder.is_dir():
                partial = folder.with_name(f".{folder.name}.partial")
                build(partial)
                os.sync()  # after a power cut the final name must not exist without its content
                partial.rename(folder)
                return folder
    print(f"already there: {folder}", flush=True)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Create the folder, in one pass over the archive."""
    size = archive.stat().st_size
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
    folder.mkdir()
    try:
        if shortage := missing_space(folder, size):
            raise InputError(f"[corpus] {archive} {shortage}")
        with archive.open("rb") as raw, report_progress(f"unpacking {archive.name}", lambda: raw.tell() / size):
            _extract(archive, _LimitedReader(_decompress(raw)), folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(archive: Path, content: _LimitedReader, folder: Path) -> None:
    size, count = archive.stat().st_size, 0
    max_bytes = max(MIN_CONTENT_BYTES, MAX_EXPANSION * size)
    with tarfile.open(fileobj=content, mode="r|", tarinfo=_StrictTarInfo) as tar:
        while member := tar.next():
            count += 1
            problem = _member_problem(member, folder)
            if not problem and (content.bytes_read + member.size > max_bytes or count > MAX_MEMBERS):
                problem = f"is more than a speech corpus of {size} bytes can hold"
            if problem := problem or missing_space(folder, member.size):
                raise InputError(f"[corpus] {archive} is refused: its member {member.name[:200]!r} {problem}")
            content.allowed = member.size + MAX_HEADER_BYTES
            tar.extract(member, folder, set_attrs=False, filter="data")
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
            content.allowed = MAX_HEADER_BYTES
    content.allowed += max_bytes - content.bytes_read
    while content.read(MAX_HEADER_BYTES):
        pass  # the checksum comes last
    if not count:
        raise InputError(f"[corpus] {archive} holds nothing")


def _member_problem(member: tarfile.TarInfo, folder: Path) -> str | None:
    """Why the member is not safe to extract, or None."""
    parts = member.name.split("/")
    if not member.name.isprintable() or "\\" in member.name:
        return "has unprintable letters or a backslash in its name"
    if not parts[0] or ".." in parts:
        return "leads out of the archive"
    if len(parts) > MAX_DEPTH or len(member.name.encode()) > MAX_NAME_BYTES:
        return "has too long a name"
    if member.issym() or member.islnk():
        return "is a link"
    if member.issparse():
        return "is a sparse file"
    if not member.isreg() and not member.isdir():
        return "is neither a file nor a folder"
    if member.size < 0:
        return "has a negative size"
    path = folder.joinpath(*parts)
    return "comes twice" if path.exists() and not (member.isdir() and path.is_dir()) else None


class _StrictTarInfo(tarfile.TarInfo):
    """Raises for a damaged or missing header, which tarfile would take for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictTarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end mark
            raise tarfile.ReadError(str(error)) from None


class _LimitedReader(io.BufferedIOBase):
    """The archive's bytes, of which tarfile may read only as many as `allowed`."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.allowed, self.bytes_read = MAX_HEADER_BYTES, 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._content.read(-1 if size is None else size)
        self.bytes_read += len(data)
        self.allowed -= len(data) or tarfile.BLOCKSIZE  # at the end tarfile may ask forever
        if self.allowed < 0:
            raise tarfile.ReadError("its headers are too long, or it holds more than they declare")
        return data


def _decompress(raw: IO[bytes]) -> IO[bytes]:
    start = raw.read(6)
    raw.seek(0)
    return next((opener(raw) for magic, opener in DECOMPRESSORS.items() if start.startswith(magic)), raw)


def missing_space(folder: Path, size: int) -> str | None:
    """What to report if the disk has no room for `size` more bytes; None if it has."""
    free = shutil.disk_usage(folder).free
    return f"needs {size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free for {folder.parent}" if free < size else None


@contextmanager
def report_progress(task: str, progress: Callable[[], float]) -> Iterator[None]:
    """Print the running task and its progress, from 0 to 1, every few seconds."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(PROGRESS_SECONDS):
            print(f"{task} {100 * progress():3.0f} %", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def describe_error(error: Exception) -> str:
    """The error's message in one line, or its type if it has none; system errors without their number."""
    if isinstance(error, OSError) and error.errno:
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return " ".join(str(error).split()) or type(error).__name__
