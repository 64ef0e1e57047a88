"""A small Kubernetes over real HTTP on loopback, for Metaflow's `@kubernetes`: a pod's command runs here, as processes.

Real are the requests and replies of the official client, as far as Metaflow makes them, what a job and its one pod
tell of themselves, and what ends them: exits, signals, deadlines, a job that is paused or deleted, a node that shuts
down. A first process that does not handle SIGTERM never gets it, as the first of a container does not.

What there is not: images, nodes, a scheduler or limits on resources. A pod works in a folder of its own, with this
Python and its packages as the image and this machine's loopback as the network; `Cluster.pod_env` is what else image,
network and workload identity give. Its mounts are not there: an environment variable that names one's path names
that folder instead. A job has one container and one pod at a time, and a failed pod is replaced at once. `exec` is
forbidden, so Metaflow pauses a job that it wants to kill; JobSets and whatever else is unknown are a 404. The grace
of a deadline and of a shutdown are the kubelet's, a removed pod gets none. It wants Linux.
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

from servers.local import Served

Told = dict[str, Any]  # a thing as the API tells it, or a part of that

HERE = "127.0.0.1"
PROXIES = {"NO_PROXY": HERE, "no_proxy": HERE}
MINIMUM_GRACE_SECONDS = 2.0  # kubelet's, where a pod asks for less
SHUTDOWN = {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}
DEADLINE = {
    "reason": "DeadlineExceeded",
    "message": "Pod was active on the node longer than the specified deadline",
}
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
CONTAINER = (
    "import sys; sys.path.insert(0, {!r}); from servers.kubernetes import contain; sys.exit(contain(sys.argv[1:]))"
)


class Refused(Exception):
    """A reply that is not a success: its HTTP status, its reason in one word, its message."""


class Cluster(Served):
    """A cluster without jobs, from `with` to the end of its block, when all its pods die; `scratch` takes their files.

    A test chooses pods by the name of a Metaflow step, of a job or of a pod.
    """

    def __init__(self, scratch: Path, namespace: str = "flows") -> None:
        self.scratch = scratch.resolve()
        self.namespace = namespace
        self.secrets: dict[str, dict[str, str]] = {}  # by name; a pod waits for the one that it lacks
        self.pod_env = {"METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1", **PROXIES}  # a pod's own env comes before it
        self.jobs: list[Told] = []  # as submitted, in order
        self.requests: list[str] = []  # "METHOD path STATUS"
        self.pods: list[Pod] = []
        self.here: dict[str, Job] = {}  # by name, without the deleted ones
        self.changed = threading.Condition()  # the one lock of all that jobs and pods tell
        self.closed = False

    def server(self) -> _Server:
        return _Server(self)

    def __enter__(self) -> Cluster:
        super().__enter__()
        named = {"clusters": {"server": f"http://{HERE}:{self._server.server_port}"}, "users": {}}
        config: Told = {kind: [{"name": "tests", kind[:-1]: told}] for kind, told in named.items()}
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
        """What a process needs in its environment to start its jobs here."""
        return {"KUBECONFIG": str(self.kubeconfig), "METAFLOW_KUBERNETES_NAMESPACE": self.namespace, **PROXIES}

    def env(self) -> dict[str, str]:
        """The whole environment of a client process."""
        return {**os.environ, **self.settings}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body that a request gets; requests take turns, so none sees another half done."""
        url = urlsplit(target)
        told = {**dict(parse_qsl(url.query)), **(json.loads(body) if body else {})}
        with self.changed:
            try:
                status, content = self._route(f"{method} {url.path}", told)
            except Refused as refusal:
                status, reason, message = refusal.args
                content = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                content |= {"code": status, "reason": reason, "message": message}
            self.requests.append(f"{method} {url.path} {status}")
            return status, content.encode() if isinstance(content, str) else json.dumps(content).encode()

    def _route(self, asked: str, told: Told) -> Reply:
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, asked):
                at = found.groupdict()
                if at.get("namespace", self.namespace) != self.namespace:
                    raise Refused(404, "NotFound", f'namespaces "{at["namespace"]}" not found')
                return route(self, at.get("name") or "", told)
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def running(self, which: str) -> list[str]:
        """The names of those pods that run, the oldest first."""
        return [pod.name for pod in self._chosen(which) if pod.phase == "Running"]

    def logs(self, which: str) -> str:
        """All that these pods wrote, their standard error as well, the oldest pod first."""
        return "".join(pod.log() for pod in self._chosen(which))

    def wait(self, which: str, said: str = "", seconds: float = 60) -> str:
        """Waits for a running pod that has written this; its name."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pod in self._chosen(which):
                if pod.phase == "Running" and said in pod.log():
                    return pod.name
            time.sleep(0.05)
        raise TimeoutError(f"no running pod of {which} said {said!r}, but:\n{self.logs(which)}")

    def kill(self, which: str, how: str = "SIGKILL") -> str:
        """Sends a signal to every process of the oldest running pod, or ends it as "OOMKilled"; its name."""
        pod = self._running(which)
        if how == "OOMKilled":
            pod.why = how
        pod.send("all", "SIGKILL" if how == "OOMKilled" else how)
        pod.ended(10)
        return pod.name

    def evict(self, which: str, grace: float = MINIMUM_GRACE_SECONDS) -> str:
        """Ends the oldest running pod as when its node shuts down, a spot node for another's sake; its name."""
        pod = self._running(which)
        pod.stop(SHUTDOWN, grace)
        return pod.name

    def _chosen(self, which: str) -> list[Pod]:
        return [pod for pod in self.pods if which in (pod.step, pod.job.name, pod.name)]

    def _running(self, which: str) -> Pod:
        return next(pod for pod in self._chosen(which) if pod.phase == "Running")


class Job:
    """A job, which has one pod at a time until one succeeds or too many failed."""

    def __init__(self, cluster: Cluster, manifest: Told) -> None:
        self.cluster = cluster
        meta, spec = manifest.setdefault("metadata", {}), manifest["spec"]
        self.name: str = meta.setdefault("name", f"{meta.get('generateName', '')}{uuid4().hex[:5]}")
        meta |= identity(cluster)
        manifest["spec"] = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": False, **spec}
        labels = {"job-name": self.name, "controller-uid": meta["uid"]}
        self.labels = labels | {f"batch.kubernetes.io/{key}": value for key, value in labels.items()}
        self.told = {**manifest, "apiVersion": "batch/v1", "kind": "Job", "status": {"startTime": now()}}
        self.pod: Pod | None = None  # the one that counts now
        if seconds := spec.get("activeDeadlineSeconds"):
            timer = threading.Timer(seconds, self.finish, ["Failed", "DeadlineExceeded", "Job was active too long"])
            timer.daemon = True
            timer.start()

    def sync(self) -> None:
        """Starts or removes the pod, as the job's spec and status want it; the caller has the lock."""
        spec, status = self.told["spec"], self.told["status"]
        wanted = spec["parallelism"] > 0 and not spec["suspend"] and "conditions" not in status
        if wanted and self.pod is None and not self.cluster.closed:
            self.pod = Pod(self)
        elif self.pod and not wanted:
            self.pod.remove()
            self.pod = None
        status |= {
            "active": int(self.pod is not None),
            "ready": int(self.pod is not None and self.pod.phase == "Running"),
        }

    def count(self, pod: Pod) -> None:
        """What the end of a pod means; the caller has the lock."""
        if pod is not self.pod:
            return  # the job had removed it
        self.pod, status = None, self.told["status"]
        ended = "succeeded" if pod.phase == "Succeeded" else "failed"
        status[ended] = status.get(ended, 0) + 1
        if ended == "succeeded":
            self.finish("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif status["failed"] > self.told["spec"]["backoffLimit"]:
            self.finish("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        self.sync()

    def finish(self, how: str, reason: str, message: str) -> None:
        with self.cluster.changed:
            status = self.told["status"]
            if "conditions" not in status:
                status["conditions"] = [{"type": how, "status": "True", "reason": reason, "message": message}]
                status |= {"completionTime": now()} if how == "Complete" else {}
                self.sync()


class Pod:
    """A pod, from its start in a thread of its own; what it tells goes on after it is removed."""

    def __init__(self, job: Job) -> None:
        self.job, self.cluster = job, job.cluster
        template = copy.deepcopy(job.told["spec"]["template"])
        meta, self.spec = template.get("metadata", {}), template["spec"]
        (self.container,) = self.spec["containers"]
        self.name = f"{job.name}-{uuid4().hex[:5]}"
        meta |= {"name": self.name, **identity(self.cluster)}
        meta["labels"] = {**(meta.get("labels") or {}), **job.labels}
        self.spec |= {"serviceAccountName": self.spec.get("serviceAccountName") or "default", "nodeName": "node"}
        self.told: Told = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": self.spec}
        self.told["status"] = {"phase": "Pending", "startTime": now(), "hostIP": HERE, "podIP": HERE}
        self.step: str | None = (meta.get("annotations") or {}).get("metaflow/step_name")
        self.removed = False
        self.why: str | None = None  # the container's end has this reason, if not the usual one
        self.folder = self.cluster.node / str(len(self.cluster.pods))
        self._log = self.folder.with_suffix(".log")
        self._ending = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._tell("waiting", {"reason": "ContainerCreating"})
        self.cluster.pods.append(self)
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    @property
    def phase(self) -> str:
        return self.told["status"]["phase"]

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def end(self) -> None:
        """Kills all its processes, those to come as well."""
        self._ending.set()
        if self._process and self._process.stdin:
            self._process.stdin.close()

    def remove(self) -> None:
        self.removed = True
        self.end()

    def send(self, whom: str, name: str) -> None:
        """A signal to "all" processes, or to the "first" if it handles it."""
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
            assert self._process and self._process.stdin
            print(whom, name, file=self._process.stdin, flush=True)

    def stop(self, why: dict[str, str], grace: float) -> None:
        """SIGTERM, SIGKILL after the grace; the pod fails for this reason, whatever its exit code."""
        with self.cluster.changed:
            if self.ended(0):
                return
            self.told["status"] |= why
        self.send("first", "SIGTERM")
        if not self.ended(grace):
            self.send("all", "SIGKILL")
            self.ended(10)

    def ended(self, seconds: float) -> bool:
        """Whether it is over, at the latest after some seconds."""
        with self.cluster.changed:
            return self.cluster.changed.wait_for(lambda: self.phase in ("Succeeded", "Failed"), seconds)

    def _tell(self, state: str, told: Told) -> None:
        named = {"name": self.container["name"], "image": self.container.get("image", ""), "imageID": ""}
        status = {**named, "ready": state == "running", "restartCount": 0, "state": {state: told}}
        self.told["status"]["containerStatuses"] = [status]

    def _live(self) -> None:
        seconds = self.spec.get("activeDeadlineSeconds")
        clock = threading.Timer(seconds or 0, self._expire)
        clock.daemon = True
        if seconds:
            clock.start()
        while (lack := self._lack()) and not self._ending.wait(0.1):
            with self.cluster.changed:
                self._tell("waiting", {"reason": "CreateContainerConfigError", "message": lack})
        with self.cluster.changed:
            if not self._ending.is_set():
                self._start()
        code = self._process.wait() if self._process else None
        clock.cancel()
        with self.cluster.changed:
            if code is not None:
                self._tell("terminated", self._end(code))
            failed = code != 0 or "reason" in self.told["status"]
            self.told["status"]["phase"] = "Failed" if failed else "Succeeded"
            self.job.count(self)
            self.cluster.changed.notify_all()

    def _expire(self) -> None:
        if self._process:
            self.stop(DEADLINE, max(MINIMUM_GRACE_SECONDS, self.spec.get("terminationGracePeriodSeconds", 30)))
        else:
            with self.cluster.changed:
                self.told["status"] |= DEADLINE
            self.end()

    def _lack(self) -> str | None:
        """Why the container cannot be made yet."""
        for given in self.container.get("envFrom") or []:
            found = given.get("secretRef")
            if found is None:
                return "of envFrom only secretRef is known here"
            if found["name"] not in self.cluster.secrets and not found.get("optional"):
                return f'secret "{found["name"]}" not found'
        sources = {key for one in self.container.get("env") or [] for key in one.get("valueFrom") or {}}
        return "of valueFrom only fieldRef is known here" if sources - {"fieldRef"} else None

    def _start(self) -> None:
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True)
        env = self._env()
        image = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(temporary),
            "HOSTNAME": self.name,
        }
        words = [*(self.container.get("command") or []), *(self.container.get("args") or [])]
        command = [sys.executable, "-Ic", CONTAINER.format(str(Path(__file__).parents[1]))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *words],
                cwd=self.folder,
                env={**image, **self.cluster.pod_env, **env},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        self._started = now()
        self.told["status"]["phase"] = "Running"
        self._tell("running", {"startedAt": self._started})
        self.job.sync()

    def _env(self) -> dict[str, str]:
        """The container's own environment."""
        names = [given["secretRef"]["name"] for given in self.container.get("envFrom") or []]
        env = {key: value for name in names for key, value in self.cluster.secrets.get(name, {}).items()}
        mounts = [mount["mountPath"] for mount in self.container.get("volumeMounts") or []]
        for one in self.container.get("env") or []:
            source, value = one.get("valueFrom"), one.get("value") or ""
            given = field(self.told, source["fieldRef"]["fieldPath"]) if source else value
            env[one["name"]] = str(self.folder) if given in mounts else given
        return env

    def _end(self, code: int) -> Told:
        usual = {0: "Completed", 128: "StartError"}.get(code, "Error")
        told: Told = {"exitCode": code, "reason": self.why or usual, "startedAt": self._started, "finishedAt": now()}
        if code and self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            told["message"] = "\n".join(self.log()[-2048:].splitlines()[-80:])
        return told


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def identity(cluster: Cluster) -> Told:
    """What the API itself writes into the metadata of a new thing."""
    return {"namespace": cluster.namespace, "uid": str(uuid4()), "creationTimestamp": now()}


def field(item: Told, path: str) -> str:
    """A part of a job or a pod, such as status.podIP or metadata.labels['job-name']."""
    value: Any = item
    for key, quoted in re.findall(r"(\w+)|\['([^']+)'\]", path):
        value = (value or {}).get(key or quoted)
    return str(value or "")


def contain(command: list[str]) -> int:
    """A container's life, in a process of its own: its exit code, when nothing of it is left.

    It sends the signals that standard input names, and kills all when that closes, however its owner died.
    """
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # so that what its processes leave behind becomes its own child
    try:
        first = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(error, flush=True)
        return 128
    threading.Thread(target=_obey, args=[first.pid], daemon=True).start()
    code = first.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            _signal_all(signal.SIGKILL)
            os.wait()
    return code if code >= 0 else 128 - code


def _obey(first: int) -> None:
    for line in sys.stdin:
        whom, name = line.split()
        number = signal.Signals[name]
        if whom == "all":
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


def create_job(cluster: Cluster, _: str, told: Told) -> Reply:
    pod = told["spec"]["template"]["spec"]
    if len(pod["containers"]) != 1 or pod.get("initContainers") or pod.get("restartPolicy") != "Never":
        raise Refused(422, "Invalid", "Job.batch is invalid: only one container that never restarts is known here")
    cluster.jobs.append(copy.deepcopy(told))
    job = Job(cluster, told)
    if job.name in cluster.here:
        raise Refused(409, "AlreadyExists", f'jobs.batch "{job.name}" already exists')
    cluster.here[job.name] = job
    job.sync()
    return 201, job.told


def find_job(cluster: Cluster, name: str) -> Job:
    if name not in cluster.here:
        raise Refused(404, "NotFound", f'jobs.batch "{name}" not found')
    return cluster.here[name]


def patch_job(cluster: Cluster, name: str, told: Told) -> Reply:
    job = find_job(cluster, name)
    merge(job.told, {"spec": told.get("spec", {}), "metadata": told.get("metadata", {})})
    job.sync()
    return 200, job.told


def delete_job(cluster: Cluster, name: str, told: Told) -> Reply:
    """Its pods stay where nobody asks for their end: the default of this kind."""
    job = find_job(cluster, name)
    del cluster.here[name]
    job.told["spec"]["parallelism"] = 0
    for pod in cluster.pods:
        if pod.job is job and told.get("propagationPolicy", "Orphan") != "Orphan":
            pod.remove()
    return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def find_pod(cluster: Cluster, name: str) -> Pod:
    for pod in cluster.pods:
        if pod.name == name and not pod.removed:
            return pod
    raise Refused(404, "NotFound", f'pods "{name}" not found')


def delete_pod(cluster: Cluster, name: str, told: Told) -> Reply:
    pod = find_pod(cluster, name)
    pod.remove()
    return 200, pod.told


def forbid(cluster: Cluster, name: str, told: Told) -> Reply:
    raise Refused(403, "Forbidden", f'pods "{name}" is forbidden: cannot create resource "pods/exec"')


def list_jobs(cluster: Cluster, name: str, told: Told) -> Reply:
    return chosen("JobList", [job.told for job in cluster.here.values()], told)


def list_pods(cluster: Cluster, name: str, told: Told) -> Reply:
    return chosen("PodList", [pod.told for pod in cluster.pods if not pod.removed], told)


def chosen(kind: str, items: list[Told], told: Told) -> Reply:
    """Those that all terms of both selectors hold for; a term is an equality or its negation."""
    for selector in ("labelSelector", "fieldSelector"):
        for term in filter(None, told.get(selector, "").split(",")):
            found = re.fullmatch(r"([^!=]+)(!=|==?)(.*)", term)
            if not found:
                raise Refused(400, "BadRequest", f"unable to parse requirement: {term}")
            key, sign, value = found.groups()
            path = key if selector == "fieldSelector" else f"metadata.labels['{key}']"
            items = [item for item in items if (field(item, path) == value) == (sign != "!=")]
    return 200, {"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}


def merge(into: Told, change: Told) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


Reply = tuple[int, Any]  # a status, and text or what becomes JSON
Route = Callable[[Cluster, str, Told], Reply]
CORE, BATCH = (rf"{root}/namespaces/(?P<namespace>[^/]+)" for root in ("/api/v1", "/apis/batch/v1"))
JOB, POD = rf"{BATCH}/jobs/(?P<name>[^/]+)", rf"{CORE}/pods/(?P<name>[^/]+)"
ROUTES: list[tuple[str, Route]] = [
    ("GET /version/?", lambda cluster, name, told: (200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})),
    (f"GET {CORE}", lambda cluster, name, told: (200, {"kind": "Namespace", "metadata": {"name": cluster.namespace}})),
    (f"POST {BATCH}/jobs", create_job),
    (f"GET {BATCH}/jobs", list_jobs),
    (f"GET {JOB}(/status)?", lambda cluster, name, told: (200, find_job(cluster, name).told)),
    (f"PATCH {JOB}", patch_job),
    (f"DELETE {JOB}", delete_job),
    (f"GET (/api/v1|{CORE})/pods", list_pods),
    (f"GET {POD}(/status)?", lambda cluster, name, told: (200, find_pod(cluster, name).told)),
    (f"GET {POD}/log", lambda cluster, name, told: (200, find_pod(cluster, name).log())),
    (f"DELETE {POD}", delete_pod),
    (f"(GET|POST) {POD}/exec", forbid),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        super().__init__((HERE, 0), _Handler)


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
