"""An HTTP proxy before the storage emulator: it counts the requests, and makes a bucket fail as a real one does.

    with Bucket(scratch) as bucket, Proxy(bucket.endpoint, faults=0.1, seed=0) as proxy:
        env = {**bucket.settings, **proxy.settings}

A client whose STORAGE_EMULATOR_HOST names the proxy reaches the emulator only through it: Location headers and media
links are rewritten. Whether a request meets a fault depends on the seed, the request itself and how often it came, so
the order of threads changes nothing, and a retry is drawn anew.
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

from servers.local import LocalServer

# 503, 429: instead of an answer; drop: the connection ends before the request is forwarded; cut: it ends halfway
# through a download; lost: an upload is carried out, and then the connection ends without an answer.
ANY_FAULTS, READ_FAULTS, WRITE_FAULTS = ("503", "429", "drop"), ("cut",), ("lost",)
CHUNK_BYTES = 1 << 16
HOP_HEADERS = {"connection", "keep-alive", "host", "content-length", "transfer-encoding", "server", "date"}


@dataclass(frozen=True)
class Exchange:
    """A request and its outcome."""

    method: str
    kind: str  # read: an object's content; write: an upload; list; metadata: anything else
    name: str  # of the object; of a list, its prefix
    up: int  # bytes of its body
    down: int = 0  # bytes of the answer's body
    status: int = 0  # 0 if the connection ended before
    fault: str = ""
    began: float = 0.0  # seconds since the epoch
    ended: float = 0.0  # when its answer began


@dataclass(frozen=True)
class Traffic:
    """Sums over requests."""

    requests: int = 0
    up: int = 0  # bytes, without headers
    down: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.requests + other.requests, self.up + other.up, self.down + other.down)


@dataclass
class FaultOrder:
    """A fault that a test requests."""

    fault: str
    match: str  # a pattern that is searched for in "METHOD kind name"
    times: int


@dataclass(frozen=True)
class Answer:
    """An answer for a client, sent or lost."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy(LocalServer):
    """The proxy of an endpoint, for a `with` block.

    `faults` is the share of requests that meet one, `latency` the seconds that each request is delayed.
    """

    def __init__(self, endpoint: str, faults: float = 0.0, seed: int = 0, latency: float = 0.0) -> None:
        self.endpoint, self.share, self.seed, self.latency = endpoint, faults, seed, latency
        self.faults: Counter[str] = Counter()  # how often each kind occurred
        self.exchanges: list[Exchange] = []  # in the order of their answers
        self.fault_orders: list[FaultOrder] = []
        self.sessions: dict[str, str] = {}  # upload_id: the object's name
        self.lost_answers: dict[str, Answer] = {}  # by the request's target
        self.upstream = threading.Lock()  # the emulator serves one request at a time, and its queue is short
        self._lock, self._arrivals = threading.Lock(), Counter[str]()

    def make_server(self) -> _Server:
        return _Server(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables for a process, on top of the bucket's own settings."""
        return {"STORAGE_EMULATOR_HOST": self.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def inject(self, fault: str, match: str = "", times: int = 1) -> None:
        """Makes the next matching requests that this fault can hit meet it."""
        self.fault_orders.append(FaultOrder(fault, match, times))

    def fault(self, request: Exchange) -> str:
        """The fault that a request meets, or an empty string."""
        possible = ANY_FAULTS + (
            READ_FAULTS if request.kind == "read" else WRITE_FAULTS if request.kind == "write" else ()
        )
        description = f"{request.method} {request.kind} {request.name}"
        with self._lock:
            self._arrivals[description] += 1
            for order in self.fault_orders:
                if order.times and order.fault in possible and re.search(order.match, description):
                    order.times -= 1
                    return order.fault
            generator = random.Random(f"{self.seed} {description} {self._arrivals[description]}")
        return generator.choice(possible) if generator.random() < self.share else ""

    def record(self, exchange: Exchange) -> None:
        with self._lock:
            self.exchanges.append(exchange)
            self.faults.update([exchange.fault] if exchange.fault else [])

    def traffic(self, prefix: str = "", since: float = 0.0, until: float = float("inf")) -> dict[str, Traffic]:
        """The traffic by kind, of objects whose names begin with `prefix` and requests that began in the given time."""
        traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        with self._lock:
            for exchange in self.exchanges:
                if exchange.name.startswith(prefix) and since <= exchange.began < until:
                    traffic[exchange.kind] += Traffic(1, exchange.up, exchange.down)
        return dict(traffic)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # Metaflow and our downloads use dozens of threads

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a client that went away, for example because it was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise a header waits 40 ms for its body

    def do_GET(self) -> None:
        began, size = time.time(), int(self.headers.get("Content-Length") or 0)
        self.bytes_left = size
        self.first_chunk = self._read_chunk()
        request = replace(self._parse_request(), up=size, began=began)
        time.sleep(self.server.proxy.latency)
        self.exchange = replace(request, fault=self.server.proxy.fault(request))
        self._answer(self.exchange.fault)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _answer(self, fault: str) -> None:
        lost_answers = self.server.proxy.lost_answers
        if fault in ANY_FAULTS or self.path in lost_answers:
            for _ in self._body():  # a client that is still sending does not read an answer
                pass
        if fault in ("503", "429"):
            self._send_answer(Answer(int(fault), [("Content-Type", "text/plain")], b"as the test wants it"))
        elif fault == "drop" or (fault and self.path in lost_answers):
            self._drop_connection()
        elif self.path in lost_answers:  # Google repeats the answer to a finished upload, the emulator does not
            self._send_answer(lost_answers.pop(self.path))
        else:
            with self.server.proxy.upstream:
                self._forward(fault)

    def _forward(self, fault: str) -> None:
        proxy, request = self.server.proxy, self.exchange
        connection = HTTPConnection(urlsplit(proxy.endpoint).netloc)
        connection.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_HEADERS:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(request.up))
        connection.endheaders()
        for chunk in self._body():
            connection.send(chunk)
        answer = connection.getresponse()
        try:
            headers = [
                (name, self._rewrite_links(value))
                for name, value in answer.getheaders()
                if name.lower() not in HOP_HEADERS
            ]
            if request.kind == "read":
                return self._stream(answer, headers, fault == "cut")
            body = self._rewrite_links(answer.read().decode()).encode()
        finally:
            connection.close()
        self._remember_session(headers, request)
        rewritten = Answer(answer.status, headers, body)
        if fault == "lost":
            if "upload_id" in self.path:
                proxy.lost_answers[self.path] = rewritten
            self._drop_connection()
        else:
            self._send_answer(rewritten)

    def _stream(self, answer: HTTPResponse, headers: list[tuple[str, str]], cut: bool) -> None:
        size = int(answer.headers["Content-Length"])
        remaining = size // 2 if cut else size
        self._record(answer.status, remaining)
        self._send_headers(answer.status, headers, size)
        while chunk := answer.read(min(CHUNK_BYTES, remaining)):
            self.wfile.write(chunk)
            remaining -= len(chunk)
        self.close_connection = self.close_connection or cut

    def _parse_request(self) -> Exchange:
        """The kind of the request and its object, as an exchange that has no outcome yet."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        name = unquote(url.path.partition("/o/")[2])
        if url.path.startswith("/upload/"):
            session = query.get("upload_id", [""])[0]
            return Exchange(
                self.command, "write", self.server.proxy.sessions.get(session) or self._object_name(query), 0
            )
        if url.path.startswith("/download/") or query.get("alt") == ["media"]:
            return Exchange(self.command, "read", name, 0)
        if url.path.endswith("/o") and self.command == "GET":
            return Exchange(self.command, "list", query.get("prefix", [""])[0], 0)
        return Exchange(self.command, "metadata", name, 0)

    def _object_name(self, query: dict[str, list[str]]) -> str:
        """The name of a new object: in the query, or in the JSON at the beginning of the body."""
        if "name" in query:
            return query["name"][0]
        text = self.first_chunk.decode("utf-8", "replace")
        return str(json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["name"])

    def _remember_session(self, headers: list[tuple[str, str]], request: Exchange) -> None:
        """Stores the object's name for the later requests of an upload."""
        for name, value in headers:
            if name.lower() == "location":
                self.server.proxy.sessions[parse_qs(urlsplit(value).query)["upload_id"][0]] = request.name

    def _rewrite_links(self, text: str) -> str:
        return text.replace(self.server.proxy.endpoint, self.server.proxy.url)

    def _read_chunk(self) -> bytes:
        chunk = self.rfile.read(min(CHUNK_BYTES, self.bytes_left))
        self.bytes_left -= len(chunk)
        return chunk

    def _body(self) -> Iterator[bytes]:
        """The request's body, of which the first chunk is already read."""
        yield self.first_chunk
        while self.bytes_left and (chunk := self._read_chunk()):
            yield chunk

    def _send_headers(self, status: int, headers: list[tuple[str, str]], size: int) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(size))]:
            self.send_header(name, value)
        self.end_headers()

    def _send_answer(self, answer: Answer) -> None:
        self._record(answer.status, len(answer.body))
        self._send_headers(answer.status, answer.headers, len(answer.body))
        self.wfile.write(answer.body)

    def _drop_connection(self) -> None:
        self._record(0, 0)
        self.close_connection = True

    def _record(self, status: int, down: int) -> None:
        """Records the exchange, before the answer is sent, so that a client that has the answer finds it counted."""
        self.server.proxy.record(replace(self.exchange, status=status, down=down, ended=time.time()))

    def log_message(self, format: str, *arguments: object) -> None:
        pass
