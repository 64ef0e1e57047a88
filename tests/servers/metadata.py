"""A small Metaflow metadata service over real HTTP on loopback, for flows and Clients in processes of their own.

It keeps flows, runs, steps, tasks, their artifacts and metadata in memory. Paths, fields and statuses are those of
Netflix/metaflow-service 2.5, with what is unexpected: a list of what is not there is empty, and a heartbeat that comes
too soon after the last one is a 404. A route is a line of `ROUTES`.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from servers.local import Served

VERSION = "2.5.0"  # Metaflow asks for it before it sends heartbeats, changes tags or filters tasks
KEYS = {"flow": "flow_id", "run": "run_number", "step": "step_name", "task": "task_id"}  # the outer ones first
HEARTBEAT_SECONDS = 10

Row = dict[str, Any]  # with its own key and those of all that it belongs to
Reply = tuple[int, object]  # a status, and what becomes JSON


class Metadata(Served):
    """A metadata service that knows nothing yet, from `with` to the end of its block."""

    def __init__(self) -> None:
        self._below = defaultdict[tuple[str, ...], list[Row]](list)  # rows by their kind and the outer ones' keys
        self.requests: list[str] = []  # "METHOD path STATUS"
        self.numbers = {kind: itertools.count(1) for kind in ("run", "task")}  # of all flows together
        self.faults: dict[str, int] = {}  # a status instead of an answer, where this is found in "METHOD path"
        self._turn = threading.Lock()

    def server(self) -> _Server:
        return _Server(self)

    @property
    def settings(self) -> dict[str, str]:
        """What a process needs in its environment to keep its runs here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {"METAFLOW_DEFAULT_METADATA": "service", "METAFLOW_SERVICE_URL": url, **proxies}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body that a request gets; requests take turns, so none sees another half done."""
        url = urlsplit(target)
        asked = f"{method} {url.path}"
        told = json.loads(body) if body else dict(parse_qsl(url.query))
        with self._turn:
            status, content = self._route(asked, told)
            self.requests.append(f"{asked} {status}")
            return status, json.dumps(content).encode()

    def _route(self, asked: str, told: Any) -> Reply:
        for pattern, status in self.faults.items():
            if re.search(pattern, asked):
                return status, {"message": "as the test wants it"}
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, asked):
                return route(self, found.groupdict(), told)
        return 404, "404: Not Found"

    def find(self, kind: str, at: Row) -> list[Row]:
        """The rows of a kind with these keys."""
        outer = tuple(str(at[key]) for key in itertools.takewhile(at.__contains__, KEYS.values()))
        rest = {key: str(value) for key, value in at.items() if key not in list(KEYS.values())[: len(outer)]}
        rows = self._below.get((kind, *outer), [])
        return [row for row in rows if all(str(row[key]) == value for key, value in rest.items())]

    def add(self, kind: str, row: Row) -> None:
        outer = [str(row[key]) for key in KEYS.values() if key in row]
        for depth in range(len(outer) + 1):
            self._below[kind, *outer[:depth]].append(row)

    def one(self, at: Row) -> Row | None:
        """The flow, run, step or task with these keys."""
        return next(iter(self.find(list(KEYS)[len(at) - 1], at)), None)


def milliseconds() -> int:
    return round(time.time() * 1000)


def show(service: Metadata, at: Row, told: Any) -> Reply:
    found = service.one(at)
    return (200, found) if found else (404, {})


def show_all(service: Metadata, at: Row, told: Any) -> Reply:
    """All of a kind below something; of a task's artifacts those of its last attempt, or of the one asked for."""
    kind, attempt = at.pop("kind"), at.pop("attempt_id", None)
    rows = service.find(kind, at)
    if kind == "artifact":
        last = {row["task_id"]: row["attempt_id"] for row in sorted(rows, key=lambda row: row["attempt_id"])}
        rows = [row for row in rows if str(row["attempt_id"]) == str(attempt or last[row["task_id"]])]
    return 200, rows


def show_artifact(service: Metadata, at: Row, told: Any) -> Reply:
    """An artifact of an attempt; which is the last one tells an artifact that they all have, the flow's name."""
    if at["attempt_id"] is None:
        names = service.find("artifact", {**{key: at[key] for key in KEYS.values()}, "name": "name"})
        at["attempt_id"] = max((row["attempt_id"] for row in names), default=0)
    found = service.find("artifact", at)
    return (200, found[0]) if found else (404, {})


def filter_tasks(service: Metadata, at: Row, told: Any) -> Reply:
    """The pathspecs of the step's tasks that have such metadata."""
    field, pattern = told.get("metadata_field_name"), told.get("pattern", "")
    rows = [row for row in service.find("metadata", at) if field in (None, row["field_name"])]
    paths = ["/".join(str(row[key]) for key in KEYS.values()) for row in rows if re.search(pattern, row["value"])]
    return 200, list(dict.fromkeys(paths))


def create(service: Metadata, at: Row, told: Any) -> Reply:
    """A flow, run, step or task. Runs and tasks get a number, unless they come with a name."""
    kind = at.pop("kind") or "flow"
    key = KEYS[kind]
    if kind in service.numbers and str(told.get(key)).isnumeric():
        return (500 if kind == "run" else 400), {"message": f"a {kind}'s name may not be numeric"}
    above = {other: name for other, name in at.items() if other != key}
    parent = service.one(above) if above else {}
    if parent is None:
        return (500 if kind == "step" else 404), {"message": f"a {kind} of nothing"}
    if kind in service.numbers:
        at[key] = told.get(key) or next(service.numbers[kind])
    if service.find(kind, at):
        return 409, {"message": "duplicate key"}
    row = {**parent, key: at[key], "user_name": told.get("user_name"), "ts_epoch": milliseconds()}
    if kind in ("flow", "run"):  # those below share the run's lists of tags, which change for all of them
        row |= {name: told.get(name) for name in ("tags", "system_tags")}
    row["last_heartbeat_ts"] = int(time.time())
    service.add(kind, row)
    return 200, row


def attach(service: Metadata, at: Row, told: Any) -> Reply:
    """A task's artifacts, of which those that an attempt has already are passed over, or metadata, which pile up."""
    kind = at.pop("kind")
    task = service.one(at)
    if task is None:
        return 400, {"message": "need to register run_id and task_id first"}
    taken = {(row["name"], row["attempt_id"]) for row in service.find("artifact", at)}
    new = [one for one in told if kind == "metadata" or (one["name"], one["attempt_id"]) not in taken]
    shared = (*KEYS.values(), "tags", "system_tags") if kind == "artifact" else KEYS.values()
    above = {name: task[name] for name in shared}
    for one in new:
        service.add(kind, {**one, **above, "ts_epoch": milliseconds()})
    return 200, {"artifacts_created" if kind == "artifact" else "metadata_created": len(new)}


def beat(service: Metadata, at: Row, told: Any) -> Reply:
    """A sign of life of a run, or of a task and so of its run. The reply is JSON inside a JSON string."""
    if "task_id" in at:
        beat(service, {key: at[key] for key in ("flow_id", "run_number")}, told)
    alive, now = service.one(at), int(time.time())
    due = alive is not None and alive["last_heartbeat_ts"] <= now - HEARTBEAT_SECONDS
    if alive and due:
        alive["last_heartbeat_ts"] = now
    return (200 if due else 404), json.dumps({"wait_time_in_seconds": HEARTBEAT_SECONDS})


def mutate_tags(service: Metadata, at: Row, told: Any) -> Reply:
    """Removals come first; a system tag cannot be removed, nor become a user's as well."""
    add, remove = told.get("tags_to_add", []), told.get("tags_to_remove", [])
    if not all(isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) for tags in (add, remove)):
        return 400, "All tag values must be strings"
    run = service.one(at)
    if run is None:
        return 404, {}
    system = set(run["system_tags"])
    if kept := system & set(remove):
        return 422, f"Cannot remove tags that are existing system tags {kept}"
    run["tags"][:] = (set(run["tags"]) - set(remove)) | (set(add) - system)
    return 200, {"tags": run["tags"]}


Route = Callable[[Metadata, Row, Any], Reply]
FLOW = r"/flows/(?P<flow_id>[^/]+)"
RUN = rf"{FLOW}/runs/(?P<run_number>[^/]+)"
STEP = rf"{RUN}/steps/(?P<step_name>[^/]+)"
TASK = rf"{STEP}/tasks/(?P<task_id>[^/]+)"
ATTEMPT = r"/attempt/(?P<attempt_id>\d+)"
ROUTES: list[tuple[str, Route]] = [
    (r"GET /ping", lambda service, at, told: (200, "pong")),
    (r"GET /(?P<kind>flow)s", show_all),
    (rf"GET {FLOW}/(?P<kind>run)s", show_all),
    (rf"GET {RUN}/(?P<kind>step|artifact)s", show_all),
    (rf"GET {STEP}/(?P<kind>task|artifact)s", show_all),
    (rf"GET {TASK}({ATTEMPT})?/(?P<kind>artifact)s", show_all),
    *((rf"GET {path}/(?P<kind>metadata)", show_all) for path in (RUN, TASK)),
    (rf"GET {TASK}/artifacts/(?P<name>[^/]+)({ATTEMPT})?", show_artifact),
    (rf"GET {STEP}/filtered_tasks", filter_tasks),
    *((rf"GET {path}", show) for path in (FLOW, RUN, STEP, TASK)),
    (rf"POST {FLOW}(/(?P<kind>run))?", create),
    (rf"POST {STEP}/(?P<kind>step|task)", create),
    (rf"POST {TASK}/(?P<kind>artifact|metadata)", attach),
    *((rf"POST {path}/heartbeat", beat) for path in (RUN, TASK)),
    (rf"PATCH {RUN}/tag/mutate", mutate_tags),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: Metadata) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content = self.server.service.answer(self.command, self.path, body)
        self.send_response(status)
        self.send_header("METADATA_SERVICE_VERSION", VERSION)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass
