"""An HTTP proxy before the storage emulator: it counts what passes, and makes a bucket fail as a real one does.

    with Bucket(scratch) as bucket, Proxy(bucket.endpoint, faults=0.1, seed=0) as proxy:
        env = {**bucket.settings, **proxy.settings}

A client whose STORAGE_EMULATOR_HOST names the proxy meets the emulator through it alone: Location headers and media
links are rewritten. Whether a request meets a fault is drawn from the seed, the request itself and how often it came,
so threads that overtake each other change nothing, and what is tried again is drawn again.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from servers.local import Served

# 503, 429: instead of an answer; drop: the connection ends before the request is passed on; cut: it ends halfway
# through what is downloaded; lost: an upload is taken, and then the connection ends without a word of it.
ALWAYS, OF_READS, OF_WRITES = ("503", "429", "drop"), ("cut",), ("lost",)
PIECE = 1 << 16  # bytes passed on at once
HOPS = {"connection", "keep-alive", "host", "content-length", "transfer-encoding", "server", "date"}


@dataclass(frozen=True)
class Passed:
    """A request as it came, and what became of it."""

    method: str
    kind: str  # read: an object's content; write: an upload; list; look: whatever else, metadata mostly
    name: str  # of the object; of a list, its prefix
    up: int  # bytes of its body
    down: int = 0  # bytes of the answer's body
    status: int = 0  # 0 where the connection ended before
    fault: str = ""
    began: float = 0.0  # seconds since the epoch
    ended: float = 0.0  # when its answer began


@dataclass(frozen=True)
class Traffic:
    """Requests together."""

    requests: int = 0
    up: int = 0  # bytes, without headers
    down: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.requests + other.requests, self.up + other.up, self.down + other.down)


@dataclass
class Wanted:
    """Faults that a test orders."""

    fault: str
    match: str  # a pattern, found in "METHOD kind name"
    times: int


@dataclass(frozen=True)
class Answer:
    """What a client is told, or would have been."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy(Served):
    """The proxy of an endpoint, from `with` to the end of its block.

    `faults` is the share of requests that meet one, `latency` the seconds that each waits before it is looked at.
    """

    def __init__(self, endpoint: str, faults: float = 0.0, seed: int = 0, latency: float = 0.0) -> None:
        self.endpoint, self.share, self.seed, self.latency = endpoint, faults, seed, latency
        self.faults: Counter[str] = Counter()  # what it did, by kind of fault
        self.passed: list[Passed] = []  # in the order of their answers
        self.wanted: list[Wanted] = []
        self.sessions: dict[str, str] = {}  # upload_id: the object's name
        self.unheard: dict[str, Answer] = {}  # answers that were lost, by the request's target
        self.upstream = threading.Lock()  # the emulator serves one at a time, and lets few wait
        self._turn, self._came = threading.Lock(), Counter[str]()

    def server(self) -> _Server:
        return _Server(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """What a process needs in its environment, over the bucket's own settings."""
        return {"STORAGE_EMULATOR_HOST": self.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def inject(self, fault: str, match: str = "", times: int = 1) -> None:
        """Let the next requests that match, and can, meet this fault."""
        self.wanted.append(Wanted(fault, match, times))

    def fault(self, request: Passed) -> str:
        """The fault that a request meets; an empty word where it meets none."""
        possible = ALWAYS + (OF_READS if request.kind == "read" else OF_WRITES if request.kind == "write" else ())
        told = f"{request.method} {request.kind} {request.name}"
        with self._turn:
            self._came[told] += 1
            for order in self.wanted:
                if order.times and order.fault in possible and re.search(order.match, told):
                    order.times -= 1
                    return order.fault
            drawn = random.Random(f"{self.seed} {told} {self._came[told]}")
        return drawn.choice(possible) if drawn.random() < self.share else ""

    def note(self, passed: Passed) -> None:
        with self._turn:
            self.passed.append(passed)
            self.faults.update([passed.fault] if passed.fault else [])

    def traffic(self, prefix: str = "", since: float = 0.0, until: float = float("inf")) -> dict[str, Traffic]:
        """What passed below a prefix of objects' names, by kind; of a stretch of time, what began in it."""
        told: defaultdict[str, Traffic] = defaultdict(Traffic)
        with self._turn:
            for one in self.passed:
                if one.name.startswith(prefix) and since <= one.began < until:
                    told[one.kind] += Traffic(1, one.up, one.down)
        return dict(told)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # Metaflow and our downloads have dozens of threads

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is said of a client that went away, killed perhaps."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a header waits 40 ms for its body

    def do_GET(self) -> None:
        began, size = time.time(), int(self.headers.get("Content-Length") or 0)
        self.left = size
        self.head = self._read()
        request = replace(self._understood(), up=size, began=began)
        time.sleep(self.server.proxy.latency)
        self.passing = replace(request, fault=self.server.proxy.fault(request))
        self._answer(self.passing.fault)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _answer(self, fault: str) -> None:
        unheard = self.server.proxy.unheard
        if fault in ALWAYS or self.path in unheard:
            for _ in self._body():  # a client that is still sending hears nothing
                pass
        if fault in ("503", "429"):
            self._say(Answer(int(fault), [("Content-Type", "text/plain")], b"as the test wants it"))
        elif fault == "drop" or (fault and self.path in unheard):
            self._hang_up()
        elif self.path in unheard:  # Google tells of a finished upload as often as it is asked, the emulator but once
            self._say(unheard.pop(self.path))
        else:
            with self.server.proxy.upstream:
                self._pass_on(fault)

    def _pass_on(self, fault: str) -> None:
        proxy, request = self.server.proxy, self.passing
        there = HTTPConnection(urlsplit(proxy.endpoint).netloc)
        there.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOPS:
                there.putheader(name, value)
        there.putheader("Content-Length", str(request.up))
        there.endheaders()
        for piece in self._body():
            there.send(piece)
        answer = there.getresponse()
        try:
            headers = [(name, self._ours(value)) for name, value in answer.getheaders() if name.lower() not in HOPS]
            if request.kind == "read":
                return self._stream(answer, headers, fault == "cut")
            body = self._ours(answer.read().decode()).encode()
        finally:
            there.close()
        self._remember(headers, request)
        said = Answer(answer.status, headers, body)
        if fault == "lost":
            if "upload_id" in self.path:
                proxy.unheard[self.path] = said
            self._hang_up()
        else:
            self._say(said)

    def _stream(self, answer: HTTPResponse, headers: list[tuple[str, str]], cut: bool) -> None:
        size = int(answer.headers["Content-Length"])
        left = size // 2 if cut else size
        self._note(answer.status, left)
        self._begin(answer.status, headers, size)
        while piece := answer.read(min(PIECE, left)):
            self.wfile.write(piece)
            left -= len(piece)
        self.close_connection = self.close_connection or cut

    def _understood(self) -> Passed:
        """What the request is about."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        name = unquote(url.path.partition("/o/")[2])
        if url.path.startswith("/upload/"):
            session = query.get("upload_id", [""])[0]
            return Passed(self.command, "write", self.server.proxy.sessions.get(session) or self._named(query), 0)
        if url.path.startswith("/download/") or query.get("alt") == ["media"]:
            return Passed(self.command, "read", name, 0)
        if url.path.endswith("/o") and self.command == "GET":
            return Passed(self.command, "list", query.get("prefix", [""])[0], 0)
        return Passed(self.command, "look", name, 0)

    def _named(self, query: dict[str, list[str]]) -> str:
        """The name of an object that is to be: in the query, or in the JSON that the body begins with."""
        if "name" in query:
            return query["name"][0]
        text = self.head.decode("utf-8", "replace")
        return str(json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["name"])

    def _remember(self, headers: list[tuple[str, str]], request: Passed) -> None:
        """Which object an upload in several requests is of."""
        for name, value in headers:
            if name.lower() == "location":
                self.server.proxy.sessions[parse_qs(urlsplit(value).query)["upload_id"][0]] = request.name

    def _ours(self, text: str) -> str:
        return text.replace(self.server.proxy.endpoint, self.server.proxy.url)

    def _read(self) -> bytes:
        piece = self.rfile.read(min(PIECE, self.left))
        self.left -= len(piece)
        return piece

    def _body(self) -> Iterator[bytes]:
        """The request's body, of which the head is read already."""
        yield self.head
        while self.left and (piece := self._read()):
            yield piece

    def _begin(self, status: int, headers: list[tuple[str, str]], size: int) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(size))]:
            self.send_header(name, value)
        self.end_headers()

    def _say(self, answer: Answer) -> None:
        self._note(answer.status, len(answer.body))
        self._begin(answer.status, answer.headers, len(answer.body))
        self.wfile.write(answer.body)

    def _hang_up(self) -> None:
        self._note(0, 0)
        self.close_connection = True

    def _note(self, status: int, down: int) -> None:
        """Before the answer, so that a client that has it finds it counted."""
        self.server.proxy.note(replace(self.passing, status=status, down=down, ended=time.time()))

    def log_message(self, format: str, *arguments: object) -> None:
        pass
