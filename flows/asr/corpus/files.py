"""The files below a folder: local, in a bucket (gs://BUCKET/FOLDER) or on the Hub (hf://datasets/ID@COMMIT)."""

from __future__ import annotations

import itertools
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from asr import InputError, first_line
from asr.corpus.rows import Row

if TYPE_CHECKING:
    from google.cloud.storage import Client

REMOTE_SCHEMES = ("gs://", "hf://")
PARALLEL_DOWNLOADS = 16
MAX_TABLE_BYTES = 1 << 30  # of a table of clips: ten million lines of a hundred letters
AUDIO_SUFFIXES = (
    ".aac", ".aif", ".aiff", ".avi", ".flac", ".m4a", ".mka", ".mkv", ".mov",
    ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma",
)  # fmt: skip


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, root: Path, key: str) -> None:
        if not os.path.isdir(root):
            raise InputError(f"{key}: there is no folder {root}")
        self.root, self._real_root, self._key = root, os.path.realpath(root), key

    def read(self, name: str, max_bytes: int = MAX_TABLE_BYTES) -> bytes:
        """A file's content. Raises ValueError, before reading it, if it has more than `max_bytes` bytes."""
        _check_size((self.root / name).stat().st_size, max_bytes)
        return (self.root / name).read_bytes()

    def exists(self, name: str) -> bool:
        return os.path.isfile(self.root / name)  # False, not an error, for an invalid file name

    def list_names(self, folder: str = "") -> list[str]:
        """The files and folders directly in a folder; [] if there is no such folder."""
        try:
            return sorted(os.listdir(self.root / folder)) if os.path.isdir(self.root / folder) else []
        except OSError as error:
            raise InputError(f"{self._key}: {self.root / folder} cannot be listed: {error.strerror}") from None

    def list_files(self) -> list[str]:
        """The paths of all files, at any depth."""

        def refuse(error: OSError) -> None:
            raise InputError(f"{self._key}: {error.filename} cannot be listed: {error.strerror}") from None

        paths = [Path(folder, name) for folder, _, names in os.walk(self.root, onerror=refuse) for name in names]
        return sorted(path.relative_to(self.root).as_posix() for path in paths)

    def locate(self, name: str) -> Path | None:
        """The file's path; None if a link leads out of the folder."""
        path = self.root / name
        return path if Path(os.path.realpath(path)).is_relative_to(self._real_root) else None

    def version(self, name: str) -> str | None:
        return None  # the content itself can be hashed


class RemoteFolder:
    """A folder in Google Cloud Storage (gs://) or in a dataset on the Hub (hf://), listed once."""

    def __init__(self, url: str, key: str) -> None:
        self.root = url.rstrip("/")
        self.versions = _list_bucket(self.root, key) if url.startswith("gs://") else _list_repository(self.root)
        if not self.versions:
            raise InputError(f"{key}: there is no folder {url}")

    def read(self, name: str, max_bytes: int = MAX_TABLE_BYTES) -> bytes:
        """As `LocalFolder.read`."""
        return download_file(f"{self.root}/{name}", max_bytes)

    def exists(self, name: str) -> bool:
        return name in self.versions

    def list_names(self, folder: str = "") -> list[str]:
        start = folder and folder + "/"
        return sorted({name[len(start) :].partition("/")[0] for name in self.versions if name.startswith(start)})

    def list_files(self) -> list[str]:
        return sorted(self.versions)

    def locate(self, name: str) -> str | None:
        return f"{self.root}/{name}"

    def version(self, name: str) -> str | None:
        return self.versions.get(name)


def open_folder(root: str | Path, key: str = "[corpus] path") -> LocalFolder | RemoteFolder:
    """The files of a folder that `key` of the profile names. Raises `InputError` if there is none."""
    return RemoteFolder(str(root), key) if str(root).startswith(REMOTE_SCHEMES) else LocalFolder(Path(root), key)


def _list_bucket(url: str, key: str) -> dict[str, str]:
    """The files below a folder of Google Cloud Storage, each with its checksum."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    prefix = prefix and prefix + "/"
    try:
        blobs = list(_client().list_blobs(bucket, prefix=prefix))
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise InputError(f"{key}: {url} cannot be listed: {first_line(error)}") from None
    return {blob.name.removeprefix(prefix): blob.crc32c for blob in blobs}


def _list_repository(url: str) -> dict[str, str]:
    """The files of a dataset on the Hub at one commit, each with the URL, which changes with the commit."""
    from huggingface_hub import HfFileSystem

    start = url.removeprefix("hf://") + "/"
    return {name.removeprefix(start): url for name in HfFileSystem().find(url)}


@cache
def _client() -> Client:
    from google.cloud import storage

    return storage.Client()


os.register_at_fork(after_in_child=_client.cache_clear)  # two processes cannot share a connection


def open_file(path: str) -> IO[bytes]:
    """A local file, or one on the Hub that is downloaded as far as it is read. Raises FileNotFoundError."""
    if not path.startswith("hf://"):
        return open(path, "rb")
    from huggingface_hub import HfFileSystem

    return HfFileSystem().open(path, "rb")


def _check_size(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise ValueError(f"it has {size:,} bytes; at most {max_bytes:,} are read")


def download_file(url: str, max_bytes: int | None = None) -> bytes:
    """A remote file's content; the clients retry transient errors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has more than `max_bytes` bytes; raised before any of it is read.
    """
    if url.startswith("hf://"):
        with open_file(url) as file:
            _check_size(file.seek(0, os.SEEK_END), max_bytes)
            file.seek(0)
            return file.read()
    from google.api_core.exceptions import NotFound

    bucket, _, name = url.removeprefix("gs://").partition("/")
    try:
        blob = _client().bucket(bucket).blob(name)
        if max_bytes is not None:
            blob.reload()
            _check_size(blob.size or 0, max_bytes)
        return blob.download_as_bytes()
    except NotFound:
        raise FileNotFoundError(url) from None


def download_audio(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with remote audio downloaded, some files ahead; None replaces the audio of a missing file."""

    def download(url: str) -> bytes | None:
        try:
            return download_file(url)
        except FileNotFoundError:
            return None

    by_file = (list(group) for _, group in itertools.groupby(rows, key=lambda row: row.audio))
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        while batch := list(itertools.islice(by_file, PARALLEL_DOWNLOADS)):
            urls = [audio for (row, *_) in batch if isinstance(audio := row.audio, str)]
            downloads = {url: pool.submit(download, url) for url in urls}
            for row in itertools.chain.from_iterable(batch):
                yield replace(row, audio=downloads[row.audio].result()) if isinstance(row.audio, str) else row


def resolve_path(folder: str, name: str) -> str | None:
    """The path, from the corpus root, of a file that metadata in `folder` names; None if it leads out of the folder.

    >>> resolve_path("train", "clips/1.flac"), resolve_path("train", "../../etc/passwd")
    ('train/clips/1.flac', None)
    """
    if not name or "\0" in name or posixpath.isabs(name):
        return None
    path = posixpath.normpath(posixpath.join(folder, name))
    return path if path.startswith(folder and folder + "/") and not path.startswith("..") and path != "." else None


def match_spelling(files: LocalFolder | RemoteFolder, path: str | None) -> str | None:
    """The path in the Unicode form of the existing file: macOS decomposes å in names, metadata often does not."""
    forms = [path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))] if path else []
    return next((form for form in forms if files.exists(form)), path)
