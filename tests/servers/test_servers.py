"""The servers for the Hub, Google's storage and Metaflow's service, through clients in separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration  # Metaflow's Runner breaks a later import

from servers.bucket import Bucket
from servers.hub import Hub
from servers.metadata import Metadata

SPLITS = {"train": 2, "validation": 1, "test": 1}  # files
CLIPS = 6  # a file, in two row groups


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hub with a dataset of speech, and a model on two branches."""
    root = tmp_path_factory.mktemp("hub")
    for split, files in SPLITS.items():
        for number in range(files):
            file = root / "datasets" / "acme" / "speech" / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(speech(f"{split}{number}", file.parent), file, row_group_size=CLIPS // 2)
    save_whisper(root / "models" / "acme" / "whisper", seed=0)
    save_whisper(root / "models" / "acme" / "whisper@strict", seed=1)
    return root


def speech(name: str, scratch: Path) -> pa.Table:
    rows = []
    for number in range(CLIPS):
        file = scratch / "clip.flac"
        soundfile.write(file, np.random.default_rng(number).normal(0, 0.1, 16_000), 16_000)
        audio = {"bytes": file.read_bytes(), "path": f"{number}.flac"}
        rows.append({"audio": audio, "transcription": f"{name} {number}"})
        file.unlink()
    return pa.Table.from_pylist(rows)


def save_whisper(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    counts = {f"{part}_{unit}": 1 for part in ("encoder", "decoder") for unit in ("layers", "attention_heads")}
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 100}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    tokens |= {"suppress_tokens": None, "begin_suppress_tokens": None}
    WhisperForConditionalGeneration(WhisperConfig(**counts, **sizes, **tokens)).save_pretrained(folder)


@pytest.fixture
def hub(repositories: Path):
    with Hub(repositories) as server:
        yield server


def run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a program, which ends with a `print(json.dumps(...))`, in a Python process."""
    return subprocess.run(
        [sys.executable, "-c", "import json\n" + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output(process: subprocess.CompletedProcess[str]) -> object:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


STREAM_SPLIT = """
from datasets import Audio, load_dataset
def stream(split):
    return load_dataset("acme/speech", split=split, streaming=True).cast_column("audio", Audio(decode=False))
"""


def test_datasets_streams_every_split_with_its_audio(hub: Hub, tmp_path: Path) -> None:
    program = STREAM_SPLIT + (
        "rows = {split: list(stream(split)) for split in ('train', 'validation', 'test')}\n"
        "print(json.dumps({split: [[row['transcription'], row['audio']['path'], row['audio']['bytes'][:4].decode()]"
        " for row in split_rows] for split, split_rows in rows.items()}))"
    )
    rows = output(run(program, hub.env(tmp_path)))
    for split, files in SPLITS.items():
        assert rows[split] == [
            [f"{split}{file} {clip}", f"{clip}.flac", "fLaC"] for file in range(files) for clip in range(CLIPS)
        ]


def test_a_shard_of_a_stream_reads_only_its_own_file(hub: Hub, tmp_path: Path) -> None:
    program = STREAM_SPLIT + (
        "train = stream('train')\n"
        "print(json.dumps([train.num_shards, [row['transcription'] for row in train.shard(2, 1)]]))"
    )
    assert output(run(program, hub.env(tmp_path))) == [2, [f"train1 {clip}" for clip in range(CLIPS)]]
    files = [line.rpartition("/")[2] for line in hub.requests if line.startswith("GET") and ".parquet" in line]
    # The first file is read for its column names only, the second for its rows.
    assert files.count("train-00001-of-00002.parquet") >= 1
    assert files[-1] == "train-00001-of-00002.parquet"


def test_a_stream_recovers_from_a_connection_dropped_within_a_file(hub: Hub, tmp_path: Path) -> None:
    hub.drop(1, r"train-00001.*\.parquet")
    process = run(STREAM_SPLIT + "print(json.dumps(len(list(stream('train')))))", hub.env(tmp_path))
    assert output(process) == 2 * CLIPS
    assert "peer closed connection without sending complete message body" in process.stderr


def test_a_server_error_is_retried(hub: Hub, tmp_path: Path) -> None:
    hub.fail(1, 503, "/tree/")
    assert output(run(STREAM_SPLIT + "print(json.dumps(len(list(stream('test')))))", hub.env(tmp_path))) == CLIPS


def test_missing_datasets_revisions_configurations_and_splits_are_errors(hub: Hub, tmp_path: Path) -> None:
    errors = {
        "'acme/nothing'": "DatasetNotFoundError: Dataset 'acme/nothing' doesn't exist on the Hub",
        "'acme/speech', revision='nowhere'": "DatasetNotFoundError: Revision 'nowhere' doesn't exist",
        "'acme/speech', 'sv_se'": "ValueError: BuilderConfig 'sv_se' not found. Available: ['default']",
        "'acme/speech', split='dev'": "ValueError: Bad split: dev. Available splits: ['train', 'validation', 'test']",
    }
    for message, expected in zip(output(run(load_errors(errors), hub.env(tmp_path))), errors.values(), strict=True):
        assert message.startswith(expected)


def test_a_locked_repository_is_readable_with_its_token_only(hub: Hub, tmp_path: Path) -> None:
    for hidden, expected in ((False, "'acme/speech' is a gated dataset"), (True, "'acme/speech' doesn't exist")):
        hub.lock("acme/speech", "hf_friend", hidden)
        calls = ["'acme/speech'", "'acme/speech', token='hf_stranger'", "'acme/speech', token='hf_friend'"]
        without_token, stranger, friend = output(run(load_errors(calls), hub.env(tmp_path / str(hidden))))
        assert expected in without_token
        assert expected in stranger
        assert friend == ""


def load_errors(calls: Iterable[str]) -> str:
    """A program that prints the error of `load_dataset` for each of these arguments, or an empty string."""
    lines = ["from datasets import load_dataset", "errors = []"]
    for call in calls:
        lines += ["try:", f"    load_dataset({call}, streaming=True)", "    errors.append('')"]
        lines += ["except Exception as error:", "    errors.append(f'{type(error).__name__}: {error}')"]
    return "\n".join([*lines, "print(json.dumps(errors))"])


def test_transformers_loads_a_whisper_model_from_each_branch(hub: Hub, tmp_path: Path) -> None:
    program = (
        "from transformers import WhisperForConditionalGeneration\n"
        "def weight(**options):\n"
        "    model = WhisperForConditionalGeneration.from_pretrained('acme/whisper', **options)\n"
        "    return [model.config.d_model, float(next(model.parameters()).sum())]\n"
        "print(json.dumps([weight(), weight(revision='strict')]))"
    )
    main, strict = output(run(program, hub.env(tmp_path)))
    assert main[0] == strict[0] == 16
    assert main != strict


def test_huggingface_hub_lists_the_files_of_the_folder(hub: Hub, tmp_path: Path) -> None:
    program = (
        "from huggingface_hub import HfApi\n"
        "api = HfApi()\n"
        "repo = dict(repo_id='acme/speech', repo_type='dataset')\n"
        "info = api.repo_info(**repo)\n"
        "top = [entry.path for entry in api.list_repo_tree(**repo)]\n"
        "deep = [entry.path for entry in api.list_repo_tree(**repo, recursive=True, expand=True)]\n"
        "(file,) = api.get_paths_info(**repo, paths=['data/test-00000-of-00001.parquet', 'data/none'])\n"
        "print(json.dumps([info.sha, top, deep, file.size, file.lfs.sha256]))"
    )
    sha, top, deep, size, digest = output(run(program, hub.env(tmp_path)))
    files = sorted((hub.root / "datasets" / "acme" / "speech" / "data").glob("*.parquet"))
    assert top == ["data"]
    assert deep == ["data", *(f"data/{file.name}" for file in files)]
    assert size == files[0].stat().st_size
    assert len(sha) == 40
    assert len(digest) == 64


def test_a_changed_file_is_a_new_commit(tmp_path: Path) -> None:
    readme = tmp_path / "datasets" / "acme" / "speech" / "README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("one", encoding="utf-8")
    with Hub(tmp_path) as hub:
        first = json.load(urllib.request.urlopen(f"{hub.url}/api/datasets/acme/speech"))["sha"]
        readme.write_text("two!", encoding="utf-8")
        assert json.load(urllib.request.urlopen(f"{hub.url}/api/datasets/acme/speech"))["sha"] != first
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{hub.url}/api/datasets/acme/speech", timeout=5)


def test_a_bucket_is_shared_by_this_process_and_others(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "åäö 1.txt").write_text("Åsa", encoding="utf-8")
    (folder / "metadata.csv").write_text("file_name\n", encoding="utf-8")
    (folder / "empty.txt").touch()
    names = ["sv/empty.txt", "sv/metadata.csv", "sv/train/åäö 1.txt"]
    program = (
        "from google.cloud import storage\n"
        "bucket = storage.Client().bucket('speech')\n"
        "names = sorted(blob.name for blob in bucket.list_blobs(prefix='sv/'))\n"
        "bucket.blob('theirs').upload_from_string(b'x' * 3_000_000)\n"
        "print(json.dumps([names, bucket.blob(names[-1]).download_as_text()]))"
    )
    with Bucket(tmp_path) as bucket:
        assert bucket.put(folder, "sv") == names
        assert output(run(program, bucket.env())) == [names, "Åsa"]
        storage_bucket = bucket.client().bucket(bucket.name)
        assert sorted(blob.name for blob in storage_bucket.list_blobs()) == [*names, "theirs"]
        assert len(storage_bucket.blob("theirs").download_as_bytes()) == 3_000_000


def test_a_bucket_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import pathlib, time\n"
        "from servers.bucket import Bucket\n"
        f"with Bucket(pathlib.Path({str(tmp_path)!r})) as bucket:\n"
        "    print(bucket.endpoint, flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ})
    endpoint = owner.stdout.readline().strip()
    assert urllib.request.urlopen(endpoint, timeout=5).read() == b"OK"
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    for _ in range(100):
        try:
            urllib.request.urlopen(endpoint, timeout=5)
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the emulator outlived its owner")


def post(settings: dict[str, str], path: str, content: object) -> tuple[int, dict[str, object] | None]:
    """The status of a metadata service's answer, and its content if the status is 200."""
    url, body = f"{settings['METAFLOW_SERVICE_URL']}/flows/{path}", json.dumps(content).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, None


def test_a_metadata_service_numbers_runs_and_tasks_and_refuses_duplicates() -> None:
    owner = {"user_name": "anna", "tags": ["mine"], "system_tags": ["user:anna"]}
    artifact = {"name": "name", "attempt_id": 0, "sha": "a", "ds_type": "local", "location": "here", **owner}
    posts: list[tuple[str, object, object]] = [
        ("F/run", owner, 404),
        ("F", {}, ("flow_id", "F")),
        ("F", {}, 409),
        ("F/run", owner, ("run_number", 1)),
        ("F/run", owner, ("run_number", 2)),
        ("F/run", {"run_number": "argo-x", **owner}, ("run_number", "argo-x")),
        ("F/run", {"run_number": "argo-x", **owner}, 409),
        ("F/run", {"run_number": "7", **owner}, 500),
        ("F/runs/9/steps/start/step", owner, 500),
        ("F/runs/2/steps/start/task", owner, 404),
        ("F/runs/2/steps/start/step", {}, ("tags", ["mine"])),
        ("F/runs/2/steps/start/step", {}, 409),
        ("F/runs/2/steps/start/task", {}, ("task_id", 1)),
        ("F/runs/2/steps/start/task", {"task_id": "3"}, 400),
        ("F/runs/2/steps/start/tasks/9/artifact", [artifact], 400),
        ("F/runs/2/steps/start/tasks/1/artifact", [artifact], ("artifacts_created", 1)),
        ("F/runs/2/steps/start/tasks/1/artifact", [artifact], ("artifacts_created", 0)),
        ("F/runs/2/steps/start/tasks/1/artifact", [{**artifact, "attempt_id": 1}], ("artifacts_created", 1)),
        ("F/runs/2/heartbeat", {}, 404),  # too soon
    ]
    with Metadata() as service:
        for path, content, expected in posts:
            status, row = post(service.settings, path, content)
            if isinstance(expected, int):
                assert status == expected, path
            else:
                assert (status, row[expected[0]]) == (200, expected[1]), path


def test_metaflow_changes_a_runs_tags_but_not_its_system_tags() -> None:
    program = (
        "from metaflow import Flow, namespace\n"
        "from metaflow.exception import MetaflowTaggingError\n"
        "namespace(None)\n"
        "run = Flow('F').latest_run\n"
        "run.replace_tags(['mine'], ['ours', 'user:anna'])\n"
        "message = ''\n"
        "try:\n"
        "    run.remove_tag('user:anna')\n"
        "except MetaflowTaggingError as error:\n"
        "    message = str(error)\n"
        "print(json.dumps([run.pathspec, sorted(run.user_tags), sorted(run['start'].task.user_tags), message]))"
    )
    with Metadata() as service:
        owner = {"user_name": "anna", "tags": ["mine"], "system_tags": ["user:anna"]}
        for path in ("F", "F/run", "F/runs/1/steps/start/step", "F/runs/1/steps/start/task"):
            assert post(service.settings, path, owner)[0] == 200
        pathspec, tags, task_tags, message = output(run(program, {**os.environ, **service.settings}))
    assert (pathspec, tags, task_tags) == ("F/1", ["ours"], ["ours"])
    assert "Cannot remove tags that are existing system tags" in message
