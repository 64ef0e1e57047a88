"""A release as it is shipped, a tar archive: unpacked once, into the cache.

The cache is `$XDG_CACHE_HOME/whisper-flow`. What is under way lies there as `.NAME.partial`, under the lock
`.NAME.lock`, and gets its name when it is whole: what has a name can be relied on.
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

OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
FLOOR, RATIO = 100_000_000, 50  # bytes that any archive may swell to, or times its size; MP3 does not swell at all
MEMBERS = 10_000_000  # four times the clips of English
DEPTH, LENGTH = 32, 255  # parts and bytes of a name; a clip's has 4 and some 70
HEADERS = 32 * 1024  # bytes between two contents; tarfile holds them in memory, and searches them slowly
EVERY = 5.0  # seconds between two lines of progress
# What tarfile and the decompressors raise on bytes that nobody meant; an OSError of theirs has no errno.
BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
DAMAGE = (*BROKEN, ValueError, LookupError, ArithmeticError, RecursionError)


def unpacked(archive: Path, cache: Path | None = None) -> Path:
    """The folder of an archive's content; the archive is a tar, plain or shrunk by gzip, bzip2 or xz.

    It is known by its name, size and time of change. Raises `InputError`, and leaves nothing of it, where it is
    missing, damaged, hostile or too large for the disk.
    """
    try:
        known = archive.stat()
        if not archive.is_file() or not known.st_size:
            raise InputError(f"[corpus] {archive} is {'empty' if archive.is_file() else 'no file'}")
        folder = (cache or cache_folder()) / f"{archive.name[:50]}-{known.st_size}-{known.st_mtime_ns}"
        return once(folder, lambda partial: _unpack(archive, partial))
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"[corpus] {archive} cannot be unpacked: {line(error)}") from None
        kinds = ".tar, .tar.gz, .tar.bz2 or .tar.xz"
        raise InputError(f"[corpus] {archive} is damaged, cut short or no {kinds}: {line(error)}") from None


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper-flow"


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder; where there is none yet, `make` makes it under another name. Others wait meanwhile."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another run that makes {folder}", flush=True)
            held = lock.acquire()
        with held:
            if not folder.is_dir():
                partial = folder.with_name(f".{folder.name}.partial")
                make(partial)
                os.sync()  # the name must not outlive a power cut that the content does not
                partial.rename(folder)
                return folder
    print(f"already there: {folder}", flush=True)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Makes the folder, in one pass over the archive."""
    size = archive.stat().st_size
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        if missing := lack(folder, size):
            raise InputError(f"[corpus] {archive} {missing}")
        with archive.open("rb") as raw, told(f"unpacking {archive.name}", lambda: raw.tell() / size):
            _extract(archive, _Metered(_opened(raw)), folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(archive: Path, content: _Metered, folder: Path) -> None:
    size, count = archive.stat().st_size, 0
    room = max(FLOOR, RATIO * size)
    with tarfile.open(fileobj=content, mode="r|", tarinfo=_Header) as tar:
        while member := tar.next():
            count += 1
            fault = _fault(member, folder)
            if not fault and (content.read_so_far + member.size > room or count > MEMBERS):
                fault = f"is more than a speech corpus of {size} bytes can hold"
            if fault := fault or lack(folder, member.size):
                raise InputError(f"[corpus] {archive} is refused: its member {member.name[:200]!r} {fault}")
            content.due = member.size + HEADERS
            tar.extract(member, folder, set_attrs=False, filter="data")
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them in memory
            content.due = HEADERS
    content.due += room - content.read_so_far
    while content.read(HEADERS):
        pass  # the checksum comes last
    if not count:
        raise InputError(f"[corpus] {archive} holds nothing")


def _fault(member: tarfile.TarInfo, folder: Path) -> str | None:
    """What nobody would pack in good faith."""
    parts = member.name.split("/")
    if not member.name.isprintable() or "\\" in member.name:
        return "has unprintable letters or a backslash in its name"
    if not parts[0] or ".." in parts:
        return "leads out of the archive"
    if len(parts) > DEPTH or len(member.name.encode()) > LENGTH:
        return "has too long a name"
    if member.issym() or member.islnk():
        return "is a link"
    if member.issparse():
        return "is a sparse file"
    if not member.isreg() and not member.isdir():
        return "is neither a file nor a folder"
    if member.size < 0:
        return "has a size below nothing"
    there = folder.joinpath(*parts)
    return "comes twice" if there.exists() and not (member.isdir() and there.is_dir()) else None


class _Header(tarfile.TarInfo):
    """A header that is damaged or missing is an error: tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end mark
            raise tarfile.ReadError(str(error)) from None


class _Metered(io.BufferedIOBase):
    """The archive's bytes, for tarfile to read no more of than are due."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.due, self.read_so_far = HEADERS, 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._content.read(-1 if size is None else size)
        self.read_so_far += len(data)
        self.due -= len(data) or tarfile.BLOCKSIZE  # at the end tarfile may ask for ever
        if self.due < 0:
            raise tarfile.ReadError("its headers are too long, or it holds more than they tell")
        return data


def _opened(raw: IO[bytes]) -> IO[bytes]:
    start = raw.read(6)
    raw.seek(0)
    return next((opener(raw) for magic, opener in OPENERS.items() if start.startswith(magic)), raw)


def lack(folder: Path, size: int) -> str | None:
    """What is to be said where the disk has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    return f"needs {size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free for {folder.parent}" if free < size else None


@contextmanager
def told(what: str, share: Callable[[], float]) -> Iterator[None]:
    """Tells every few seconds what is under way and how far it is."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(EVERY):
            print(f"{what} {100 * share():3.0f} %", flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def line(error: Exception) -> str:
    """Its words, or for want of words its name; of the system's errors without their number."""
    if isinstance(error, OSError) and error.errno:
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return " ".join(str(error).split()) or type(error).__name__
