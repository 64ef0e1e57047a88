"""A small Mozilla Data Collective over real HTTP on loopback, for its own client, `datacollective`.

It answers the client's requests for a download: a dataset's details, which are public, a download session, which
needs the key, and the archive itself from a signed address, whole or from a byte onwards. The statuses are those
that the client's source distinguishes; the messages are this server's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from servers.local import LocalServer

SIGNED = "signature=0123456789abcdef"  # must never be shown: it gives anyone access to the archive
REFUSALS = {
    "paid": (HTTPStatus.PAYMENT_REQUIRED, "This dataset has to be bought first."),
    "terms": (HTTPStatus.FORBIDDEN, "Agree to the dataset's terms on its page first."),
    "busy": (HTTPStatus.TOO_MANY_REQUESTS, "Slow down."),
    "ill": (HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke."),
}


class Collective(LocalServer):
    """A Collective of archives, by id, for a `with` block."""

    def __init__(self, archives: dict[str, Path], key: str = "right-key") -> None:
        self.archives = archives
        self.key = key
        self.refusal: str | None = None  # one of REFUSALS, instead of a download's session
        self.withdrawn: set[str] = set()
        self.details: dict[str, object] = {}  # returned instead of the true ones
        self.session: object = None  # returned as the whole session, likewise
        self.breaks_at: list[int] = []  # bytes after which the next downloads break off, one number for each
        self.requests: list[str] = []  # "METHOD path STATUS", in order of arrival
        self.ranges: list[str | None] = []  # the Range headers of the downloads

    def make_server(self) -> _Server:
        return _Server(self)

    @property
    def url(self) -> str:
        """What goes into the client's MDC_API_URL."""
        return f"http://127.0.0.1:{self._server.server_port}/api"

    def env(self) -> dict[str, str]:
        return {"MDC_API_URL": self.url, "MDC_API_KEY": self.key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def dataset_details(self, id: str) -> dict[str, object]:
        archive = self.archives[id]
        content = archive.read_bytes()
        file = {"checksum": hashlib.sha256(content).hexdigest(), "sizeBytes": len(content), "filename": archive.name}
        return {"id": id, "name": id, **file, **self.details}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collective: Collective) -> None:
        self.collective = collective
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        collective = self.server.collective
        kind, _, id = self.path.partition("?")[0].removeprefix("/").partition("/")
        if kind == "archives" and self.path.endswith(SIGNED) and id in collective.archives:
            self._send_archive(collective.archives[id].read_bytes())
        elif (id := self.path.removeprefix("/api/datasets/")) in collective.withdrawn:
            self._send_json(HTTPStatus.GONE, {"error": "gone"})
        elif id in collective.archives:
            self._send_json(HTTPStatus.OK, collective.dataset_details(id))
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "Dataset not found"})

    def do_POST(self) -> None:
        collective = self.server.collective
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match = re.fullmatch(r"/api/datasets/([^/]+)/download", self.path)
        authorization = self.headers.get("Authorization", "")
        if authorization != f"Bearer {collective.key}":
            # The worst that a server might answer: it shows the key.
            self._send_json(HTTPStatus.UNAUTHORIZED, {"error": f"Invalid API key: {authorization}"})
        elif collective.refusal:
            status, message = REFUSALS[collective.refusal]
            self._send_json(status, {"message": f"{message}\nYou sent: {authorization}"})
        elif not match or match[1] not in collective.archives:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "Dataset not found"})
        elif collective.session is not None:
            self._send_json(HTTPStatus.OK, collective.session)
        else:
            address = f"{collective.url.removesuffix('/api')}/archives/{match[1]}?{SIGNED}"
            self._send_json(HTTPStatus.OK, {**collective.dataset_details(match[1]), "downloadUrl": address})

    def _send_archive(self, content: bytes) -> None:
        collective = self.server.collective
        requested_range = self.headers.get("Range")
        collective.ranges.append(requested_range)
        start = int(requested_range.removeprefix("bytes=").removesuffix("-")) if requested_range else 0
        if requested_range and start >= len(content):
            self._send_json(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {})
            return
        self._send_headers(HTTPStatus.PARTIAL_CONTENT if requested_range else HTTPStatus.OK, len(content) - start)
        end = collective.breaks_at.pop(0) if collective.breaks_at else len(content)
        self.wfile.write(content[start:end])

    def _send_json(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self._send_headers(status, len(body))
        self.wfile.write(body)

    def _send_headers(self, status: int, length: int) -> None:
        self.server.collective.requests.append(f"{self.command} {self.path.partition('?')[0]} {int(status)}")
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
