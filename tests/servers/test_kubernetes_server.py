"""The Kubernetes for tests, as the official client sees it; `tests/flows/test_pods.py` shows it to Metaflow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from servers.kubernetes import Cluster

LOOP = "while :; do sleep 0.05; done"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as server:
        yield server


class Kubernetes:
    """The client's two APIs at a cluster, for jobs of which each runs a line of bash."""

    def __init__(self, cluster: Cluster) -> None:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        self.space, self.jobs, self.pods = cluster.namespace, client.BatchV1Api(api), client.CoreV1Api(api)

    def start(
        self, line: str, job: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """Starts a job with these fields of its own, of its pod's and of its container's; its name."""
        container = {"name": "main", "image": "speech", "command": ["bash", "-c", line], **more}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container], **(pod or {})}
        template = {"metadata": {"annotations": {"metaflow/step_name": "train"}}, "spec": spec}
        body = {"metadata": {"generateName": "t-"}, "spec": {"backoffLimit": 0, "template": template, **(job or {})}}
        return self.jobs.create_namespaced_job(self.space, body).metadata.name

    def job(self, name: str) -> client.V1JobStatus:
        return self.jobs.read_namespaced_job(name, self.space).status

    def pods_of(self, name: str) -> list[client.V1PodStatus]:
        found = self.pods.list_namespaced_pod(self.space, label_selector=f"job-name={name}")
        return [pod.status for pod in found.items]

    def end(self, name: str) -> tuple[client.V1JobStatus, client.V1PodStatus]:
        """How a job ended, and its last pod."""
        until(lambda: self.job(name).conditions)
        return self.job(name), self.pods_of(name)[-1]


@pytest.fixture
def kubernetes(cluster: Cluster) -> Kubernetes:
    return Kubernetes(cluster)


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def terminated(pod: client.V1PodStatus) -> tuple[int, str]:
    state = pod.container_statuses[0].state.terminated
    return state.exit_code, state.reason


def test_a_job_runs_its_command_with_what_the_pod_is_given(cluster: Cluster, kubernetes: Kubernetes) -> None:
    cluster.secrets["hub"] = {"HF_TOKEN": "hf_x", "LANG": "sv_SE.UTF-8"}
    cluster.pod_env["BUCKET"] = "here"
    fields = {
        "POD": "metadata.name",
        "JOB": "metadata.labels['job-name']",
        "STEP": "metadata.annotations['metaflow/step_name']",
    }
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    env += [
        {"name": "LANG", "value": "C"},
        {"name": "HOMES", "value": "$(pwd)"},
        {"name": "SCRATCH", "value": "/scratch"},
    ]
    given = {"env": env, "envFrom": [{"secretRef": {"name": "hub"}}]}
    given["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    name = kubernetes.start("env; pwd > here; test $SCRATCH = $PWD; python -c 'import metaflow'", **given)
    job, pod = kubernetes.end(name)
    told = dict(line.split("=", 1) for line in cluster.logs(name).splitlines())
    assert (job.succeeded, job.failed, job.active, job.conditions[0].type) == (1, None, 0, "Complete")
    assert (pod.phase, terminated(pod)) == ("Succeeded", (0, "Completed"))
    assert (told["HF_TOKEN"], told["LANG"], told["BUCKET"], told["STEP"]) == ("hf_x", "C", "here", "train")
    assert (told["JOB"], told["POD"][: len(name)], told["HOMES"]) == (name, name, "$(pwd)")
    assert told["HOME"] == told["PWD"] == str(Path(told["TMPDIR"]).parent)
    assert Path(told["PWD"], "here").is_file()
    assert "KUBECONFIG" not in told
    assert cluster.jobs[0]["spec"]["template"]["spec"]["containers"][0]["envFrom"] == given["envFrom"]
    assert kubernetes.pods.read_namespaced_pod_log(told["POD"], kubernetes.space) == cluster.logs("train")


def test_a_failed_pod_says_why_and_a_job_may_try_again(cluster: Cluster, kubernetes: Kubernetes) -> None:
    name = kubernetes.start("echo no such clip; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    job, pod = kubernetes.end(name)
    assert (job.failed, job.conditions[0].reason) == (1, "BackoffLimitExceeded")
    assert (pod.phase, terminated(pod)) == ("Failed", (3, "Error"))
    assert pod.container_statuses[0].state.terminated.message == "no such clip"
    name = kubernetes.start("mkdir ../tried", job={"backoffLimit": 1, "completions": 1})
    assert kubernetes.end(name)[0].succeeded == 1
    name = kubernetes.start("mkdir ../tried", job={"backoffLimit": 1, "completions": 1})
    job, _ = kubernetes.end(name)
    assert (job.failed, len(kubernetes.pods_of(name))) == (2, 2)


def test_a_pod_waits_for_a_secret_that_is_not_there(cluster: Cluster, kubernetes: Kubernetes) -> None:
    name = kubernetes.start("echo $TOKEN", envFrom=[{"secretRef": {"name": "hub"}}])

    def waiting() -> client.V1ContainerStateWaiting:
        (pod,) = kubernetes.pods_of(name)
        assert pod.phase == "Pending"
        return pod.container_statuses[0].state.waiting

    until(lambda: waiting().reason == "CreateContainerConfigError")
    assert waiting().message == 'secret "hub" not found'
    cluster.secrets["hub"] = {"TOKEN": "hf_x"}
    assert kubernetes.end(name)[0].succeeded == 1
    assert cluster.logs(name) == "hf_x\n"


def test_deadlines_signals_and_a_nodes_end_are_told_apart(cluster: Cluster, kubernetes: Kubernetes) -> None:
    late = kubernetes.start(LOOP, pod={"activeDeadlineSeconds": 1})
    fat, broken, deaf = (kubernetes.start(LOOP) for _ in range(3))
    polite = kubernetes.start(f"trap 'echo goodbye; exit 7' TERM; echo ready; {LOOP}")
    for name in (fat, broken, deaf):
        cluster.wait(name)
    cluster.kill(fat, "OOMKilled")
    cluster.kill(broken, "SIGSEGV")
    cluster.evict(cluster.wait(polite, "ready"))
    cluster.evict(deaf, grace=0.1)
    ends = {name: kubernetes.end(name)[1] for name in (late, fat, broken, polite, deaf)}
    found = [(pod.reason, *terminated(pod)) for pod in ends.values()]
    assert found == [
        ("DeadlineExceeded", 137, "Error"),
        (None, 137, "OOMKilled"),
        (None, 139, "Error"),
        ("Terminated", 7, "Error"),
        ("Terminated", 137, "Error"),
    ]
    assert {pod.phase for pod in ends.values()} == {"Failed"}
    assert cluster.logs(polite) == "ready\ngoodbye\n"
    assert cluster.running("train") == []


def test_a_paused_and_a_deleted_job_leave_nothing_running(cluster: Cluster, kubernetes: Kubernetes) -> None:
    hidden = f"setsid bash -c '{LOOP}' & echo $! here; {LOOP}"
    paused, deleted, exited = (
        kubernetes.start(hidden),
        kubernetes.start(hidden),
        kubernetes.start(f"{hidden[: -len(LOOP)]}"),
    )
    kubernetes.end(exited)
    for name in (paused, deleted):
        cluster.wait(name, "here")
    assert len({cluster.logs(name) for name in (paused, deleted, exited)}) == 3
    strays = [int(cluster.logs(name).split()[0]) for name in (paused, deleted, exited)]
    assert [psutil.pid_exists(stray) for stray in strays] == [True, True, False]
    kubernetes.jobs.patch_namespaced_job(paused, kubernetes.space, {"spec": {"parallelism": 0}})
    kubernetes.jobs.delete_namespaced_job(deleted, kubernetes.space, propagation_policy="Background")
    until(lambda: not any(psutil.pid_exists(stray) for stray in strays))
    assert (kubernetes.job(paused).active, kubernetes.job(paused).failed, kubernetes.pods_of(paused)) == (0, None, [])
    with pytest.raises(ApiException) as refused:
        kubernetes.job(deleted)
    assert (refused.value.status, json.loads(refused.value.body)["reason"]) == (404, "NotFound")


def test_what_is_not_known_here_is_refused_in_kubernetes_own_words(cluster: Cluster, kubernetes: Kubernetes) -> None:
    asked: list[tuple[int, Callable[[], object]]] = [
        (404, lambda: kubernetes.jobs.list_namespaced_job("other")),
        (404, lambda: kubernetes.pods.list_node()),
        (404, lambda: kubernetes.pods.read_namespaced_pod("none", kubernetes.space)),
        (400, lambda: kubernetes.pods.list_namespaced_pod(kubernetes.space, label_selector="a in (b)")),
        (403, lambda: kubernetes.pods.connect_get_namespaced_pod_exec("none", kubernetes.space, command=["ls"])),
        (422, lambda: kubernetes.start("true", pod={"restartPolicy": "OnFailure"})),
    ]
    for status, ask in asked:
        with pytest.raises(ApiException) as refused:
            ask()
        told = json.loads(refused.value.body)
        assert (refused.value.status, told["kind"], told["code"], told["status"]) == (
            status,
            "Status",
            status,
            "Failure",
        )
    assert cluster.jobs == []
    name = kubernetes.start(LOOP)
    cluster.wait(name)
    active = "status.phase!=Succeeded,status.phase!=Failed"
    assert len(kubernetes.pods.list_namespaced_pod(kubernetes.space, field_selector=active).items) == 1
    cluster.kill(name)
    assert kubernetes.pods.list_namespaced_pod(kubernetes.space, field_selector=active).items == []


def test_pods_end_with_the_cluster_and_with_the_process_that_opened_it(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        Kubernetes(cluster).start(f"echo $$ here; {LOOP}")
        cluster.wait("train", "here")
    first = int(cluster.logs("train").split()[0])
    assert not psutil.pid_exists(first)
    program = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from servers.kubernetes import Cluster\n"
        f"with Cluster(Path({str(tmp_path)!r})) as cluster:\n"
        "    print(flush=True)\n"
        "    cluster.wait('train', 'here')\n"
        "    print(cluster.logs('train').split()[0], flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    owner.stdout.readline()
    Kubernetes(cluster).start(f"echo $$ here; {LOOP}")  # the same file tells where the new cluster is
    second = int(owner.stdout.readline())
    assert psutil.pid_exists(second)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    until(lambda: not psutil.pid_exists(second))
