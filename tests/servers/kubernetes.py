"""A small Kubernetes over real HTTP on loopback, for Metaflow's `@kubernetes`: a pod's command runs here, as processes.

It is true to life in the official client's requests and replies, as far as Metaflow makes them, in the status of a
job and its one pod, and in what ends them: exits, signals, deadlines, a job that is paused or deleted, a node that
shuts down. As in a container, the first process never gets a SIGTERM that it does not handle.

It has no images, nodes, scheduler or resource limits. A pod works in its own folder, with this Python and its
packages as the image and this machine's loopback as the network; `Cluster.pod_env` holds what else image, network and
workload identity provide. Mounts do not exist: an environment variable with a mount's path gets the pod's folder
instead. A job has one container and one pod at a time, and a failed pod is replaced immediately. `exec` is forbidden,
so Metaflow pauses a job that it wants to kill; JobSets and everything else unknown are a 404. The grace periods of a
deadline and of a shutdown are the kubelet's; a removed pod gets none. It needs Linux.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import psutil

from servers.local import LocalServer

Resource = dict[str, Any]  # an API object, or a part of one

LOOPBACK = "127.0.0.1"
PROXIES = {"NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}
MINIMUM_GRACE_SECONDS = 2.0  # the kubelet's, if a pod asks for less
SHUTDOWN = {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}
DEADLINE = {
    "reason": "DeadlineExceeded",
    "message": "Pod was active on the node longer than the specified deadline",
}
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
CONTAINER_PROGRAM = (
    "import sys; sys.path.insert(0, {!r}); from servers.kubernetes import run_container; "
    "sys.exit(run_container(sys.argv[1:]))"
)


class ApiError(Exception):
    """A reply that is not a success: HTTP status, reason in one word, message."""


class Cluster(LocalServer):
    """An empty cluster for a `with` block, at whose end all its pods die; their files go into `scratch`.

    A test selects pods by the name of a Metaflow step, a job or a pod.
    """

    def __init__(self, scratch: Path, namespace: str = "flows") -> None:
        self.scratch = scratch.resolve()
        self.namespace = namespace
        self.secrets: dict[str, dict[str, str]] = {}  # by name; a pod waits for a missing one
        self.pod_env = {"METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1", **PROXIES}  # a pod's own env overrides it
        self.jobs: list[Resource] = []  # as submitted, in order
        self.requests: list[str] = []  # "METHOD path STATUS"
        self.pods: list[Pod] = []
        self.jobs_by_name: dict[str, Job] = {}  # without the deleted ones
        self.changed = threading.Condition()  # the one lock for the state of all jobs and pods
        self.closed = False

    def make_server(self) -> _Server:
        return _Server(self)

    def __enter__(self) -> Cluster:
        super().__enter__()
        sections = {"clusters": {"server": f"http://{LOOPBACK}:{self._server.server_port}"}, "users": {}}
        config: Resource = {kind: [{"name": "tests", kind[:-1]: content}] for kind, content in sections.items()}
        config["contexts"] = [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}]
        self.node = Path(tempfile.mkdtemp(dir=self.scratch, prefix="pods-"))  # short names: sockets go into a pod's tmp
        self.kubeconfig = self.scratch / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({**config, "current-context": "tests"}), encoding="utf-8")
        return self

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        with self.changed:
            self.closed = True
            for pod in self.pods:
                pod.end()
        for pod in self.pods:
            pod.thread.join(timeout=10)

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that make a process start its jobs here."""
        return {"KUBECONFIG": str(self.kubeconfig), "METAFLOW_KUBERNETES_NAMESPACE": self.namespace, **PROXIES}

    def env(self) -> dict[str, str]:
        """The whole environment of a client process."""
        return {**os.environ, **self.settings}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and body for a request. Requests run one at a time, so none sees an incomplete other one."""
        url = urlsplit(target)
        parameters = {**dict(parse_qsl(url.query)), **(json.loads(body) if body else {})}
        with self.changed:
            try:
                status, content = self._route(f"{method} {url.path}", parameters)
            except ApiError as error:
                status, reason, message = error.args
                content = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                content |= {"code": status, "reason": reason, "message": message}
            self.requests.append(f"{method} {url.path} {status}")
            return status, content.encode() if isinstance(content, str) else json.dumps(content).encode()

    def _route(self, request_line: str, parameters: Resource) -> Reply:
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, request_line):
                parts = match.groupdict()
                if parts.get("namespace", self.namespace) != self.namespace:
                    raise ApiError(404, "NotFound", f'namespaces "{parts["namespace"]}" not found')
                return route(self, parts.get("name") or "", parameters)
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def running(self, which: str) -> list[str]:
        """The names of the selected pods that run, the oldest first."""
        return [pod.name for pod in self._selected(which) if pod.phase == "Running"]

    def logs(self, which: str) -> str:
        """Standard output and error of the selected pods, the oldest pod first."""
        return "".join(pod.log() for pod in self._selected(which))

    def wait(self, which: str, output: str = "", seconds: float = 60) -> str:
        """Waits for a running pod that has written `output`, and returns its name."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pod in self._selected(which):
                if pod.phase == "Running" and output in pod.log():
                    return pod.name
            time.sleep(0.05)
        raise TimeoutError(f"no running pod of {which} wrote {output!r}, but:\n{self.logs(which)}")

    def kill(self, which: str, signal_name: str = "SIGKILL") -> str:
        """Sends a signal to every process of the oldest running pod, or ends it as "OOMKilled"; returns its name."""
        pod = self._running(which)
        if signal_name == "OOMKilled":
            pod.end_reason = signal_name
        pod.send("all", "SIGKILL" if signal_name == "OOMKilled" else signal_name)
        pod.wait_for_end(10)
        return pod.name

    def evict(self, which: str, grace: float = MINIMUM_GRACE_SECONDS) -> str:
        """Ends the oldest running pod like a shutdown of its node, such as a reclaimed spot node; returns its name."""
        pod = self._running(which)
        pod.stop(SHUTDOWN, grace)
        return pod.name

    def _selected(self, which: str) -> list[Pod]:
        return [pod for pod in self.pods if which in (pod.step, pod.job.name, pod.name)]

    def _running(self, which: str) -> Pod:
        return next(pod for pod in self._selected(which) if pod.phase == "Running")


class Job:
    """A job, which has one pod at a time until one succeeds or too many have failed."""

    def __init__(self, cluster: Cluster, manifest: Resource) -> None:
        self.cluster = cluster
        meta, spec = manifest.setdefault("metadata", {}), manifest["spec"]
        self.name: str = meta.setdefault("name", f"{meta.get('generateName', '')}{uuid4().hex[:5]}")
        meta |= identity(cluster)
        manifest["spec"] = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": False, **spec}
        labels = {"job-name": self.name, "controller-uid": meta["uid"]}
        self.labels = labels | {f"batch.kubernetes.io/{key}": value for key, value in labels.items()}
        self.resource = {**manifest, "apiVersion": "batch/v1", "kind": "Job", "status": {"startTime": now()}}
        self.pod: Pod | None = None  # the current one
        if seconds := spec.get("activeDeadlineSeconds"):
            timer = threading.Timer(seconds, self.finish, ["Failed", "DeadlineExceeded", "Job was active too long"])
            timer.daemon = True
            timer.start()

    def sync(self) -> None:
        """Starts or removes the pod, as spec and status require; the caller holds the lock."""
        spec, status = self.resource["spec"], self.resource["status"]
        needs_pod = spec["parallelism"] > 0 and not spec["suspend"] and "conditions" not in status
        if needs_pod and self.pod is None and not self.cluster.closed:
            self.pod = Pod(self)
        elif self.pod and not needs_pod:
            self.pod.remove()
            self.pod = None
        status |= {
            "active": int(self.pod is not None),
            "ready": int(self.pod is not None and self.pod.phase == "Running"),
        }

    def record_end(self, pod: Pod) -> None:
        """Updates the job's status after the end of a pod; the caller holds the lock."""
        if pod is not self.pod:
            return  # the job had removed it
        self.pod, status = None, self.resource["status"]
        outcome = "succeeded" if pod.phase == "Succeeded" else "failed"
        status[outcome] = status.get(outcome, 0) + 1
        if outcome == "succeeded":
            self.finish("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif status["failed"] > self.resource["spec"]["backoffLimit"]:
            self.finish("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        self.sync()

    def finish(self, condition: str, reason: str, message: str) -> None:
        with self.cluster.changed:
            status = self.resource["status"]
            if "conditions" not in status:
                status["conditions"] = [{"type": condition, "status": "True", "reason": reason, "message": message}]
                status |= {"completionTime": now()} if condition == "Complete" else {}
                self.sync()


class Pod:
    """A pod, run by its own thread; its status stays readable after it is removed."""

    def __init__(self, job: Job) -> None:
        self.job, self.cluster = job, job.cluster
        template = copy.deepcopy(job.resource["spec"]["template"])
        meta, self.spec = template.get("metadata", {}), template["spec"]
        (self.container,) = self.spec["containers"]
        self.name = f"{job.name}-{uuid4().hex[:5]}"
        meta |= {"name": self.name, **identity(self.cluster)}
        meta["labels"] = {**(meta.get("labels") or {}), **job.labels}
        self.spec |= {"serviceAccountName": self.spec.get("serviceAccountName") or "default", "nodeName": "node"}
        self.resource: Resource = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": self.spec}
        self.resource["status"] = {"phase": "Pending", "startTime": now(), "hostIP": LOOPBACK, "podIP": LOOPBACK}
        self.step: str | None = (meta.get("annotations") or {}).get("metaflow/step_name")
        self.removed = False
        self.end_reason: str | None = None  # of the container, instead of the usual one
        self.folder = self.cluster.node / str(len(self.cluster.pods))
        self._log = self.folder.with_suffix(".log")
        self._killed = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._set_container_state("waiting", {"reason": "ContainerCreating"})
        self.cluster.pods.append(self)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def phase(self) -> str:
        return self.resource["status"]["phase"]

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def end(self) -> None:
        """Kills all its processes and prevents new ones."""
        self._killed.set()
        if self._process and self._process.stdin:
            self._process.stdin.close()

    def remove(self) -> None:
        self.removed = True
        self.end()

    def send(self, recipient: str, name: str) -> None:
        """Sends a signal to "all" processes, or to the "first" if it handles it."""
        with contextlib.suppress(OSError, ValueError):  # the pod has ended meanwhile
            assert self._process and self._process.stdin
            print(recipient, name, file=self._process.stdin, flush=True)

    def stop(self, reason: dict[str, str], grace: float) -> None:
        """Sends SIGTERM, and SIGKILL after the grace; the pod fails for this reason, with any exit code."""
        with self.cluster.changed:
            if self.wait_for_end(0):
                return
            self.resource["status"] |= reason
        self.send("first", "SIGTERM")
        if not self.wait_for_end(grace):
            self.send("all", "SIGKILL")
            self.wait_for_end(10)

    def wait_for_end(self, seconds: float) -> bool:
        """Waits at most some seconds; whether the pod has ended."""
        with self.cluster.changed:
            return self.cluster.changed.wait_for(lambda: self.phase in ("Succeeded", "Failed"), seconds)

    def _set_container_state(self, state: str, details: Resource) -> None:
        container = {"name": self.container["name"], "image": self.container.get("image", ""), "imageID": ""}
        status = {**container, "ready": state == "running", "restartCount": 0, "state": {state: details}}
        self.resource["status"]["containerStatuses"] = [status]

    def _run(self) -> None:
        seconds = self.spec.get("activeDeadlineSeconds")
        deadline_timer = threading.Timer(seconds or 0, self._expire)
        deadline_timer.daemon = True
        if seconds:
            deadline_timer.start()
        while (problem := self._config_problem()) and not self._killed.wait(0.1):
            with self.cluster.changed:
                self._set_container_state("waiting", {"reason": "CreateContainerConfigError", "message": problem})
        with self.cluster.changed:
            if not self._killed.is_set():
                self._start()
        code = self._process.wait() if self._process else None
        deadline_timer.cancel()
        with self.cluster.changed:
            if code is not None:
                self._set_container_state("terminated", self._terminated_state(code))
            failed = code != 0 or "reason" in self.resource["status"]
            self.resource["status"]["phase"] = "Failed" if failed else "Succeeded"
            self.job.record_end(self)
            self.cluster.changed.notify_all()

    def _expire(self) -> None:
        if self._process:
            self.stop(DEADLINE, max(MINIMUM_GRACE_SECONDS, self.spec.get("terminationGracePeriodSeconds", 30)))
        else:
            with self.cluster.changed:
                self.resource["status"] |= DEADLINE
            self.end()

    def _config_problem(self) -> str | None:
        """Why the container cannot be created yet."""
        for source in self.container.get("envFrom") or []:
            secret = source.get("secretRef")
            if secret is None:
                return "of envFrom only secretRef is known here"
            if secret["name"] not in self.cluster.secrets and not secret.get("optional"):
                return f'secret "{secret["name"]}" not found'
        kinds = {key for variable in self.container.get("env") or [] for key in variable.get("valueFrom") or {}}
        return "of valueFrom only fieldRef is known here" if kinds - {"fieldRef"} else None

    def _start(self) -> None:
        temporary_folder = self.folder / "tmp"
        temporary_folder.mkdir(parents=True)
        env = self._env()
        image_env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(temporary_folder),
            "HOSTNAME": self.name,
        }
        container_command = [*(self.container.get("command") or []), *(self.container.get("args") or [])]
        command = [sys.executable, "-Ic", CONTAINER_PROGRAM.format(str(Path(__file__).parents[1]))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *container_command],
                cwd=self.folder,
                env={**image_env, **self.cluster.pod_env, **env},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        self._started = now()
        self.resource["status"]["phase"] = "Running"
        self._set_container_state("running", {"startedAt": self._started})
        self.job.sync()

    def _env(self) -> dict[str, str]:
        """The container's own environment."""
        names = [source["secretRef"]["name"] for source in self.container.get("envFrom") or []]
        env = {key: value for name in names for key, value in self.cluster.secrets.get(name, {}).items()}
        mounts = [mount["mountPath"] for mount in self.container.get("volumeMounts") or []]
        for variable in self.container.get("env") or []:
            source, value = variable.get("valueFrom"), variable.get("value") or ""
            value = field(self.resource, source["fieldRef"]["fieldPath"]) if source else value
            env[variable["name"]] = str(self.folder) if value in mounts else value
        return env

    def _terminated_state(self, code: int) -> Resource:
        usual = {0: "Completed", 128: "StartError"}.get(code, "Error")
        state: Resource = {
            "exitCode": code,
            "reason": self.end_reason or usual,
            "startedAt": self._started,
            "finishedAt": now(),
        }
        if code and self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["message"] = "\n".join(self.log()[-2048:].splitlines()[-80:])
        return state


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def identity(cluster: Cluster) -> Resource:
    """The metadata that the API itself writes into a new object."""
    return {"namespace": cluster.namespace, "uid": str(uuid4()), "creationTimestamp": now()}


def field(item: Resource, path: str) -> str:
    """A part of a job or a pod, such as status.podIP or metadata.labels['job-name']."""
    value: Any = item
    for key, quoted in re.findall(r"(\w+)|\['([^']+)'\]", path):
        value = (value or {}).get(key or quoted)
    return str(value or "")


def run_container(command: list[str]) -> int:
    """Runs a container's command until none of its processes is left, and returns its exit code.

    It runs in its own process. It sends the signals that standard input names, and kills all processes when that
    closes, even if its owner was killed.
    """
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # orphans of its processes become its own children
    try:
        first = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(error, flush=True)
        return 128
    threading.Thread(target=_forward_signals, args=[first.pid], daemon=True).start()
    code = first.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            _signal_all(signal.SIGKILL)
            os.wait()
    return code if code >= 0 else 128 - code


def _forward_signals(first: int) -> None:
    for line in sys.stdin:
        recipient, name = line.split()
        number = signal.Signals[name]
        if recipient == "all":
            _signal_all(number)
        elif _handles(first, number):
            os.kill(first, number)
    _signal_all(signal.SIGKILL)


def _handles(process: int, number: int) -> bool:
    state = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return bool(int(state.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def _signal_all(number: int) -> None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def create_job(cluster: Cluster, _: str, parameters: Resource) -> Reply:
    pod = parameters["spec"]["template"]["spec"]
    if len(pod["containers"]) != 1 or pod.get("initContainers") or pod.get("restartPolicy") != "Never":
        raise ApiError(422, "Invalid", "Job.batch is invalid: only one container that never restarts is known here")
    cluster.jobs.append(copy.deepcopy(parameters))
    job = Job(cluster, parameters)
    if job.name in cluster.jobs_by_name:
        raise ApiError(409, "AlreadyExists", f'jobs.batch "{job.name}" already exists')
    cluster.jobs_by_name[job.name] = job
    job.sync()
    return 201, job.resource


def find_job(cluster: Cluster, name: str) -> Job:
    if name not in cluster.jobs_by_name:
        raise ApiError(404, "NotFound", f'jobs.batch "{name}" not found')
    return cluster.jobs_by_name[name]


def patch_job(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    job = find_job(cluster, name)
    merge(job.resource, {"spec": parameters.get("spec", {}), "metadata": parameters.get("metadata", {})})
    job.sync()
    return 200, job.resource


def delete_job(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    """Its pods stay unless the request asks for their end: the default of this API."""
    job = find_job(cluster, name)
    del cluster.jobs_by_name[name]
    job.resource["spec"]["parallelism"] = 0
    for pod in cluster.pods:
        if pod.job is job and parameters.get("propagationPolicy", "Orphan") != "Orphan":
            pod.remove()
    return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def find_pod(cluster: Cluster, name: str) -> Pod:
    for pod in cluster.pods:
        if pod.name == name and not pod.removed:
            return pod
    raise ApiError(404, "NotFound", f'pods "{name}" not found')


def delete_pod(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    pod = find_pod(cluster, name)
    pod.remove()
    return 200, pod.resource


def forbid(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    raise ApiError(403, "Forbidden", f'pods "{name}" is forbidden: cannot create resource "pods/exec"')


def list_jobs(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    return select("JobList", [job.resource for job in cluster.jobs_by_name.values()], parameters)


def list_pods(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    return select("PodList", [pod.resource for pod in cluster.pods if not pod.removed], parameters)


def select(kind: str, items: list[Resource], parameters: Resource) -> Reply:
    """The items that match all terms of both selectors; a term is an equality or its negation."""
    for selector in ("labelSelector", "fieldSelector"):
        for term in filter(None, parameters.get(selector, "").split(",")):
            match = re.fullmatch(r"([^!=]+)(!=|==?)(.*)", term)
            if not match:
                raise ApiError(400, "BadRequest", f"unable to parse requirement: {term}")
            key, operator, value = match.groups()
            path = key if selector == "fieldSelector" else f"metadata.labels['{key}']"
            items = [item for item in items if (field(item, path) == value) == (operator != "!=")]
    return 200, {"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}


def merge(target: Resource, change: Resource) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def show_namespace(cluster: Cluster, name: str, parameters: Resource) -> Reply:
    return 200, {"kind": "Namespace", "metadata": {"name": cluster.namespace}}


Reply = tuple[int, Any]  # a status, and text or JSON content
Route = Callable[[Cluster, str, Resource], Reply]
CORE, BATCH = (rf"{root}/namespaces/(?P<namespace>[^/]+)" for root in ("/api/v1", "/apis/batch/v1"))
JOB, POD = rf"{BATCH}/jobs/(?P<name>[^/]+)", rf"{CORE}/pods/(?P<name>[^/]+)"
ROUTES: list[tuple[str, Route]] = [
    ("GET /version/?", lambda cluster, name, parameters: (200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})),
    (f"GET {CORE}", show_namespace),
    (f"POST {BATCH}/jobs", create_job),
    (f"GET {BATCH}/jobs", list_jobs),
    (f"GET {JOB}(/status)?", lambda cluster, name, parameters: (200, find_job(cluster, name).resource)),
    (f"PATCH {JOB}", patch_job),
    (f"DELETE {JOB}", delete_job),
    (f"GET (/api/v1|{CORE})/pods", list_pods),
    (f"GET {POD}(/status)?", lambda cluster, name, parameters: (200, find_pod(cluster, name).resource)),
    (f"GET {POD}/log", lambda cluster, name, parameters: (200, find_pod(cluster, name).log())),
    (f"DELETE {POD}", delete_pod),
    (f"(GET|POST) {POD}/exec", forbid),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        super().__init__((LOOPBACK, 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content = self.server.cluster.answer(self.command, self.path, body)
        self.send_response(status)
        text = status == 200 and urlsplit(self.path).path.endswith("/log")
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass
