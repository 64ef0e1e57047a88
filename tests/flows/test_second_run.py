"""The second run, the failed run, the interrupted run."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from flow_process import edit_profile
from metaflow import Run
from servers.hub import Reply
from servers.writable_hub import User, WritableHub

TOKEN = "hf_" + "geheim" * 5
SECRETS = {
    "WANDB_API_KEY": "wandb-" + "geheim" * 5,
    "API_KEY": "space-" + "geheim" * 5,
    "MDC_API_KEY": "mdc-" + "geheim" * 5,
    "PRIVATE": "MIIE" + "geheim" * 20,  # of a Google key's file
    "REMOTE": "ghp_" + "geheim" * 5,  # in the address of the flow's repository
}
RELEASE = """[release]
folder = "again"
repo_id = "tiny"
space_id = "me/hear"
push_dataset = "me/tal"
"""


def run_of(process: subprocess.CompletedProcess[str]) -> Run:
    """The run of this command."""
    match = re.search(r"run-id (\d+)", process.stdout)
    assert match, process.stdout + process.stderr
    return Run(f"WhisperFlow/{match[1]}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with WritableHub(tmp_path_factory.mktemp("hub"), {TOKEN: User("me")}) as server:
        yield server


@pytest.fixture(scope="module")
def online(hub, tmp_path_factory):
    """The environment of a logged-in user, with other secrets in it."""
    home = tmp_path_factory.mktemp("home")
    key_file = {"type": "service_account", "private_key": f"-----BEGIN PRIVATE KEY-----\n{SECRETS['PRIVATE']}\n"}
    (home / "key.json").write_text(json.dumps(key_file), encoding="utf-8")
    remote = {"GIT_CONFIG_KEY_0": "remote.origin.url", "GIT_CONFIG_COUNT": "1"}
    remote["GIT_CONFIG_VALUE_0"] = f"https://me:{SECRETS['REMOTE']}@127.0.0.1/me/flow"
    tokens = {name: SECRETS[name] for name in ("WANDB_API_KEY", "API_KEY", "MDC_API_KEY")}
    return hub.env(home, TOKEN) | tokens | remote | {"GOOGLE_APPLICATION_CREDENTIALS": str(home / "key.json")}


@pytest.fixture(scope="module")
def failed(run_folder, tiny_run, flow, hub, online):
    """A run of the same corpus, pushed to the Hub; its push is killed just after its commit is sent."""
    profile = (run_folder / "tiny.toml").read_text(encoding="utf-8")
    changes = {"[release]": RELEASE, "steps = 80": "steps = 4", "trials = 2": "trials = 1"}
    (run_folder / "again.toml").write_text(edit_profile(profile, changes), encoding="utf-8")

    def kill(repo):
        subprocess.run(["pkill", "-9", "-f", f"{run_folder}.* step push"], check=True)

    hub.create("me/tiny", private=True)
    hub.before_commit.append(kill)
    process = flow("--config", "profile", "again.toml", "run", cwd=run_folder, **online)
    return process, run_of(process)


def test_a_failed_run_names_the_command_that_resumes_it(failed):
    process, run = failed
    assert process.returncode != 0
    assert not run.successful
    assert "whisper_flow.py resume" in process.stderr


def test_the_same_corpus_has_the_same_fingerprint(failed, tiny_run):
    assert failed[1]["collect"].task.data.corpus == tiny_run["collect"].task.data.corpus


def test_an_unchanged_part_is_reused_and_logged(failed):
    logs = [task.stdout for task in failed[1]["preprocess"]]
    assert len(logs) == 6
    assert all("unchanged since an earlier run, not made again" in log for log in logs)


@pytest.fixture(scope="module")
def resumed(failed, run_folder, flow, online):
    process = flow("resume", cwd=run_folder, **online)
    assert process.returncode == 0, process.stdout + process.stderr
    return process, run_of(process)


def test_resume_finishes_without_redoing_what_is_finished(resumed, run_folder):
    _, run = resumed
    assert run.successful
    for name in ("preprocess", "train", "evaluate"):
        for task in run[name]:
            assert task.origin_pathspec, f"{task} was run again"
    assert run["push"].task.origin_pathspec is None
    assert len(list(run["train"])) == 1
    assert Path(run["end"].task.data.release["path"]) == run_folder / "again" / f"tiny-{run.id}"


def test_a_killed_push_still_makes_one_commit(resumed, hub):
    _, run = resumed
    release, repo = run["end"].task.data.release, hub.repo("me/tiny")
    assert (release["repo_id"], release["pushed"], release["why"]) == ("me/tiny", True, "")
    assert release["revision"] == repo.commits()[0].sha
    assert len(repo.commits()) == 2  # the first is the Hub's own
    local = Path(release["path"])
    local_files = {file.relative_to(local).as_posix(): file.read_bytes() for file in local.rglob("*") if file.is_file()}
    published = repo.files()
    published.pop(".gitattributes")
    assert published == local_files
    assert any(tag.startswith("run-") and sha == release["revision"] for tag, sha in repo.tags.items())


def test_the_same_run_deploys_the_space_that_serves_it(resumed, hub):
    _, run = resumed
    artifacts, space = run["end"].task.data, hub.space("me/hear")
    assert space.variables == {"MODEL_ID": "me/tiny", "MODEL_REVISION": artifacts.release["revision"]}
    files = space.files()
    for name in ("app.py", "transcriber.py", "requirements.txt"):
        assert files[name].decode() == artifacts.space[name]
    assert "me/tiny" in files["README.md"].decode()
    assert "it runs" in artifacts.release["space_status"]


def test_the_corpus_is_pushed_to_the_hub_if_configured(resumed, hub):
    import pyarrow.parquet as pq

    _, run = resumed
    files = hub.repo("me/tal", "dataset").files()
    clips = [
        row for name in files if name.endswith(".parquet") for row in pq.read_table(io.BytesIO(files[name])).to_pylist()
    ]
    corpus = run["end"].task.data.corpus
    assert len(clips) == corpus["kept"]
    assert {row["split"] for row in clips} == {"train", "validation", "test"}
    assert not any(row["speaker"] == "Anna" for row in clips)  # who withdrew
    assert corpus["fingerprint"] in files["corpus.json"].decode()


@pytest.fixture(scope="module")
def refused_push(resumed, run_folder, flow, hub, online):
    """The run's push again, to a Hub that refuses it and repeats the whole request in its response."""
    body = {"error": f"no: POST, {{'Authorization': 'Bearer {TOKEN}'}}, of https://me:{SECRETS['REMOTE']}@127.0.0.1/x"}
    reply = Reply(
        403, json.dumps(body).encode(), {"Content-Type": "application/json", "X-Error-Message": body["error"]}
    )
    hub.reply_with(reply, match="/whoami-v2")
    return flow("resume", "push", "--origin-run-id", resumed[1].id, cwd=run_folder, **online)


def test_a_refusal_is_reported_without_its_token(refused_push):
    output = refused_push.stdout + refused_push.stderr
    assert refused_push.returncode == 1
    assert "[release] repo_id: the token may not write there (no: POST" in output
    assert "Bearer HIDDEN" in output
    assert "Traceback" not in output


def unpacked(content: bytes) -> bytes:
    """The content, followed by the uncompressed one of an artifact, a log or a code package."""
    with suppress(OSError, EOFError, zlib.error):
        content += gzip.decompress(content)
    return content


def test_no_secret_is_in_the_files_and_output_of_the_runs(refused_push, resumed, failed, run_folder, hub):
    """`run_folder` has cards, logs, artifacts, metadata, packages and releases. Pickles store text as plain bytes."""
    processes = (refused_push, resumed[0], failed[0])
    terminal = {"the terminal": "".join(process.stdout + process.stderr for process in processes).encode()}
    files = {
        str(file): file.read_bytes() for top in (run_folder, hub.root) for file in top.rglob("*") if file.is_file()
    }
    assert any("/_meta/" in name for name in files)
    assert any(name.endswith(".html") for name in files)
    leaks = {
        (name, secret)
        for name, content in (terminal | files).items()
        for secret in (TOKEN, *SECRETS.values())
        if secret.encode() in unpacked(content)
    }
    assert not leaks


LOAD_PUSHED_MODEL = """
import os, sys
from transformers import WhisperForConditionalGeneration, WhisperProcessor
name, revision = os.environ["MODEL_ID"], os.environ["MODEL_REVISION"]
WhisperProcessor.from_pretrained(name, revision=revision)
print(WhisperForConditionalGeneration.from_pretrained(name, revision=revision).config.d_model)
sys.path.insert(0, sys.argv[1])
import transcriber
print(transcriber.Transcriber(transcriber.find_release()).release["run_id"])
"""


def test_the_pushed_model_loads_in_transformers_and_in_the_space(resumed, failed, online):
    release = resumed[1]["end"].task.data.release
    which = {"MODEL_ID": release["repo_id"], "MODEL_REVISION": release["revision"]}
    space = Path(__file__).parents[2] / "space"
    environment = {**os.environ, **online, **which}
    process = subprocess.run(
        [sys.executable, "-c", LOAD_PUSHED_MODEL, str(space)], env=environment, capture_output=True, text=True
    )
    assert process.stdout.split() == ["32", failed[1].id], process.stderr


def test_a_corpus_may_have_hundreds_of_parts_and_ctrl_c_leaves_the_resume_command(tmp_path, flow_file):
    """Metaflow's own limit is a hundred."""
    (tmp_path / "many.toml").write_text("[corpus]\nlimit_clips = 50\nshard_clips = 1\n")
    command = [sys.executable, str(flow_file), "--config", "profile", "many.toml", "run"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout
    for line in running.stdout:
        if "preprocess" in line and "starting" in line:
            break
    else:
        pytest.fail(running.communicate()[1])
    time.sleep(0.5)  # the step is working then
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "whisper_flow.py resume" in err
