"""Without a network a Hub request fails immediately; a brief failure of the Hub is retried."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from asr import network
from servers.hub import Hub

FLOWS = Path(network.__file__).parents[1]
MAX_SECONDS = 20.0  # 2 to 3 on an idle machine; the clients' own retries took 24 for each file
# What a profile may request from the Hub; the libraries are imported first, so that only the requests are timed.
REQUEST_FROM_HUB = """
import json, os, sys, time
sys.path.insert(0, {flows!r})
import huggingface_hub, transformers
from transformers import WhisperConfig
from asr import InputError
from asr.corpus import hub
from asr.release import hub as releases
from asr.settings import Release, Source
from asr.training import models
calls = {{
    "base": lambda: models.base_config("owner/whisper")["d_model"],
    "weights": lambda: models.load("owner/whisper"),
    "folder": lambda: models.base_config("released/latest"),
    "corpus": lambda: hub.resolve_dataset(Source(source="hub", id="owner/speech")).commit,
    "release": lambda: releases.check_access(Release(repo_id="me/x"), wait=False).repo_id,
}}
for name in {names!r}:
    began = time.monotonic()
    try:
        answer = str(calls[name]())
    except InputError as error:
        answer = str(error)
    print(json.dumps([name, answer, time.monotonic() - began]))
"""


def request_from_hub(env, *names):
    """The answer that a new process gets for each name, and its seconds."""
    code = REQUEST_FROM_HUB.format(flows=str(FLOWS), names=names)
    process = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in process.stderr, process.stderr
    answers = [json.loads(line) for line in process.stdout.splitlines()]
    assert [name for name, *_ in answers] == list(names)
    return {name: (answer, seconds) for name, answer, seconds in answers}


@pytest.fixture
def hub(tmp_path):
    """A Hub with a Whisper's configuration and a dataset."""
    model, data = (tmp_path / "hub" / kind / "owner" for kind in ("models/", "datasets/"))
    (model / "whisper").mkdir(parents=True)
    (model / "whisper" / "config.json").write_text(json.dumps({"model_type": "whisper", "d_model": 384}))
    (data / "speech").mkdir(parents=True)
    (data / "speech" / "README.md").write_text("Speech.")
    with Hub(tmp_path / "hub") as server:
        yield server


def unreachable_env(server: Hub, home: Path) -> dict[str, str]:
    return {**server.env(home, "hf_token"), "HF_ENDPOINT": "http://127.0.0.1:9"}


def test_without_a_network_every_hub_name_is_refused_within_seconds_in_one_line_with_its_key(hub, tmp_path):
    answers = request_from_hub(
        unreachable_env(hub, tmp_path / "home"), "base", "weights", "folder", "corpus", "release"
    )
    keys = ["[model] base: owner/whisper", "[model] base: owner/whisper", "[model] base: released/latest"]
    keys += ["[corpus] id: owner/speech", "[release] repo_id"]
    for key, (line, seconds) in zip(keys, answers.values(), strict=True):
        assert line.startswith(key)
        assert "the Hub cannot be reached" in line
        assert "Connection refused" in line
        assert "\n" not in line
        assert seconds < MAX_SECONDS, line


def test_a_base_that_was_fetched_before_needs_no_network(hub, tmp_path):
    assert request_from_hub(hub.env(tmp_path / "home"), "base")["base"][0] == "384"
    answer, seconds = request_from_hub(unreachable_env(hub, tmp_path / "home"), "base")["base"]
    assert answer == "384"
    assert seconds < MAX_SECONDS


def test_a_brief_failure_of_the_hub_is_waited_out(hub, tmp_path):
    hub.fail(1, 503, "^HEAD /$")
    hub.fail(2, 503, "config.json")
    hub.fail(2, 503, "/api/datasets/")
    answers = request_from_hub(hub.env(tmp_path / "home"), "base", "corpus")
    assert answers["base"][0] == "384"
    assert len(answers["corpus"][0]) == 40
    assert {503} <= {request.status for request in hub.received}


def test_a_server_that_does_not_answer_is_given_up_within_seconds(hub, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {**hub.env(tmp_path / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        line, seconds = request_from_hub(env, "base")["base"]
    assert "does not answer within" in line
    assert seconds < MAX_SECONDS
