"""Archives of the Mozilla Data Collective, where Common Voice is given out: fetched once, into the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from asr import InputError
from asr.corpus.archives import cache_folder, lack, line, once, told

KEYS = "https://mozilladatacollective.com/api-reference"


def fetched(id: str, cache: Path | None = None) -> Path:
    """The archive of a data set of the Mozilla Data Collective, by its id or slug there.

    Its own client downloads it, and takes up a download that broke off. What was fetched once is not asked
    for again, with or without a key. Raises `InputError` where there is no key, no such data set, no leave to
    have it, no connection or no room.
    """
    if not re.fullmatch(r"\w[\w.-]{,99}", id, re.ASCII):
        raise InputError(f"[corpus] id: {id!r} is no id or slug of the Mozilla Data Collective")
    try:
        folder = once((cache or cache_folder()) / "fetched" / id, lambda partial: _fetch(id, partial))
        if archive := next(folder.iterdir(), None):
            return archive
    except OSError as error:
        raise InputError(f"[corpus] id: {id} cannot be fetched: {line(error)}") from None
    raise InputError(f"[corpus] id: {folder} is empty; remove it to fetch {id} again")


def _fetch(id: str, folder: Path) -> None:
    """Makes the folder of the archive alone; what came of a download that broke off stays in it."""
    import datacollective  # it reads a .env too, as its documentation promises
    from datacollective.errors import DownloadError

    if not re.fullmatch(r"[!-~]+", os.environ.get("MDC_API_KEY", "")):
        raise InputError(f"[corpus] id: to fetch {id}, set MDC_API_KEY in the environment to a key from {KEYS}")
    folder.mkdir(exist_ok=True)
    try:
        about = datacollective.get_dataset_details(id)
        name, size = about.filename or "", int(about.sizeBytes or 0)
        if not name.strip(".") or "/" in name or not name.isprintable():
            raise InputError(f"[corpus] id: {id} cannot be fetched: its archive is called {name!r}")
        part = folder / f"{name}.part"
        had = _size(part)
        if missing := lack(folder, size - had):
            raise InputError(f"[corpus] id: {id} {missing}")
        with told(f"fetching {name}", lambda: _size(part) / max(size, 1)):
            # A part that is whole already would be asked for bytes past its end, and that fails for ever.
            datacollective.download_dataset(about.id, str(folder), False, overwrite_existing=0 < size <= had)
    except (OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, DownloadError) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise InputError(f"[corpus] id: {id} cannot be fetched: {_why(error)}") from None
    finally:
        with suppress(OSError):
            folder.rmdir()  # where nothing came
    archive = folder / name
    for other in set(folder.iterdir()) - {archive}:
        other.unlink()  # parts of an older release
    if (size and _size(archive) != size) or not _matches(archive, about.checksum or ""):
        shutil.rmtree(folder)
        raise InputError(f"[corpus] id: {id} did not arrive as announced, and was removed; run again to fetch it")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _matches(archive: Path, checksum: str) -> bool:
    """By SHA-256; a checksum of another kind is not judged."""
    if not re.fullmatch("[0-9a-f]{64}", checksum):
        return True
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checksum


def _why(error: Exception) -> str:
    """The client's error in one line, without the key."""
    import requests
    from datacollective import AuthenticationError, RateLimitError, ResourceRemovedError
    from datacollective.errors import DownloadError

    match error:
        case DownloadError():
            cause = getattr(error.__cause__, "strerror", None) or type(error.__cause__).__name__
            here = f"{error.total_downloaded_bytes} of {error.total_archive_bytes}"
            return f"the download broke off at {here} ({cause}); run again to go on from there"
        case AuthenticationError():
            return f"the key in MDC_API_KEY is wrong, expired or revoked; a new one comes from {KEYS}"
        case ResourceRemovedError():
            return "it was withdrawn"
        case OSError(errno=int()):
            return line(error)
        case FileNotFoundError():
            return "there is no such id or slug"
        case PermissionError() | RateLimitError() | requests.HTTPError():
            return line(error).replace(os.environ["MDC_API_KEY"], "***")[:400]
        case requests.RequestException():
            return f"no connection to {os.environ.get('MDC_API_URL') or 'mozilladatacollective.com'}"
        case _:
            return "the answer makes no sense to its client"
