"""A small Metaflow metadata service over real HTTP on loopback, for flows and Clients in other processes.

It keeps flows, runs, steps, tasks, their artifacts and metadata in memory. Paths, fields and statuses are those of
Netflix/metaflow-service 2.5, including its surprises: a list below something unknown is empty, and a heartbeat that
comes too soon after the last one is a 404. A route is a line of `ROUTES`.
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

from servers.local import LocalServer

VERSION = "2.5.0"  # Metaflow asks for it before it sends heartbeats, changes tags or filters tasks
KEYS = {"flow": "flow_id", "run": "run_number", "step": "step_name", "task": "task_id"}  # the outer ones first
HEARTBEAT_SECONDS = 10

Row = dict[str, Any]  # with its own key and those of everything above it
Reply = tuple[int, object]  # a status, and JSON content


class Metadata(LocalServer):
    """An empty metadata service for a `with` block."""

    def __init__(self) -> None:
        self._rows = defaultdict[tuple[str, ...], list[Row]](list)  # by kind and the outer rows' keys
        self.requests: list[str] = []  # "METHOD path STATUS"
        self.numbers = {kind: itertools.count(1) for kind in ("run", "task")}  # shared by all flows
        self.faults: dict[str, int] = {}  # pattern in "METHOD path": the status that replaces the answer
        self._lock = threading.Lock()

    def make_server(self) -> _Server:
        return _Server(self)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that make a process keep its runs here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {"METAFLOW_DEFAULT_METADATA": "service", "METAFLOW_SERVICE_URL": url, **proxies}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and body for a request. Requests run one at a time, so none sees an incomplete other one."""
        url = urlsplit(target)
        request_line = f"{method} {url.path}"
        payload = json.loads(body) if body else dict(parse_qsl(url.query))
        with self._lock:
            status, content = self._route(request_line, payload)
            self.requests.append(f"{request_line} {status}")
            return status, json.dumps(content).encode()

    def _route(self, request_line: str, payload: Any) -> Reply:
        for pattern, status in self.faults.items():
            if re.search(pattern, request_line):
                return status, {"message": "as the test wants it"}
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, request_line):
                return route(self, match.groupdict(), payload)
        return 404, "404: Not Found"

    def find(self, kind: str, keys: Row) -> list[Row]:
        """The rows of a kind with these keys."""
        outer = tuple(str(keys[key]) for key in itertools.takewhile(keys.__contains__, KEYS.values()))
        rest = {key: str(value) for key, value in keys.items() if key not in list(KEYS.values())[: len(outer)]}
        rows = self._rows.get((kind, *outer), [])
        return [row for row in rows if all(str(row[key]) == value for key, value in rest.items())]

    def add(self, kind: str, row: Row) -> None:
        outer = [str(row[key]) for key in KEYS.values() if key in row]
        for depth in range(len(outer) + 1):
            self._rows[kind, *outer[:depth]].append(row)

    def get(self, keys: Row) -> Row | None:
        """The flow, run, step or task with these keys."""
        return next(iter(self.find(list(KEYS)[len(keys) - 1], keys)), None)


def milliseconds() -> int:
    return round(time.time() * 1000)


def show(service: Metadata, keys: Row, payload: Any) -> Reply:
    row = service.get(keys)
    return (200, row) if row else (404, {})


def show_all(service: Metadata, keys: Row, payload: Any) -> Reply:
    """All rows of a kind below another; of a task's artifacts those of its last or of the requested attempt."""
    kind, attempt = keys.pop("kind"), keys.pop("attempt_id", None)
    rows = service.find(kind, keys)
    if kind == "artifact":
        last = {row["task_id"]: row["attempt_id"] for row in sorted(rows, key=lambda row: row["attempt_id"])}
        rows = [row for row in rows if str(row["attempt_id"]) == str(attempt or last[row["task_id"]])]
    return 200, rows


def show_artifact(service: Metadata, keys: Row, payload: Any) -> Reply:
    """An artifact of an attempt. The artifact `name`, which every attempt has, shows which is the last one."""
    if keys["attempt_id"] is None:
        attempts = service.find("artifact", {**{key: keys[key] for key in KEYS.values()}, "name": "name"})
        keys["attempt_id"] = max((row["attempt_id"] for row in attempts), default=0)
    rows = service.find("artifact", keys)
    return (200, rows[0]) if rows else (404, {})


def filter_tasks(service: Metadata, keys: Row, payload: Any) -> Reply:
    """The pathspecs of the step's tasks that have such metadata."""
    field, pattern = payload.get("metadata_field_name"), payload.get("pattern", "")
    rows = [row for row in service.find("metadata", keys) if field in (None, row["field_name"])]
    paths = ["/".join(str(row[key]) for key in KEYS.values()) for row in rows if re.search(pattern, row["value"])]
    return 200, list(dict.fromkeys(paths))


def create(service: Metadata, keys: Row, payload: Any) -> Reply:
    """Creates a flow, run, step or task. A run or task gets a number, unless it comes with a name."""
    kind = keys.pop("kind") or "flow"
    key = KEYS[kind]
    if kind in service.numbers and str(payload.get(key)).isnumeric():
        return (500 if kind == "run" else 400), {"message": f"a {kind}'s name may not be numeric"}
    parent_keys = {other: name for other, name in keys.items() if other != key}
    parent = service.get(parent_keys) if parent_keys else {}
    if parent is None:
        return (500 if kind == "step" else 404), {"message": f"a {kind} of nothing"}
    if kind in service.numbers:
        keys[key] = payload.get(key) or next(service.numbers[kind])
    if service.find(kind, keys):
        return 409, {"message": "duplicate key"}
    row = {**parent, key: keys[key], "user_name": payload.get("user_name"), "ts_epoch": milliseconds()}
    if kind in ("flow", "run"):  # steps and tasks share the run's lists of tags
        row |= {name: payload.get(name) for name in ("tags", "system_tags")}
    row["last_heartbeat_ts"] = int(time.time())
    service.add(kind, row)
    return 200, row


def attach(service: Metadata, keys: Row, payload: Any) -> Reply:
    """Adds artifacts to a task, except those that the attempt already has, or adds metadata, which accumulate."""
    kind = keys.pop("kind")
    task = service.get(keys)
    if task is None:
        return 400, {"message": "need to register run_id and task_id first"}
    existing = {(row["name"], row["attempt_id"]) for row in service.find("artifact", keys)}
    new = [row for row in payload if kind == "metadata" or (row["name"], row["attempt_id"]) not in existing]
    shared = (*KEYS.values(), "tags", "system_tags") if kind == "artifact" else KEYS.values()
    inherited = {name: task[name] for name in shared}
    for row in new:
        service.add(kind, {**row, **inherited, "ts_epoch": milliseconds()})
    return 200, {"artifacts_created" if kind == "artifact" else "metadata_created": len(new)}


def heartbeat(service: Metadata, keys: Row, payload: Any) -> Reply:
    """Records a heartbeat of a run, or of a task and its run. The reply is JSON inside a JSON string."""
    if "task_id" in keys:
        heartbeat(service, {key: keys[key] for key in ("flow_id", "run_number")}, payload)
    row, now = service.get(keys), int(time.time())
    due = row is not None and row["last_heartbeat_ts"] <= now - HEARTBEAT_SECONDS
    if row and due:
        row["last_heartbeat_ts"] = now
    return (200 if due else 404), json.dumps({"wait_time_in_seconds": HEARTBEAT_SECONDS})


def mutate_tags(service: Metadata, keys: Row, payload: Any) -> Reply:
    """Removals come first; a system tag cannot be removed, nor become a user's as well."""
    add, remove = payload.get("tags_to_add", []), payload.get("tags_to_remove", [])
    if not all(isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) for tags in (add, remove)):
        return 400, "All tag values must be strings"
    run = service.get(keys)
    if run is None:
        return 404, {}
    system = set(run["system_tags"])
    if protected := system & set(remove):
        return 422, f"Cannot remove tags that are existing system tags {protected}"
    run["tags"][:] = (set(run["tags"]) - set(remove)) | (set(add) - system)
    return 200, {"tags": run["tags"]}


Route = Callable[[Metadata, Row, Any], Reply]
FLOW = r"/flows/(?P<flow_id>[^/]+)"
RUN = rf"{FLOW}/runs/(?P<run_number>[^/]+)"
STEP = rf"{RUN}/steps/(?P<step_name>[^/]+)"
TASK = rf"{STEP}/tasks/(?P<task_id>[^/]+)"
ATTEMPT = r"/attempt/(?P<attempt_id>\d+)"
ROUTES: list[tuple[str, Route]] = [
    (r"GET /ping", lambda service, keys, payload: (200, "pong")),
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
    *((rf"POST {path}/heartbeat", heartbeat) for path in (RUN, TASK)),
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
