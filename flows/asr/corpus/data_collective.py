"""Archives of the Mozilla Data Collective, which distributes Common Voice: downloaded once, into the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from asr import InputError
from asr.corpus.archives import build_once, cache_folder, describe_error, missing_space, report_progress

KEYS_URL = "https://mozilladatacollective.com/api-reference"


def download_archive(id: str, cache: Path | None = None) -> Path:
    """Download the archive of a dataset of the Mozilla Data Collective, by its id or slug; returns its path.

    Uses the official client, which resumes an interrupted download. A cached archive is not requested again and needs
    no key.

    Raises:
        InputError: no key, no such dataset, no permission, no connection or no disk space.
    """
    if not re.fullmatch(r"\w[\w.-]{,99}", id, re.ASCII):
        raise InputError(f"[corpus] id: {id!r} is no id or slug of the Mozilla Data Collective")
    try:
        folder = build_once((cache or cache_folder()) / "fetched" / id, lambda partial: _download(id, partial))
        if archive := next(folder.iterdir(), None):
            return archive
    except OSError as error:
        raise InputError(f"[corpus] id: {id} cannot be fetched: {describe_error(error)}") from None
    raise InputError(f"[corpus] id: {folder} is empty; remove it to fetch {id} again")


def _download(id: str, folder: Path) -> None:
    """Create the folder with the archive alone; an interrupted download stays in it."""
    import datacollective  # also reads a .env, as its documentation says
    from datacollective.errors import DownloadError

    if not re.fullmatch(r"[!-~]+", os.environ.get("MDC_API_KEY", "")):
        raise InputError(f"[corpus] id: to fetch {id}, set MDC_API_KEY in the environment to a key from {KEYS_URL}")
    folder.mkdir(exist_ok=True)
    try:
        details = datacollective.get_dataset_details(id)
        name, size = details.filename or "", int(details.sizeBytes or 0)
        if not name.strip(".") or "/" in name or not name.isprintable():
            raise InputError(f"[corpus] id: {id} cannot be fetched: its archive is called {name!r}")
        partial = folder / f"{name}.part"
        downloaded = _file_size(partial)
        if shortage := missing_space(folder, size - downloaded):
            raise InputError(f"[corpus] id: {id} {shortage}")
        with report_progress(f"fetching {name}", lambda: _file_size(partial) / max(size, 1)):
            # For a complete partial file the client would request bytes past its end, and fail every time.
            datacollective.download_dataset(details.id, str(folder), False, overwrite_existing=0 < size <= downloaded)
    except (OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, DownloadError) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise InputError(f"[corpus] id: {id} cannot be fetched: {_explain(error)}") from None
    finally:
        with suppress(OSError):
            folder.rmdir()  # if nothing was downloaded
    archive = folder / name
    for other in set(folder.iterdir()) - {archive}:
        other.unlink()  # partial files of an older release
    if (size and _file_size(archive) != size) or not _matches(archive, details.checksum or ""):
        shutil.rmtree(folder)
        raise InputError(f"[corpus] id: {id} did not arrive as announced, and was removed; run again to fetch it")


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _matches(archive: Path, checksum: str) -> bool:
    """Whether the SHA-256 matches; checksums of other kinds are ignored."""
    if not re.fullmatch("[0-9a-f]{64}", checksum):
        return True
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checksum


def _explain(error: Exception) -> str:
    """The client's error in one line, without the key."""
    import requests
    from datacollective import AuthenticationError, RateLimitError, ResourceRemovedError
    from datacollective.errors import DownloadError

    match error:
        case DownloadError():
            cause = getattr(error.__cause__, "strerror", None) or type(error.__cause__).__name__
            progress = f"{error.total_downloaded_bytes} of {error.total_archive_bytes}"
            return f"the download was interrupted at {progress} ({cause}); run again to resume"
        case AuthenticationError():
            return f"the key in MDC_API_KEY is wrong, expired or revoked; a new one comes from {KEYS_URL}"
        case ResourceRemovedError():
            return "it was withdrawn"
        case OSError(errno=int()):
            return describe_error(error)
        case FileNotFoundError():
            return "there is no such id or slug"
        case PermissionError() | RateLimitError() | requests.HTTPError():
            return describe_error(error).replace(os.environ["MDC_API_KEY"], "***")[:400]
        case requests.RequestException():
            return f"no connection to {os.environ.get('MDC_API_URL') or 'mozilladatacollective.com'}"
        case _:
            return "the answer makes no sense to its client"
