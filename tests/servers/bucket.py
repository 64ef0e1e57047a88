"""A Google Cloud Storage bucket on loopback: gcp-storage-emulator, in memory, in its own process.

The process ends with the block, or when its parent dies in any way: its standard input closes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import storage

# google.auth wants credentials before it sends anything; these never expire and open nothing.
CREDENTIALS = {
    "type": "authorized_user",
    "client_id": "x",
    "client_secret": "x",
    "refresh_token": "x",
    "token": "x",
    "expiry": "2099-01-01T00:00:00Z",
}


class Bucket:
    """An empty bucket for a `with` block; the credentials file goes into `scratch`."""

    def __init__(self, scratch: Path, name: str = "speech") -> None:
        self.name = name
        self.url = f"gs://{name}"
        self._credentials = scratch / "credentials.json"

    def __enter__(self) -> Bucket:
        command = [sys.executable, __file__, self.name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        port = self._process.stdout.readline().strip()
        assert port, "the storage emulator did not start"
        self.endpoint = f"http://127.0.0.1:{port}"
        self._credentials.write_text(json.dumps(CREDENTIALS), encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)  # closes its standard input

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that point a process to this bucket instead of Google's."""
        return {
            "STORAGE_EMULATOR_HOST": self.endpoint,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self._credentials),
            "GOOGLE_CLOUD_PROJECT": "tests",
        }

    def env(self) -> dict[str, str]:
        """The whole environment of a client process."""
        return {**os.environ, **self.settings, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def client(self) -> storage.Client:
        """A `google.cloud.storage.Client` in this process, without any change to its environment."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project="tests", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.endpoint}
        )

    def put(self, folder: Path, prefix: str = "") -> list[str]:
        """Uploads every file below `folder` and returns the names of the objects."""
        bucket = self.client().bucket(self.name)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = ["/".join(filter(None, [prefix.strip("/"), file.relative_to(folder).as_posix()])) for file in files]
        for name, file in zip(names, files, strict=True):
            bucket.blob(name).upload_from_filename(str(file))
        return names


def serve(bucket: str) -> None:
    """Serves an empty bucket in memory, prints its port, and stops when standard input closes."""
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    logging.disable(logging.CRITICAL)
    storage = Storage(use_memory_fs=True)
    create_bucket(bucket, storage)
    server = HTTPServer(("127.0.0.1", 0), partial(RequestHandler, storage))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
