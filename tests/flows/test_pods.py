"""The flow on Kubernetes: what each step requests, and a whole run in pods, with the dataset and the base of a Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asr.settings import load
from flow_process import edit_profile
from servers.bucket import Bucket
from servers.hub import Hub
from servers.kubernetes import Cluster
from servers.metadata import Metadata

PROFILES = Path(__file__).parents[2] / "flows" / "profiles"
IN_CLOUD = sorted(path.name for path in PROFILES.glob("*.toml") if load(path.read_text()).compute.where == "gke")
STEPS = {"start", "preprocess", "collect", "search", "train", "select", "evaluate", "push", "end"}
ON_GPU = {"train", "evaluate"}
SECRETS = {name: name.lower() + "-geheim" * 5 for name in ("HF_TOKEN", "API_KEY", "WANDB_API_KEY", "MDC_API_KEY")}
COMPUTE = """
[compute]
where = "gke"
image = "registry/whisper:1"
spot = true
secrets = ["hub"]
"""
WRITE_HUB = """
import io, json, sys
sys.path.insert(0, {flows!r})
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from asr.corpus import SAMPLE, audio, clips, folder
from asr.settings import Settings
from asr.training import models
root = Path({root!r})
tiny = Settings.model_validate({{"model": {{"width": 32, "heads": 2, "encoder_layers": 1, "vocabulary": 300}}}})
models.save(root / "models/KBLab/kb-whisper-tiny", *models.prepare(tiny, ["Klockan är halv åtta."]))
script = root / "datasets/google/fleurs/fleurs.py"
script.parent.mkdir(parents=True)
script.write_text("raise SystemExit('scripts are not run')")
rows = folder.list_rows(SAMPLE, 30.0)
for split in ("train", "validation", "test"):
    some = [row for row in rows if row.split == split][:8]
    for config, word in (("sv_se", ""), ("da_dk", "Dansk ")):
        path = root / f"datasets/google/fleurs@refs%2Fconvert%2Fparquet/{{config}}/{{split}}/0000.parquet"
        path.parent.mkdir(parents=True)
        sounds = [clips.encode_flac(clips.to_pcm16(audio.Recording(row.audio).sound().samples)) for row in some]
        pq.write_table(pa.table({{
            "id": list(range(len(some))),
            "audio": [{{"bytes": sound, "path": f"{{at}}.wav"}} for at, sound in enumerate(sounds)],
            "transcription": [row.text.lower() for row in some],
            "raw_transcription": [word + row.text for row in some],
            "gender": [0] * len(some),
        }}), path)
"""
READ_RUN = """
import json, sys
from metaflow import Run, namespace
namespace(None)
run = Run("WhisperFlow/" + sys.argv[1])
train, artifacts = list(run["train"]), run["end"].task.data
print(json.dumps({
    "successful": run.successful,
    "tags": sorted(run.user_tags),
    "stopped": [task.data.outcome["stopped"] for task in train],
    "tries": [task.current_attempt for task in train],
    "release": artifacts.release,
    "corpus": artifacts.corpus,
    "report": artifacts.report,
    "references": artifacts.scores["reference"].tolist(),
}))
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket")) as bucket:
        yield bucket


def pods(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The templates of a workflow that run a step, by the step."""
    by_step = {}
    for entry in template["spec"]["templates"]:
        step = entry.get("metadata", {}).get("annotations", {}).get("metaflow/step_name")
        if step and "container" in entry:
            by_step[step] = entry
    return by_step


def pod_that_wrote(cluster, text, run):
    """The name of the trial's pod, as soon as its log has this text; for as long as the run itself continues."""
    while run.poll() is None:
        with suppress(TimeoutError):
            return cluster.wait("train", text, seconds=5)
    raise AssertionError(run.communicate()[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder where a run is launched: `swedish-tiny`, with one short trial, in pods."""
    folder = tmp_path_factory.mktemp("launched")
    training = "steps = 40\nbatch_size = 4\nevaluations = 2\ncheckpoint_minutes = 0.0"
    changes = {"steps = 300": training, "trials = 2": "trials = 1"}
    profile = edit_profile((PROFILES / "swedish-tiny.toml").read_text(encoding="utf-8"), changes)
    (folder / "cloud.toml").write_text(profile + COMPUTE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(folder, flow_file, bucket) -> dict[str, Any]:
    """What the Client reads of a run whose trial's pod is killed; with the dataset and the base of a Hub."""
    code = WRITE_HUB.format(flows=str(flow_file.parent), root=str(folder / "hub"))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    with Metadata() as metadata, Cluster(folder) as cluster, Hub(folder / "hub") as hub:
        hub.drop(times=1, match="sv_se/train")
        in_pod = {name: value for name, value in hub.env(folder / "home").items() if os.environ.get(name) != value}
        cluster.pod_env |= bucket.settings | in_pod | {"OMP_WAIT_POLICY": "passive"}  # a trial's threads share cores
        cluster.secrets["hub"] = {"HF_TOKEN": SECRETS["HF_TOKEN"]}
        env = {**hub.env(folder / "home"), **bucket.settings, **metadata.settings, **cluster.settings, **SECRETS}
        env |= {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
        command = [sys.executable, str(flow_file), "--config", "profile", "cloud.toml", "run"]
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            cluster.kill(pod_that_wrote(cluster, "12/40  loss", process))
            output, _ = process.communicate(timeout=400)
        finally:
            process.kill()
        assert process.returncode == 0, output
        (run_id,) = set(re.findall(r"run-id (\d+)", output))
        client = subprocess.run(
            [sys.executable, "-c", READ_RUN, run_id], cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        fetched = subprocess.run(
            [sys.executable, "-m", "asr.release.fetch", run_id], cwd=folder, env=env, capture_output=True, text=True
        )
        assert fetched.returncode == 0, fetched.stderr
        client_data = json.loads(client.stdout.splitlines()[-1])
        return {**client_data, "id": run_id, "output": output, "jobs": cluster.jobs, "hub requests": hub.requests}


def test_a_run_survives_a_killed_pod(run):
    assert re.search(r"resumed at step \d+ of 40", run["output"])
    assert (run["successful"], run["stopped"], run["tries"]) == (True, ["finished"], [1])
    assert "profile:swedish-tiny" in run["tags"]


def test_the_release_of_a_run_in_pods_can_be_fetched(run, folder):
    release = folder / "released" / f"swedish-tiny-{run['id']}"
    assert run["release"]["path"] == str(release)
    assert not run["release"]["here"]
    assert (release / "ct2-int8" / "model.bin").is_file()
    assert "asr.release.fetch" in run["output"]


def test_a_release_that_is_not_better_than_its_base_never_becomes_latest(run, folder):
    assert run["report"]["test_wer"] >= run["report"]["baseline_wer"]  # after 40 steps
    assert "is not below its base's" in run["output"]
    assert not (folder / "released" / "latest").exists()


def test_a_pod_requests_what_its_step_needs(run):
    specs = [job["spec"]["template"] for job in run["jobs"]]
    steps = [spec["metadata"]["annotations"]["metaflow/step_name"] for spec in specs]
    assert set(steps) == STEPS
    assert steps.count("train") == 2
    for step, spec in zip(steps, specs, strict=True):
        (container,) = spec["spec"]["containers"]
        assert container["image"] == "registry/whisper:1"
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (step in ON_GPU)
        assert ("cloud.google.com/gke-spot" in (spec["spec"].get("nodeSelector") or {})) == (step in ON_GPU)


def test_no_secret_is_in_a_job_or_in_the_output(run):
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(run["jobs"]) + run["output"]]


def test_the_model_is_trained_on_the_dataset_of_its_language_only(run):
    assert run["corpus"]["clips"] == {"train": 8, "validation": 8, "test": 8}
    assert run["corpus"]["sources"].keys() == {"google-fleurs"}
    assert not any(text.startswith("Dansk") for text in run["references"])
    assert all(text[0].isupper() for text in run["references"])
    requests = run["hub requests"]
    assert not any("GET" in request and "da_dk" in request and "resolve" in request for request in requests)


def test_the_model_is_fine_tuned_from_the_hub_base(run, folder):
    assert run["report"]["baseline_wer"] is not None
    assert Path(run["release"]["path"], "model.safetensors").is_file()
    assert any("KBLab/kb-whisper-tiny" in request for request in run["hub requests"])


@pytest.fixture(scope="module")
def templates(bucket: Bucket, flow_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `argo-workflows create` would submit for every profile that runs in a cloud."""
    env = {**os.environ, **bucket.settings, "METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow"}
    env |= {"METAFLOW_KUBERNETES_CONTAINER_IMAGE": "registry/whisper:1", "HF_HUB_OFFLINE": "1"} | SECRETS
    templates_by_profile, folder = {}, tmp_path_factory.mktemp("argo")
    for name in IN_CLOUD:
        command = [sys.executable, str(flow_file), "--config", "profile", str(PROFILES / name), "--datastore", "gs"]
        command += ["--metadata", "local", "--branch", "nightly", "argo-workflows", "create", "--only-json"]
        process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
        assert process.returncode == 0, process.stdout + process.stderr
        templates_by_profile[name] = json.loads(process.stdout[process.stdout.index("{") :])
    return templates_by_profile


@pytest.mark.parametrize("name", IN_CLOUD)
def test_each_step_requests_what_it_needs_and_no_more(templates, name):
    compute, steps = load((PROFILES / name).read_text()).compute, pods(templates[name])
    assert templates[name]["metadata"]["name"] == "whisperflow.test.nightly.whisperflow"
    assert set(steps) == STEPS
    for step, pod in steps.items():
        container = pod["container"]
        limits = container["resources"]["limits"]
        assert container["image"] == (compute.image or "registry/whisper:1")
        requests = container["resources"]["requests"]
        assert requests.items() <= limits.items()  # what is asked for is what there is
        assert int(pod["retryStrategy"]["limit"]) == (4 + 3 if step == "train" else 3)  # three to tell that it failed
        assert pod["activeDeadlineSeconds"] == 3600 * compute.hours
        assert limits["ephemeral-storage"] == f"{1000 * compute.disk_gb}M"
        secret_names = {entry["secretRef"]["name"] for entry in container.get("envFrom") or []}
        assert secret_names == {secret for secret in compute.secrets if "/" not in secret}
        env = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert ("LD_LIBRARY_PATH" in env) == (step in ON_GPU)  # where the driver is, for an image that does not know
        if step in ON_GPU:
            assert limits["nvidia.com/gpu"] == str(compute.gpus if step == "train" else 1)
            assert limits["memory"] == f"{1000 * compute.memory_gb}M"
            assert pod["nodeSelector"]["cloud.google.com/gke-accelerator"] == "nvidia-tesla-t4"
            assert ("cloud.google.com/gke-spot" in pod["nodeSelector"]) == compute.spot
            assert "nvidia.com/gpu" in {taint["key"] for taint in pod["tolerations"]}
            assert "/dev/shm" in {entry["mountPath"] for entry in container["volumeMounts"]}
        else:
            assert "nvidia.com/gpu" not in limits
            assert not pod.get("nodeSelector")
            assert limits["memory"] == "8000M"


def test_no_argument_of_a_pod_exceeds_the_shells_limit(templates):
    for template in templates.values():
        assert not template["spec"]["arguments"]["parameters"]  # the profile is in the package
        for step, pod in pods(template).items():
            words = [*(pod["container"].get("command") or []), *(pod["container"].get("args") or [])]
            assert max(map(len, words)) < 131_072, step


def test_no_secret_of_the_launching_machine_is_in_a_workflow(templates):
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(templates)]


def test_with_uv_a_pod_installs_its_packages_from_the_lock_file(flow_file, bucket, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "pods"\nversion = "0"\n')
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "cloud.toml").write_text('[compute]\nwhere = "gke"\nimage = "python:3.11-slim"\n')
    env = {**os.environ, **bucket.settings, "METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow"}
    command = [sys.executable, str(flow_file), "--environment", "uv", "--config", "profile", "cloud.toml"]
    command += ["--datastore", "gs", "--metadata", "local"]
    argo = [*command, "argo-workflows", "create", "--only-json"]
    process = subprocess.run(argo, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stdout + process.stderr
    steps = pods(json.loads(process.stdout[process.stdout.index("{") :]))
    assert set(steps) == STEPS
    for step, pod in steps.items():
        output = " ".join([*(pod["container"].get("command") or []), *(pod["container"].get("args") or [])])
        bootstrap, runs = output.index("metaflow.plugins.uv.bootstrap"), output.index("uv run --no-sync python")
        assert bootstrap < runs, step
    listed = subprocess.run([*command, "package", "list"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert {"uv.lock", "pyproject.toml"} <= {Path(line.strip()).name for line in listed.stderr.splitlines()}


def test_without_an_image_nothing_is_submitted(flow_file, bucket, tmp_path):
    (tmp_path / "cloud.toml").write_text('[compute]\nwhere = "gke"\n')
    env = {**os.environ, **bucket.settings, "METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow"}
    env.pop("METAFLOW_KUBERNETES_CONTAINER_IMAGE", None)
    command = [sys.executable, str(flow_file), "--config", "profile", "cloud.toml", "--datastore", "gs", "run"]
    process = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    output = process.stdout + process.stderr
    assert process.returncode != 0
    assert "[compute] image: name the image of flows/Dockerfile" in output
    assert "Traceback" not in output
