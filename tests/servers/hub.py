"""A small Hugging Face Hub over real HTTP on loopback, for clients in this process and in others.

A folder holds its repositories, and whatever changes there is a new commit at the next request:

    root/datasets/OWNER/NAME/**         a data set, its files on `main`
    root/models/OWNER/NAME/**           a model, likewise
    root/models/OWNER/NAME@strict/**    another branch of it; `refs/convert/parquet` is @refs%2Fconvert%2Fparquet

It answers what `datasets`, `transformers` and `huggingface_hub` ask in order to read: a repository's info, its
tree, paths-info, and resolve with HEAD, GET and ranges. An answer is a `Reply` and a route a line of `ROUTES`.
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

from servers.local import Served

KINDS = ("datasets", "models")
# What git keeps itself; everything else a repository's .gitattributes sends to LFS.
TEXT = (".md", ".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".py", ".gitattributes")
LATELY = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Blob:
    """A file as the Hub describes it."""

    path: str  # inside the repository
    file: Path
    size: int
    oid: str  # git's, 40 hex digits
    sha256: str

    @property
    def lfs(self) -> bool:
        return not self.path.endswith(TEXT)

    def entry(self, commit: dict[str, str] | None) -> dict[str, object]:
        """Its line in a tree."""
        told: dict[str, object] = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        if self.lfs:
            told["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return told | ({"lastCommit": commit} if commit else {})


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository at one commit."""

    sha: str  # 40 hex digits; changes when any file does
    files: dict[str, Blob]

    @classmethod
    def of(cls, folder: Path) -> Snapshot:
        found = (_blob(file, file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())
        files = {blob.path: blob for blob in sorted(found, key=lambda blob: blob.path)}
        listing = "".join(f"{blob.sha256} {path}\n" for path, blob in files.items())
        return cls(hashlib.sha1(listing.encode()).hexdigest(), files)

    def folders(self) -> list[str]:
        """Every folder that holds a file, the top one as an empty name."""
        parents = {parent.as_posix() for path in self.files for parent in Path(path).parents}
        return sorted("" if name == "." else name for name in parents | {"."})


def _blob(file: Path, path: str) -> Blob:
    state = file.stat()
    oid, sha256 = _hashes(file, state.st_size, state.st_mtime_ns)
    return Blob(path, file, state.st_size, oid, sha256)


@functools.cache
def _hashes(file: Path, size: int, changed: int) -> tuple[str, str]:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % size + content).hexdigest(), hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Repo:
    kind: str
    id: str  # OWNER/NAME
    branches: dict[str, Path]

    def at(self, revision: str) -> Snapshot | None:
        """The snapshot of a branch or of a commit that is some branch's last."""
        if revision in self.branches:
            return Snapshot.of(self.branches[revision])
        heads = (Snapshot.of(folder) for folder in self.branches.values())
        return next((head for head in heads if head.sha == revision), None)


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # without its query
    query: Mapping[str, list[str]]
    headers: Message  # of which a name's case is no matter
    body: bytes

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
        """A refusal as the Hub words it: the client tells one from another by X-Error-Code."""
        said = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        return cls(status, json.dumps({"error": message}).encode(), {"Content-Type": "application/json"} | said)


@dataclass
class Fault:
    times: int
    match: str  # a regular expression, sought in "METHOD path"
    reply: Reply | None  # None: the body's first half, and the connection is closed

    def takes(self, asked: str) -> bool:
        return self.times > 0 and bool(re.search(self.match, asked))


class Hub(Served):
    """The Hub of one folder, from `with` to the end of its block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []  # "METHOD path?query", in the order of their coming
        self._faults: list[Fault] = []
        self._locks: dict[str, tuple[str, bool]] = {}
        self._guard = threading.Lock()

    def server(self) -> _Server:
        return _Server(self)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._server.hang_up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def env(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The whole environment of a client process that knows no other Hub, nobody's token and no cache but `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSF"))}
        known = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return kept | known | ({"HF_TOKEN": token} if token else {})

    def fail(self, times: int = 1, status: int = 503, match: str = "", headers: dict[str, str] | None = None) -> None:
        """The next `times` requests whose "METHOD path" holds `match` are answered with `status`."""
        error = Reply.error(status, "", HTTPStatus(status).phrase)
        reply = Reply(status, error.body, error.headers | (headers or {}))
        self._faults.append(Fault(times, match, reply))

    def drop(self, times: int = 1, match: str = "/resolve/") -> None:
        """The next `times` bodies asked for with such a GET break off in the middle."""
        self._faults.append(Fault(times, f"^GET .*{match}", None))

    def lock(self, repo: str, token: str, hidden: bool = False) -> None:
        """Files only for `token`: a gated repository, or with `hidden` a private one, which others cannot see."""
        self._locks[repo] = token, hidden

    def repo(self, kind: str, name: str) -> Repo | None:
        owner, _, short = name.partition("/")
        branches = {}
        for folder in (self.root / kind / owner).glob("*"):
            its_name, _, branch = folder.name.partition("@")
            if its_name == short and folder.is_dir():
                branches[unquote(branch) or "main"] = folder
        return Repo(kind, name, branches) if branches else None

    def answer(self, request: Request) -> tuple[Reply, bool]:
        """The reply, and whether its body is to break off."""
        asked = f"{request.method} {request.path}"
        fault = self._fault(asked)
        if fault and fault.reply:
            return fault.reply, False
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, asked):
                words = {word: unquote(value or "") for word, value in found.groupdict().items()}
                return self._allowed(request, route, words), fault is not None
        return Reply.error(HTTPStatus.NOT_FOUND, "", f"no such route: {asked}"), False

    def _fault(self, asked: str) -> Fault | None:
        with self._guard:
            fault = next((fault for fault in self._faults if fault.takes(asked)), None)
            if fault:
                fault.times -= 1
            return fault

    def _allowed(self, request: Request, route: Route, words: dict[str, str]) -> Reply:
        name, revision, path = (words.get(word, "") for word in ("repo", "revision", "path"))
        repo = self.repo(words.get("kind", "").strip("/") or "models", name)
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
    siblings = [{"rfilename": name} for name in snapshot.files]
    told = {"id": repo.id, "author": repo.id.split("/")[0], "sha": snapshot.sha, "lastModified": LATELY}
    return Reply.json(told | {"private": False, "gated": False, "tags": [], "downloads": 0, "siblings": siblings})


def tree(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    """Everything below a folder, or what lies in it; in one page, however long."""
    if path not in snapshot.folders():
        return Reply.error(HTTPStatus.NOT_FOUND, "EntryNotFound", f"{path} does not exist on this revision")
    deep, commit = _flag(request, "recursive"), _commit(snapshot) if _flag(request, "expand") else None
    entries = [_folder_entry(name, commit) for name in snapshot.folders() if name]
    entries += [blob.entry(commit) for blob in snapshot.files.values()]
    start = f"{path}/" if path else ""
    below = [entry for entry in entries if str(entry["path"]).startswith(start)]
    return Reply.json([entry for entry in below if deep or "/" not in str(entry["path"]).removeprefix(start)])


def paths_info(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    asked = parse_qs(request.body.decode())
    commit = _commit(snapshot) if asked.get("expand", [""])[0].lower() == "true" else None
    files = [snapshot.files[name].entry(commit) for name in asked["paths"] if name in snapshot.files]
    folders = [_folder_entry(name, commit) for name in asked["paths"] if name in snapshot.folders()]
    return Reply.json(files + folders)


def resolve(request: Request, repo: Repo, snapshot: Snapshot, path: str) -> Reply:
    """A file's content, or the range of it that was asked for."""
    blob = snapshot.files.get(path)
    known = {"X-Repo-Commit": snapshot.sha, "Accept-Ranges": "bytes"}
    if blob is None:
        error = Reply.error(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        return Reply(error.status, error.body, error.headers | known)
    known["ETag"] = f'"{blob.sha256 if blob.lfs else blob.oid}"'
    known["Content-Type"] = "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8"
    known["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(Path(path).name)}"
    if blob.lfs:
        known |= {"X-Linked-Etag": known["ETag"], "X-Linked-Size": str(blob.size)}
    span = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if not span or not any(span.groups()):
        return Reply(HTTPStatus.OK, blob.file.read_bytes(), known)
    first, last = span.groups()
    start = int(first) if first else max(blob.size - int(last), 0)
    end = min(int(last), blob.size - 1) if first and last else blob.size - 1
    if start > end:
        return Reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{blob.size}"})
    known["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
    with blob.file.open("rb") as file:
        file.seek(start)
        return Reply(HTTPStatus.PARTIAL_CONTENT, file.read(end + 1 - start), known)


def _flag(request: Request, name: str) -> bool:
    return request.query.get(name, [""])[0].lower() in ("true", "1")


def _commit(snapshot: Snapshot) -> dict[str, str]:
    return {"id": snapshot.sha, "title": "All of it", "date": LATELY}


def _folder_entry(path: str, commit: dict[str, str] | None) -> dict[str, object]:
    told: dict[str, object] = {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    return told | {"path": path} | ({"lastCommit": commit} if commit else {})


Route = Callable[[Request, Repo, Snapshot, str], Reply]
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>{'|'.join(KINDS)})/{_REPO}"
ROUTES: list[tuple[str, Route]] = [
    (rf"GET {_API}(/revision/(?P<revision>[^/]+))?", info),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", tree),
    (rf"POST {_API}/paths-info/(?P<revision>[^/]+)", paths_info),
    (rf"(GET|HEAD) /(?P<kind>datasets/)?{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def hang_up(self) -> None:
        """Closes what clients keep open: a Hub that is gone answers nobody."""
        for connection in list(self.open):
            with contextlib.suppress(OSError):  # the client was quicker
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
            self.close_connection = True  # a client may leave whenever it likes

    def do_GET(self) -> None:
        hub = self.server.hub
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.requests.append(f"{self.command} {self.path}")
        request = Request(self.command, url.path, parse_qs(url.query), self.headers, body)
        reply, broken = hub.answer(request)
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if broken else reply.body)
        self.close_connection = self.close_connection or broken

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass
