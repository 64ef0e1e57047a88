"""A small Mozilla Data Collective over real HTTP on loopback, for its own client, `datacollective`.

It answers what the client asks in order to download: a data set's details, which are public, a download's
session, which needs the key, and the archive itself from a signed address, whole or from a byte onwards. The
statuses are those that the client's source tells apart; the words are this server's.
"""

from __future__ import annotations

import hashlib
import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from servers.local import Served

SIGNED = "signature=0123456789abcdef"  # what must not be told on: it opens the archive to everyone
REFUSALS = {
    "paid": (HTTPStatus.PAYMENT_REQUIRED, "This dataset has to be bought first."),
    "terms": (HTTPStatus.FORBIDDEN, "Agree to the dataset's terms on its page first."),
    "busy": (HTTPStatus.TOO_MANY_REQUESTS, "Slow down."),
    "ill": (HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke."),
}


class Collective(Served):
    """The Collective of some archives by id, from `with` to the end of its block."""

    def __init__(self, archives: dict[str, Path], key: str = "right-key") -> None:
        self.archives = archives
        self.key = key
        self.refusal: str | None = None  # one of REFUSALS, instead of a download's session
        self.withdrawn: set[str] = set()
        self.details: dict[str, object] = {}  # returned instead of the true ones
        self.session: object = None  # likewise, the whole of it
        self.breaks_at: list[int] = []  # bytes after which the next downloads break off, one after the other
        self.requests: list[str] = []  # "METHOD path STATUS", in the order of their coming
        self.ranges: list[str | None] = []  # as the downloads asked for them

    def server(self) -> _Server:
        return _Server(self)

    @property
    def url(self) -> str:
        """What goes into the client's MDC_API_URL."""
        return f"http://127.0.0.1:{self._server.server_port}/api"

    def env(self) -> dict[str, str]:
        return {"MDC_API_URL": self.url, "MDC_API_KEY": self.key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def told(self, id: str) -> dict[str, object]:
        archive = self.archives[id]
        content = archive.read_bytes()
        known = {"checksum": hashlib.sha256(content).hexdigest(), "sizeBytes": len(content), "filename": archive.name}
        return {"id": id, "name": id, **known, **self.details}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collective: Collective) -> None:
        self.collective = collective
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        here = self.server.collective
        kind, _, id = self.path.partition("?")[0].removeprefix("/").partition("/")
        if kind == "archives" and self.path.endswith(SIGNED) and id in here.archives:
            self._send_archive(here.archives[id].read_bytes())
        elif (id := self.path.removeprefix("/api/datasets/")) in here.withdrawn:
            self._say(HTTPStatus.GONE, {"error": "gone"})
        elif id in here.archives:
            self._say(HTTPStatus.OK, here.told(id))
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "Dataset not found"})

    def do_POST(self) -> None:
        here = self.server.collective
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = re.fullmatch(r"/api/datasets/([^/]+)/download", self.path)
        said = self.headers.get("Authorization", "")
        if said != f"Bearer {here.key}":
            self._say(HTTPStatus.UNAUTHORIZED, {"error": f"Invalid API key: {said}"})  # the worst it might say
        elif here.refusal:
            status, message = REFUSALS[here.refusal]
            self._say(status, {"message": f"{message}\nYou sent: {said}"})
        elif not found or found[1] not in here.archives:
            self._say(HTTPStatus.NOT_FOUND, {"error": "Dataset not found"})
        elif here.session is not None:
            self._say(HTTPStatus.OK, here.session)
        else:
            address = f"{here.url.removesuffix('/api')}/archives/{found[1]}?{SIGNED}"
            self._say(HTTPStatus.OK, {**here.told(found[1]), "downloadUrl": address})

    def _send_archive(self, content: bytes) -> None:
        here = self.server.collective
        asked = self.headers.get("Range")
        here.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and start >= len(content):
            self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {})
            return
        self._begin(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, len(content) - start)
        end = here.breaks_at.pop(0) if here.breaks_at else len(content)
        self.wfile.write(content[start:end])

    def _say(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self._begin(status, len(body))
        self.wfile.write(body)

    def _begin(self, status: int, length: int) -> None:
        self.server.collective.requests.append(f"{self.command} {self.path.partition('?')[0]} {int(status)}")
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
