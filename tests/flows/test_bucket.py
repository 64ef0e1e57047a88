"""A bucket where one request in ten fails: the run's results are the same, and nothing stored is lost or incomplete."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from servers.bucket import Bucket
from servers.proxy import Proxy

# Python imports this as `sitecustomize`. What is retried stays as in Google's client and Metaflow; only the waits
# between the tries, of a second and more, are shorter.
FAST_RETRIES = """
import os
from google.cloud.storage.retry import DEFAULT_RETRY
DEFAULT_RETRY._initial, DEFAULT_RETRY._maximum = 0.01, 0.1
DEFAULT_RETRY._timeout = float(os.environ.get("GIVE_UP", DEFAULT_RETRY._timeout))
"""
READ_RUN = """
import json
from metaflow import Flow, namespace
from metaflow.cards import get_cards
namespace(None)
run = Flow("WhisperFlow").latest_run
artifacts = run["end"].task.data
artifacts.leaderboard.drop(columns="seconds").to_pickle("board.pickle")
print(json.dumps({
    "successful": run.successful,
    "corpus": artifacts.corpus,
    "report": artifacts.report["test_wer"],
    "cards": {name: [get_cards(task)[0].get().rstrip()[-7:] for task in run[name]] for name in CARDS},
    "tries": [task.current_attempt for step in run for task in step],
    "keys": [shard["key"] for shard in run["collect"].task.data.shards]
        + [task.data.weights_key for task in run["train"]] + [run["evaluate"].task.data.release_key],
}))
"""
CARDS = ("collect", "train", "select", "evaluate", "push")
CHECKPOINTS = """
import hashlib, os, sys, tempfile
from pathlib import Path
from asr.metaflow_internals import Location
from asr.settings import Training
from asr.store import Store
from asr.training.checkpoints import Checkpoints

store = Store(Location.at("Example", "gs", os.environ["METAFLOW_DATASTORE_SYSROOT_GS"]))
scratch = Path(tempfile.mkdtemp(dir="."))

def state(step):
    (folder := scratch / str(step)).mkdir()
    for name, size in {"optimizer.pt": 9 << 20, "learnt.safetensors": 1 << 20, "progress.json": 20}.items():
        (folder / name).write_bytes(step.to_bytes(1) * size)
    return folder

lines = []
prefix = f"trials/{os.getpid()}"
checkpoints = Checkpoints(store, prefix, Training(), lines.append)
print("saved", [checkpoints.save(state(step), step) for step in (10, 20, 30)])
restored = Checkpoints(store, prefix, Training(), lines.append).restore(scratch / "again")
print("restored", restored)
for file in (scratch / str(restored)).iterdir():
    assert file.read_bytes() == (scratch / "again" / file.name).read_bytes(), file
print("lines", lines)
blob = b"winner" * (2 << 20)
key = store.put(blob)
assert key == hashlib.sha1(blob).hexdigest() and store.has(key)
assert (store.fetch([key], scratch) / key).read_bytes() == blob
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket"), "artifacts") as bucket:
        yield bucket


@pytest.fixture(scope="module")
def client(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Proxy | None], dict[str, str]]:
    """A function that gives the environment of a process that uses the bucket, directly or through a proxy."""
    (site := tmp_path_factory.mktemp("site")).joinpath("sitecustomize.py").write_text(FAST_RETRIES, encoding="utf-8")
    path = os.pathsep.join([str(site), str(Path(__file__).parents[2] / "flows")])
    root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}

    def env(proxy: Proxy | None) -> dict[str, str]:
        through = proxy.settings if proxy else {}
        return {**bucket.env(), **through, **root, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}

    return env


def python(code: str, cwd: Path, env: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def run_data(bucket, client, flow_file, run_folder, tiny_run, tiny_profile, tmp_path_factory) -> dict[str, Any]:
    """What the Client reads of a run whose recordings and artifacts pass through the failing proxy.

    It repeats `tiny_run`, with the folder of recordings in the bucket.
    """
    folder = tmp_path_factory.mktemp("remote")
    bucket.put(run_folder / "mine", "mine")
    shutil.copy(run_folder / "withdrew.txt", folder)
    remote = tiny_profile.replace('path = "mine"', f'path = "{bucket.url}/mine"')
    assert remote != tiny_profile
    (folder / "remote.toml").write_text(remote, encoding="utf-8")
    command = [sys.executable, str(flow_file), "--config", "profile", "remote.toml", "--datastore", "gs", "run"]
    with Proxy(bucket.endpoint, faults=0.1, seed=0) as proxy:
        process = subprocess.run(
            command, cwd=folder, env=client(proxy), capture_output=True, text=True, timeout=300, check=False
        )
        assert process.returncode == 0, process.stdout + process.stderr
    client_data = json.loads(python(f"CARDS = {CARDS}\n{READ_RUN}", folder, client(None)).splitlines()[-1])
    return {**client_data, "board": pd.read_pickle(folder / "board.pickle"), "proxy": proxy}


def test_the_leaderboard_is_the_same_when_a_tenth_of_all_requests_fail(run_data, tiny_run):
    requests, faults = len(run_data["proxy"].exchanges), run_data["proxy"].faults
    assert set(faults) == {"503", "429", "drop", "cut", "lost"}
    assert 0.07 < faults.total() / requests < 0.13
    assert run_data["successful"]
    undisturbed = tiny_run["end"].task.data
    pd.testing.assert_frame_equal(run_data["board"], undisturbed.leaderboard.drop(columns="seconds"), check_exact=True)
    assert run_data["report"] == undisturbed.report["test_wer"]
    assert set(run_data["tries"]) == {0}  # no step was retried: the retries of the clients suffice


def test_its_recordings_are_read_from_the_bucket(run_data, tiny_run):
    read = run_data["proxy"].traffic("mine/")
    assert read["list"].requests and read["read"].down > 10_000
    assert run_data["corpus"]["kept"] == tiny_run["end"].task.data.corpus["kept"]


def test_its_cards_are_complete(run_data):
    assert run_data["cards"] == {name: ["</html>"] * (2 if name == "train" else 1) for name in CARDS}


def test_every_blob_exists_and_matches_its_hash(run_data, bucket):
    """A blob's name is the hash of its content before compression."""
    keys = set()
    for blob in bucket.client().list_blobs(bucket.name, prefix="metaflow/WhisperFlow/data/"):
        if "/named/" in blob.name:  # checkpoints, and the index of shards
            continue
        content, key = blob.download_as_bytes(), blob.name.rsplit("/", 1)[1]
        is_raw = json.loads(blob.metadata["metaflow-user-attributes"])["cas_raw"]
        assert hashlib.sha1(content if is_raw else gzip.decompress(content)).hexdigest() == key
        keys.add(key)
    assert set(run_data["keys"]) <= keys
    assert len(keys) > 50


def test_checkpoints_are_restored_unchanged(bucket, client, tmp_path):
    with Proxy(bucket.endpoint, faults=0.3) as proxy:
        proxy.inject("lost", "PUT write .*/optimizer", times=2)
        proxy.inject("cut", "read .*/optimizer", times=2)
        output = python(CHECKPOINTS, tmp_path, client(proxy))
        assert not any(order.times for order in proxy.fault_orders)
    assert output.splitlines() == ["saved [True, True, True]", "restored 30", "lines []"]


def test_a_failed_checkpoint_keeps_the_previous_one_and_training_continues(bucket, client, tmp_path):
    with Proxy(bucket.endpoint) as proxy:
        proxy.inject("503", "write .*/b/learnt", times=10_000)
        output = python(CHECKPOINTS, tmp_path, {**client(proxy), "GIVE_UP": "0.5"})
    assert output.startswith("saved [True, False, False]\nrestored 10\n")
    assert output.count("could not be saved") == 2
