"""The files below a folder: on this machine, in a bucket (gs://BUCKET/FOLDER) or on the Hub (hf://datasets/ID@COMMIT)."""

from __future__ import annotations

import itertools
import os
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

AWAY = ("gs://", "hf://")
DOWNLOADS = 16  # at once
MOST_BYTES = 1 << 30  # of a table of clips: ten million lines of a hundred letters


class Here:
    """A folder on this machine."""

    def __init__(self, root: Path, key: str) -> None:
        if not os.path.isdir(root):
            raise InputError(f"{key}: there is no folder {root}")
        self.root, self._real, self._key = root, os.path.realpath(root), key

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """A file's content. Raises ValueError, before any of it is read, where it has more than `most` bytes."""
        _check_size((self.root / name).stat().st_size, most)
        return (self.root / name).read_bytes()

    def has(self, name: str) -> bool:
        return os.path.isfile(self.root / name)  # False, and no error, for what cannot be a file's name

    def names(self, folder: str = "") -> list[str]:
        """The files and folders that lie directly in a folder; [] where there is no such folder."""
        try:
            return sorted(os.listdir(self.root / folder)) if os.path.isdir(self.root / folder) else []
        except OSError as error:
            raise InputError(f"{self._key}: {self.root / folder} cannot be listed: {error.strerror}") from None

    def every(self) -> list[str]:
        """The paths of all files in it, at any depth."""

        def closed(error: OSError) -> None:
            raise InputError(f"{self._key}: {error.filename} cannot be listed: {error.strerror}") from None

        found = [Path(folder, name) for folder, _, names in os.walk(self.root, onerror=closed) for name in names]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def place(self, name: str) -> Path | None:
        """Where the file is; None where a link leads out of the folder."""
        path = self.root / name
        return path if Path(os.path.realpath(path)).is_relative_to(self._real) else None

    def version(self, name: str) -> str | None:
        return None  # its content is at hand


class Away:
    """A folder that is elsewhere, listed once: in Google Cloud Storage (gs://) or of a data set of the Hub (hf://)."""

    def __init__(self, url: str, key: str) -> None:
        self.root = url.rstrip("/")
        self.versions = _bucket(self.root, key) if url.startswith("gs://") else _repository(self.root)
        if not self.versions:
            raise InputError(f"{key}: there is no folder {url}")

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """As it is read here."""
        return download(f"{self.root}/{name}", most)

    def has(self, name: str) -> bool:
        return name in self.versions

    def names(self, folder: str = "") -> list[str]:
        start = folder and folder + "/"
        return sorted({name[len(start) :].partition("/")[0] for name in self.versions if name.startswith(start)})

    def every(self) -> list[str]:
        return sorted(self.versions)

    def place(self, name: str) -> str | None:
        return f"{self.root}/{name}"

    def version(self, name: str) -> str | None:
        return self.versions.get(name)


def below(root: str | Path, key: str = "[corpus] path") -> Here | Away:
    """The files of a folder that `key` of the profile names. Raises `InputError` where there is none."""
    return Away(str(root), key) if str(root).startswith(AWAY) else Here(Path(root), key)


def _bucket(url: str, key: str) -> dict[str, str]:
    """The files below a folder of Google Cloud Storage, each with its checksum."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    prefix = prefix and prefix + "/"
    try:
        found = list(_client().list_blobs(bucket, prefix=prefix))
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise InputError(f"{key}: {url} cannot be listed: {first_line(error)}") from None
    return {blob.name.removeprefix(prefix): blob.crc32c for blob in found}


def _repository(url: str) -> dict[str, str]:
    """The files of a data set on the Hub at one commit."""
    from huggingface_hub import HfFileSystem

    start = url.removeprefix("hf://") + "/"
    return {name.removeprefix(start): url for name in HfFileSystem().find(url)}


@cache
def _client() -> Client:
    from google.cloud import storage

    return storage.Client()


os.register_at_fork(after_in_child=_client.cache_clear)  # two processes cannot talk over one connection


def opened(place: str) -> IO[bytes]:
    """A file here, or of the Hub and then read as far as it is asked for. Raises FileNotFoundError."""
    if not place.startswith("hf://"):
        return open(place, "rb")
    from huggingface_hub import HfFileSystem

    return HfFileSystem().open(place, "rb")


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise ValueError(f"it has {size:,} bytes, and {most:,} are the most that are read")


def download(url: str, most: int | None = None) -> bytes:
    """A file's content; the clients repeat what fails in passing. Raises FileNotFoundError where there is none, and
    ValueError, before any of it is read, where it has more than `most` bytes.
    """
    if url.startswith("hf://"):
        with opened(url) as file:
            _check_size(file.seek(0, os.SEEK_END), most)
            file.seek(0)
            return file.read()
    from google.api_core.exceptions import NotFound

    bucket, _, name = url.removeprefix("gs://").partition("/")
    try:
        blob = _client().bucket(bucket).blob(name)
        if most is not None:
            blob.reload()
            _check_size(blob.size or 0, most)
        return blob.download_as_bytes()
    except NotFound:
        raise FileNotFoundError(url) from None


def fetched(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with audio that is within reach: what is elsewhere is downloaded, some files ahead."""

    def fetch(url: str) -> bytes | None:
        try:
            return download(url)
        except FileNotFoundError:
            return None

    by_file = (list(group) for _, group in itertools.groupby(rows, key=lambda row: row.audio))
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        while ahead := list(itertools.islice(by_file, DOWNLOADS)):
            remote = {audio: pool.submit(fetch, audio) for (row, *_) in ahead if isinstance(audio := row.audio, str)}
            for row in itertools.chain.from_iterable(ahead):
                yield replace(row, audio=remote[row.audio].result()) if isinstance(row.audio, str) else row
