"""A small Hugging Face Hub over real HTTP on loopback, for clients in this process and in others.

A folder holds its repositories. A change in it is a new commit at the next request:

    root/datasets/OWNER/NAME/**         a data set, its files on `main`
    root/models/OWNER/NAME/**           a model, likewise
    root/models/OWNER/NAME@strict/**    another branch of it; `refs/convert/parquet` is @refs%2Fconvert%2Fparquet

It answers the requests with which `datasets`, `transformers` and `huggingface_hub` read: a repository's info, its
tree, paths-info, and resolve with HEAD, GET and ranges. An answer is a `Reply` and a route a line of `ROUTES`.
A `WritableHub` also accepts their writes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from servers.local import LocalServer

KINDS = ("datasets", "models", "spaces")
# Files that git stores itself; a repository's .gitattributes sends all others to LFS.
TEXT = (".md", ".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".py", ".gitattributes")
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Blob:
    """A file as the Hub describes it."""

    path: str  # inside the repository
    file: Path
    size: int
    oid: str  # git's, 40 hex digits
    sha256: str
    lfs: bool

    @classmethod
    def of(cls, file: Path, path: str, lfs: bool) -> Blob:
        state = file.stat()
        oid, sha256 = _hashes(file, state.st_size, state.st_mtime_ns)
        return cls(path, file, state.st_size, oid, sha256, lfs)

    def entry(self, commit: dict[str, str] | None) -> dict[str, object]:
        """Its entry in a tree."""
        entry: dict[str, object] = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return entry | ({"lastCommit": commit} if commit else {})

    def sibling(self, with_details: bool) -> dict[str, object]:
        """Its entry in a repository's info."""
        details: dict[str, object] = {"size": self.size, "blobId": self.oid}
        if self.lfs:
            details["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": 134}
        return {"rfilename": self.path} | (details if with_details else {})


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository at one commit."""

    sha: str  # 40 hex digits; changes when any file does
    files: dict[str, Blob]

    @classmethod
    def of(cls, folder: Path) -> Snapshot:
        by_path = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
        files = {path: Blob.of(file, path, not path.endswith(TEXT)) for path, file in sorted(by_path.items())}
        listing = "".join(f"{blob.sha256} {path}\n" for path, blob in files.items())
        return cls(hashlib.sha1(listing.encode()).hexdigest(), files)

    def folders(self) -> list[str]:
        """Every folder that holds a file; the top folder has an empty name."""
        parents = {parent.as_posix() for path in self.files for parent in Path(path).parents}
        return sorted("" if name == "." else name for name in parents | {"."})


@functools.cache
def _hashes(file: Path, size: int, changed: int) -> tuple[str, str]:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % size + content).hexdigest(), hashlib.sha256(content).hexdigest()


@dataclass
class Repo:
    kind: str  # one of KINDS
    id: str  # OWNER/NAME
    private: bool = False

    def at(self, revision: str) -> Snapshot | None:
        raise NotImplementedError

    def info_fields(self, snapshot: Snapshot) -> dict[str, object]:
        """The fields of its info besides its name and its files."""
        return {"private": self.private, "gated": False, "lastModified": DATE, "tags": [], "downloads": 0}


@dataclass
class FolderRepo(Repo):
    """A repository whose branches are folders, in their present state."""

    branches: dict[str, Path] = field(default_factory=dict)

    def at(self, revision: str) -> Snapshot | None:
        """The snapshot of a branch or of a commit that is some branch's last."""
        if revision in self.branches:
            return Snapshot.of(self.branches[revision])
        heads = (Snapshot.of(folder) for folder in self.branches.values())
        return next((head for head in heads if head.sha == revision), None)


@dataclass
class Request:
    method: str
    target: str  # the path with its query
    headers: Message  # names in any case
    body: bytes = b""  # the part that was read
    status: int | None = None  # of the answer; None if the connection was dropped before it

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> Mapping[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None


@dataclass(frozen=True)
class Reply:
    status: int = HTTPStatus.OK
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content: object) -> Reply:
        return cls(body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    @classmethod
    def error(cls, status: int, code: str, message: str) -> Reply:
        """An error as the Hub sends it; the client distinguishes them by X-Error-Code."""
        error_headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        headers = {"Content-Type": "application/json"} | error_headers
        return cls(status, json.dumps({"error": message}).encode(), headers)


@dataclass
class Fault:
    """What goes wrong with a request. All kinds except `reply` close its connection."""

    times: int
    match: str  # a regular expression that is searched for in "METHOD path"
    reply: Reply | None = None  # instead of an answer
    body_limit: int | None = None  # bytes of its body that are read
    drops_answer: bool = False  # it is carried out, and the answer is not sent
    cuts_answer: bool = False  # only the first half of the answer's body is sent

    def matches(self, request_line: str) -> bool:
        return self.times > 0 and bool(re.search(self.match, request_line))


class Hub(LocalServer):
    """The Hub of one folder, for a `with` block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.received: list[Request] = []  # in order of arrival
        self._faults: list[Fault] = []
        self._locks: dict[str, tuple[str, bool]] = {}
        self._fault_lock = threading.Lock()

    def make_server(self) -> _Server:
        return _Server(self)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._server.close_connections()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[str]:
        """All requests as "METHOD path?query", in order of arrival."""
        return [f"{request.method} {request.target}" for request in self.received]

    def env(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The whole environment of a client process, with this Hub only, its cache in `home`, and no other token."""
        foreign = ("HF_", "HUGGING", "TRANSF")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        settings = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return inherited | settings | ({"HF_TOKEN": token} if token else {})

    def fail(self, times: int = 1, status: int = 503, match: str = "", headers: dict[str, str] | None = None) -> None:
        """The next `times` requests whose "METHOD path" matches get `status` and are not carried out."""
        error = Reply.error(status, "", HTTPStatus(status).phrase)
        reply = Reply(status, error.body, error.headers | (headers or {}))
        self._faults.append(Fault(times, match, reply))

    def reply_with(self, reply: Reply, times: int = 1, match: str = "") -> None:
        """The next `times` requests whose "METHOD path" matches get this reply and are not carried out."""
        self._faults.append(Fault(times, match, reply))

    def drop(self, times: int = 1, match: str = "/resolve/") -> None:
        """Breaks off the bodies of the next `times` answers to matching GETs in the middle."""
        self._faults.append(Fault(times, f"^GET .*{match}", cuts_answer=True))

    def cut(self, times: int = 1, match: str = "^PUT ", after: int = 0) -> None:
        """Drops the next `times` matching requests after `after` bytes of their body, and does not carry them out."""
        self._faults.append(Fault(times, match, body_limit=after))

    def lose(self, times: int = 1, match: str = "^POST .*/commit/") -> None:
        """Carries out the next `times` matching requests, and drops the connection before the answer."""
        self._faults.append(Fault(times, match, drops_answer=True))

    def lock(self, repo: str, token: str, hidden: bool = False) -> None:
        """Gives files to `token` only: a gated repository, or with `hidden` a private one, which others cannot see."""
        self._locks[repo] = token, hidden

    def find(self, kind: str, name: str) -> Repo | None:
        owner, _, short = name.partition("/")
        branches = {}
        for folder in (self.root / kind / owner).glob("*"):
            folder_name, _, branch = folder.name.partition("@")
            if folder_name == short and folder.is_dir():
                branches[unquote(branch) or "main"] = folder
        return FolderRepo(kind, name, branches=branches) if branches else None

    def answer(self, request: Request) -> Reply:
        request_line = f"{request.method} {request.path}"
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, request_line):
                parameters = {name: unquote(value or "") for name, value in match.groupdict().items()}
                return self._answer_if_allowed(request, route, parameters)
        return Reply.error(HTTPStatus.NOT_FOUND, "", f"no such route: {request_line}")

    def fault(self, request: Request) -> Fault | None:
        """The fault that this request meets; it is then used up once."""
        request_line = f"{request.method} {request.path}"
        with self._fault_lock:
            fault = next((fault for fault in self._faults if fault.matches(request_line)), None)
            if fault:
                fault.times -= 1
            return fault

    def _answer_if_allowed(self, request: Request, route: Route, parameters: dict[str, str]) -> Reply:
        name, revision, path = (parameters.get(key, "") for key in ("repo", "revision", "path"))
        repo = self.find(parameters.get("kind", "").strip("/") or "models", name)
        token, hidden = self._locks.get(name, (request.token, False))
        stranger = token != request.token
        if repo is None or (stranger and hidden):
            return Reply.error(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        if stranger and route is resolve and path != "README.md":
            status = HTTPStatus.FORBIDDEN if request.token else HTTPStatus.UNAUTHORIZED
            return Reply.error(status, "GatedRepo", f"Access to {name} is restricted.")
        snapshot = repo.at(revision or "main")
        if snapshot is None:
            return Reply.error(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return route(request, repo, snapshot, path)


def info(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    siblings = [blob.sibling(_flag(request, "blobs")) for blob in snapshot.files.values()]
    fields = {"id": repo.id, "author": repo.id.split("/")[0], "sha": snapshot.sha, "siblings": siblings}
    return Reply.json(fields | repo.info_fields(snapshot))


def tree(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    """All entries below a folder, or only those directly in it, always in one page."""
    if path not in snapshot.folders():
        return Reply.error(HTTPStatus.NOT_FOUND, "EntryNotFound", f"{path} does not exist on this revision")
    recursive, commit = _flag(request, "recursive"), _commit(snapshot) if _flag(request, "expand") else None
    entries = [_folder_entry(name, commit) for name in snapshot.folders() if name]
    entries += [blob.entry(commit) for blob in snapshot.files.values()]
    prefix = f"{path}/" if path else ""
    below = [entry for entry in entries if str(entry["path"]).startswith(prefix)]
    return Reply.json([entry for entry in below if recursive or "/" not in str(entry["path"]).removeprefix(prefix)])


def paths_info(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    form = parse_qs(request.body.decode())
    commit = _commit(snapshot) if form.get("expand", [""])[0].lower() == "true" else None
    files = [snapshot.files[name].entry(commit) for name in form["paths"] if name in snapshot.files]
    folders = [_folder_entry(name, commit) for name in form["paths"] if name in snapshot.folders()]
    return Reply.json(files + folders)


def resolve(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    """A file's content, or the requested range of it."""
    blob = snapshot.files.get(path)
    headers = {"X-Repo-Commit": snapshot.sha, "Accept-Ranges": "bytes"}
    if blob is None:
        error = Reply.error(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        return Reply(error.status, error.body, error.headers | headers)
    headers["ETag"] = f'"{blob.sha256 if blob.lfs else blob.oid}"'
    headers["Content-Type"] = "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8"
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(Path(path).name)}"
    if blob.lfs:
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(blob.size)}
    span = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if not span or not any(span.groups()):
        return Reply(HTTPStatus.OK, blob.file.read_bytes(), headers)
    first, last = span.groups()
    start = int(first) if first else max(blob.size - int(last), 0)
    end = min(int(last), blob.size - 1) if first and last else blob.size - 1
    if start > end:
        return Reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{blob.size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
    with blob.file.open("rb") as file:
        file.seek(start)
        return Reply(HTTPStatus.PARTIAL_CONTENT, file.read(end + 1 - start), headers)


def _flag(request: Request, name: str) -> bool:
    return request.query.get(name, [""])[0].lower() in ("true", "1")


def _commit(snapshot: Snapshot) -> dict[str, str]:
    return {"id": snapshot.sha, "title": "All of it", "date": DATE}


def _folder_entry(path: str, commit: dict[str, str] | None) -> dict[str, object]:
    entry: dict[str, object] = {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    return entry | {"path": path} | ({"lastCommit": commit} if commit else {})


Route = Callable[[Request, Repo, Snapshot, str], Reply]
REPO = r"(?P<repo>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>{'|'.join(KINDS)})/{REPO}"
PREFIX = "(?P<kind>datasets/|spaces/)?"  # of paths outside the API
ROUTES: list[tuple[str, Route]] = [
    (rf"GET {API}(/revision/(?P<revision>[^/]+))?", info),
    (rf"GET {API}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", tree),
    (rf"POST {API}/paths-info/(?P<revision>[^/]+)", paths_info),
    (rf"(GET|HEAD) /{PREFIX}{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def close_connections(self) -> None:
        """Closes the connections that clients keep open, so that a stopped Hub no longer answers."""
        for connection in list(self.open):
            with contextlib.suppress(OSError):  # the client closed it first
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # a client may leave at any time

    def do_GET(self) -> None:
        hub = self.server.hub
        request = Request(self.command, self.path, self.headers)
        hub.received.append(request)
        fault = hub.fault(request) or Fault(0, "")
        length = int(self.headers.get("Content-Length", 0))
        request.body = self.rfile.read(length if fault.body_limit is None else min(fault.body_limit, length))
        reply = None
        if fault.body_limit is None:
            reply = fault.reply or hub.answer(request)
        if reply is None or fault.drops_answer:
            self.close_connection = True
            return
        request.status = reply.status
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if fault.cuts_answer else reply.body)
        self.close_connection = self.close_connection or fault.cuts_answer

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass
