"""A run in a bucket that is killed and resumed, where one request in ten fails: its results are the same, and nothing
stored is lost or incomplete."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flow_process import FlowProcess, edit_profile
from metaflow import Run
from servers.bucket import Bucket
from servers.metadata import Metadata
from servers.proxy import Proxy

# Python imports this as `sitecustomize`. What is retried stays as in Google's client and Metaflow; only the waits
# between the tries, of a second and more, are shorter.
FAST_RETRIES = """
import os
from google.cloud.storage.retry import DEFAULT_RETRY
DEFAULT_RETRY._initial, DEFAULT_RETRY._maximum = 0.01, 0.1
DEFAULT_RETRY._timeout = float(os.environ.get("GIVE_UP", DEFAULT_RETRY._timeout))
"""
READ_RUNS = """
import json, sys
from metaflow import Run, get_metadata, namespace
from metaflow.cards import get_cards
namespace(None)
killed, run = (Run("WhisperFlow/" + id) for id in sys.argv[1:3])
artifacts = run["end"].task.data
artifacts.leaderboard.drop(columns="seconds").to_pickle("board.pickle")
print(json.dumps({
    "metadata": get_metadata(),
    "finished": [killed.finished, run.finished, run.successful],
    "resumed from": run.origin_pathspec,
    "tasks": {step.id: len(list(step)) for step in run},
    "tags": sorted(run.user_tags),
    "corpus": artifacts.corpus,
    "curves": artifacts.curves,
    "report": artifacts.report["test_wer"],
    "cards": {name: [get_cards(task)[0].get().rstrip()[-7:] for task in run[name]] for name in CARDS},
    "killed tries": [task.current_attempt for task in killed["train"]],
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


def python(code: str, cwd: Path, env: dict[str, str], arguments: Sequence[str] = ()) -> str:
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def folder(bucket: Bucket, run_folder: Path, tiny_profile: str, tiny_run: Run, tmp_path_factory: Any) -> Path:
    """A folder with the profile of `tiny_run`, but with its recordings in the bucket and frequent checkpoints."""
    bucket.put(run_folder / "mine", "mine")
    folder = Path(tmp_path_factory.mktemp("remote"))
    shutil.copy(run_folder / "withdrew.txt", folder)
    changes = {
        'path = "mine"': f'path = "{bucket.url}/mine"',
        "[training]": "[training]\ncheckpoint_minutes = 0.0",
    }
    (folder / "remote.toml").write_text(edit_profile(tiny_profile, changes), encoding="utf-8")
    (folder / "tmp").mkdir()
    return folder


@pytest.fixture(scope="module")
def run_data(folder, client, bucket) -> dict[str, Any]:
    """What the Client reads of a run that is killed and resumed, while one request in ten fails.

    SIGTERM for one trial, as on a spot machine, and SIGKILL for the other one; then SIGKILL for the run's scheduler.
    """
    with Proxy(bucket.endpoint, faults=0.1) as proxy, Metadata() as service:
        env = client(proxy) | service.settings | {"TMPDIR": str(folder / "tmp")}
        killed = FlowProcess("--config", "profile", "remote.toml", "run", cwd=folder, env=env)
        terminated_trial = killed.wait_for(r"\(pid (\d+)\)\] trial 1  step +([4-9]|1\d)/80")
        os.kill(int(terminated_trial[1]), signal.SIGTERM)
        running_trial = killed.wait_for(r"\(pid (\d+)\)\] trial 0  step +([1-4]\d)/80")
        with suppress(ProcessLookupError):
            os.kill(int(running_trial[1]), signal.SIGKILL)
        saved = killed.wait_for(r"asked to end at step (\d+)")
        assert killed.wait_for(r"trial 1  resumed at step (\d+) of 80")[1] == saved[1]
        retried_at = killed.wait_for(r"trial 0  resumed at step (\d+) of 80")
        killed.wait_for(r"trial 0  step ([56]\d|7[0-4])/80")
        time.sleep(0.1)  # in the middle of a step or of a checkpoint
        assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
        [leftover] = (folder / "tmp").iterdir()  # removed by the next run

        resumed = FlowProcess("resume", cwd=folder, env=env)
        resumed_at = resumed.wait_for(r"trial 0  resumed at step (\d+) of 80")
        assert int(resumed_at[1]) > int(retried_at[1]) > 0
        assert not leftover.exists()
        resumed.finish()
        assert not list((folder / "tmp").iterdir())
        runs = killed, resumed
        output = python(
            f"CARDS = {CARDS}\n{READ_RUNS}", folder, client(None) | service.settings, [run.id for run in runs]
        )
    client_data = json.loads(output.splitlines()[-1])
    assert client_data["metadata"] == f"service@{service.settings['METAFLOW_SERVICE_URL']}"
    board = pd.read_pickle(folder / "board.pickle")
    lines = [line for run in runs for line in run.lines]
    return {**client_data, "board": board, "proxy": proxy, "first": killed.id, "lines": lines}


def test_killed_trials_killed_runs_and_failed_requests_do_not_change_the_results(run_data, tiny_run):
    requests, faults = len(run_data["proxy"].exchanges), run_data["proxy"].faults
    assert set(faults) == {"503", "429", "drop", "cut", "lost"}
    assert 0.07 < faults.total() / requests < 0.13
    undisturbed = tiny_run["end"].task.data
    pd.testing.assert_frame_equal(run_data["board"], undisturbed.leaderboard.drop(columns="seconds"), check_exact=True)
    assert run_data["curves"] == json.loads(json.dumps(undisturbed.curves))  # every loss, to the last bit
    assert run_data["report"] == undisturbed.report["test_wer"]


def test_the_client_shows_which_runs_were_killed_and_what_was_retried(run_data, tiny_run):
    assert run_data["finished"] == [False, True, True]
    assert run_data["resumed from"] == f"WhisperFlow/{run_data['first']}"
    assert run_data["tasks"] == {step.id: len(list(step)) for step in tiny_run}
    assert run_data["tags"] == ["profile:tiny", f"winner:{run_data['board']['trial'][0]}"]
    assert run_data["killed tries"] == [1, 1]
    assert set(run_data["tries"]) == {0}  # for failed requests no step was retried: the retries of the clients suffice


def test_neither_a_kill_nor_a_failed_request_prints_a_traceback(run_data):
    assert not [line for line in run_data["lines"] if "Traceback" in line]


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
