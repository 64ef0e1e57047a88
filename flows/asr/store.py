"""Blobs in the flow's datastore, local or cloud alike: shards, and what trials and releases weigh.

Artifacts are pickled and gzipped, which is slow for what does not compress; the content store under them
keeps bytes as they are (200 MB in 0.65 s). A blob's key is its hash: the same content is kept once.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Store:
    """The content store of a running step's flow."""

    def __init__(self, flow: Any) -> None:
        # Metaflow offers flows no public way to it; task and flow datastores both hold it.
        self._blobs = flow._datastore._ca_store

    def put(self, blob: bytes) -> str:
        """Keep the blob; its key."""
        return str(self._blobs.save_blobs([blob], raw=True)[0].key)

    def fetch(self, keys: Iterable[str], folder: Path) -> list[Path]:
        """The blobs as files of the folder, in the keys' order, one in memory at a time."""
        wanted = list(keys)
        folder.mkdir(parents=True, exist_ok=True)
        for key, blob in self._blobs.load_blobs(wanted):
            (folder / key).write_bytes(blob)
        return [folder / key for key in wanted]

    def put_folder(self, folder: Path) -> str:
        """Keep a folder's files as one blob that depends on names and contents alone; its key."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        return self.put(file.getvalue())

    def fetch_folder(self, key: str, folder: Path) -> Path:
        """The folder's files again, below `folder`."""
        for _, blob in self._blobs.load_blobs([key]):
            with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
                archive.extractall(folder, filter="data")
        return folder
