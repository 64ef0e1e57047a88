"""The Kubernetes server through the official client; `tests/flows/test_pods.py` tests it with Metaflow."""

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
    """The client's two APIs for a cluster, with jobs that each run a line of bash."""

    def __init__(self, cluster: Cluster) -> None:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        self.namespace, self.jobs, self.pods = cluster.namespace, client.BatchV1Api(api), client.CoreV1Api(api)

    def start(
        self, line: str, job: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **container_fields: Any
    ) -> str:
        """Starts a job with these additional fields of the job, its pod and its container; returns its name."""
        container = {"name": "main", "image": "speech", "command": ["bash", "-c", line], **container_fields}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container], **(pod or {})}
        template = {"metadata": {"annotations": {"metaflow/step_name": "train"}}, "spec": spec}
        body = {"metadata": {"generateName": "t-"}, "spec": {"backoffLimit": 0, "template": template, **(job or {})}}
        return self.jobs.create_namespaced_job(self.namespace, body).metadata.name

    def job(self, name: str) -> client.V1JobStatus:
        return self.jobs.read_namespaced_job(name, self.namespace).status

    def pods_of(self, name: str) -> list[client.V1PodStatus]:
        response = self.pods.list_namespaced_pod(self.namespace, label_selector=f"job-name={name}")
        return [pod.status for pod in response.items]

    def end(self, name: str) -> tuple[client.V1JobStatus, client.V1PodStatus]:
        """Waits for the end of a job; its status and that of its last pod."""
        wait_until(lambda: self.job(name).conditions)
        return self.job(name), self.pods_of(name)[-1]


@pytest.fixture
def kubernetes(cluster: Cluster) -> Kubernetes:
    return Kubernetes(cluster)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def terminated(pod: client.V1PodStatus) -> tuple[int, str]:
    state = pod.container_statuses[0].state.terminated
    return state.exit_code, state.reason


def test_a_jobs_command_gets_the_environment_secrets_and_mounts_of_its_pod(
    cluster: Cluster, kubernetes: Kubernetes
) -> None:
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
    container_fields = {"env": env, "envFrom": [{"secretRef": {"name": "hub"}}]}
    container_fields["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    name = kubernetes.start("env; pwd > here; test $SCRATCH = $PWD; python -c 'import metaflow'", **container_fields)
    job, pod = kubernetes.end(name)
    variables = dict(line.split("=", 1) for line in cluster.logs(name).splitlines())
    assert (job.succeeded, job.failed, job.active, job.conditions[0].type) == (1, None, 0, "Complete")
    assert (pod.phase, terminated(pod)) == ("Succeeded", (0, "Completed"))
    assert (variables["HF_TOKEN"], variables["LANG"], variables["BUCKET"], variables["STEP"]) == (
        "hf_x",
        "C",
        "here",
        "train",
    )
    assert (variables["JOB"], variables["POD"][: len(name)], variables["HOMES"]) == (name, name, "$(pwd)")
    assert variables["HOME"] == variables["PWD"] == str(Path(variables["TMPDIR"]).parent)
    assert Path(variables["PWD"], "here").is_file()
    assert "KUBECONFIG" not in variables
    assert cluster.jobs[0]["spec"]["template"]["spec"]["containers"][0]["envFrom"] == container_fields["envFrom"]
    assert kubernetes.pods.read_namespaced_pod_log(variables["POD"], kubernetes.namespace) == cluster.logs("train")


def test_a_failed_pod_reports_its_reason_and_a_job_retries_up_to_its_limit(
    cluster: Cluster, kubernetes: Kubernetes
) -> None:
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


def test_a_pod_waits_for_a_missing_secret(cluster: Cluster, kubernetes: Kubernetes) -> None:
    name = kubernetes.start("echo $TOKEN", envFrom=[{"secretRef": {"name": "hub"}}])

    def waiting_state() -> client.V1ContainerStateWaiting:
        (pod,) = kubernetes.pods_of(name)
        assert pod.phase == "Pending"
        return pod.container_statuses[0].state.waiting

    wait_until(lambda: waiting_state().reason == "CreateContainerConfigError")
    assert waiting_state().message == 'secret "hub" not found'
    cluster.secrets["hub"] = {"TOKEN": "hf_x"}
    assert kubernetes.end(name)[0].succeeded == 1
    assert cluster.logs(name) == "hf_x\n"


def test_deadlines_signals_and_node_shutdowns_have_distinct_reasons(cluster: Cluster, kubernetes: Kubernetes) -> None:
    timed_out = kubernetes.start(LOOP, pod={"activeDeadlineSeconds": 1})
    out_of_memory, crashed, ignores_sigterm = (kubernetes.start(LOOP) for _ in range(3))
    handles_sigterm = kubernetes.start(f"trap 'echo goodbye; exit 7' TERM; echo ready; {LOOP}")
    for name in (out_of_memory, crashed, ignores_sigterm):
        cluster.wait(name)
    cluster.kill(out_of_memory, "OOMKilled")
    cluster.kill(crashed, "SIGSEGV")
    cluster.evict(cluster.wait(handles_sigterm, "ready"))
    cluster.evict(ignores_sigterm, grace=0.1)
    names = (timed_out, out_of_memory, crashed, handles_sigterm, ignores_sigterm)
    pods = [kubernetes.end(name)[1] for name in names]
    assert [(pod.reason, *terminated(pod)) for pod in pods] == [
        ("DeadlineExceeded", 137, "Error"),
        (None, 137, "OOMKilled"),
        (None, 139, "Error"),
        ("Terminated", 7, "Error"),
        ("Terminated", 137, "Error"),
    ]
    assert {pod.phase for pod in pods} == {"Failed"}
    assert cluster.logs(handles_sigterm) == "ready\ngoodbye\n"
    assert cluster.running("train") == []


def test_paused_and_deleted_jobs_leave_no_process_running(cluster: Cluster, kubernetes: Kubernetes) -> None:
    line = f"setsid bash -c '{LOOP}' & echo $! here; {LOOP}"
    paused, deleted, exited = (
        kubernetes.start(line),
        kubernetes.start(line),
        kubernetes.start(f"{line[: -len(LOOP)]}"),
    )
    kubernetes.end(exited)
    for name in (paused, deleted):
        cluster.wait(name, "here")
    assert len({cluster.logs(name) for name in (paused, deleted, exited)}) == 3
    orphans = [int(cluster.logs(name).split()[0]) for name in (paused, deleted, exited)]
    assert [psutil.pid_exists(orphan) for orphan in orphans] == [True, True, False]
    kubernetes.jobs.patch_namespaced_job(paused, kubernetes.namespace, {"spec": {"parallelism": 0}})
    kubernetes.jobs.delete_namespaced_job(deleted, kubernetes.namespace, propagation_policy="Background")
    wait_until(lambda: not any(psutil.pid_exists(orphan) for orphan in orphans))
    assert (kubernetes.job(paused).active, kubernetes.job(paused).failed, kubernetes.pods_of(paused)) == (0, None, [])
    with pytest.raises(ApiException) as error:
        kubernetes.job(deleted)
    assert (error.value.status, json.loads(error.value.body)["reason"]) == (404, "NotFound")


def test_unsupported_requests_get_kubernetes_errors(cluster: Cluster, kubernetes: Kubernetes) -> None:
    calls: list[tuple[int, Callable[[], object]]] = [
        (404, lambda: kubernetes.jobs.list_namespaced_job("other")),
        (404, lambda: kubernetes.pods.list_node()),
        (404, lambda: kubernetes.pods.read_namespaced_pod("none", kubernetes.namespace)),
        (400, lambda: kubernetes.pods.list_namespaced_pod(kubernetes.namespace, label_selector="a in (b)")),
        (403, lambda: kubernetes.pods.connect_get_namespaced_pod_exec("none", kubernetes.namespace, command=["ls"])),
        (422, lambda: kubernetes.start("true", pod={"restartPolicy": "OnFailure"})),
    ]
    for status, call in calls:
        with pytest.raises(ApiException) as error:
            call()
        body = json.loads(error.value.body)
        assert (error.value.status, body["kind"], body["code"], body["status"]) == (
            status,
            "Status",
            status,
            "Failure",
        )
    assert cluster.jobs == []
    name = kubernetes.start(LOOP)
    cluster.wait(name)
    active = "status.phase!=Succeeded,status.phase!=Failed"
    assert len(kubernetes.pods.list_namespaced_pod(kubernetes.namespace, field_selector=active).items) == 1
    cluster.kill(name)
    assert kubernetes.pods.list_namespaced_pod(kubernetes.namespace, field_selector=active).items == []


def test_pods_end_with_the_cluster_and_with_its_process(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        Kubernetes(cluster).start(f"echo $$ here; {LOOP}")
        cluster.wait("train", "here")
    process_id = int(cluster.logs("train").split()[0])
    assert not psutil.pid_exists(process_id)
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
    Kubernetes(cluster).start(f"echo $$ here; {LOOP}")  # the kubeconfig now holds the new cluster's address
    process_id = int(owner.stdout.readline())
    assert psutil.pid_exists(process_id)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    wait_until(lambda: not psutil.pid_exists(process_id))
