"""The Space that serves a release, over HTTP: deployed, updated, watched, and its errors reported."""

from __future__ import annotations

import pytest
from asr.release import deployment, engine, hub
from asr.settings import Release
from huggingface_hub import HfApi, RepoCard, constants
from servers.writable_hub import User, WritableHub

FILES = engine.capture_space()
RELEASE = Release(repo_id="me/svenska", space_id="me/hear", private=False)
FREE = Release(repo_id="me/svenska", space_id="me/hear", private=False, space_hardware="cpu-basic")


@pytest.fixture
def server(tmp_path, monkeypatch):
    with WritableHub(tmp_path / "hub", {"hf_x": User("me")}) as hub_server:
        monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint=hub_server.url, token="hf_x"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(deployment.time, "sleep", lambda seconds: None)
        yield hub_server


def deploy(revision="abc", files=FILES, release=RELEASE, log=lambda line: None):
    return deployment.deploy_space(files, release, revision, log)


def test_the_space_holds_the_captured_files_and_serves_the_pinned_revision(server):
    lines = []
    result = deploy(log=lines.append)
    space = server.space("me/hear")
    assert (result.running, result.status, result.url) == (True, "it runs", f"{server.url}/spaces/me/hear")
    assert space.variables == {"MODEL_ID": "me/svenska", "MODEL_REVISION": "abc"}
    assert {name: content.decode() for name, content in space.files().items() if name.endswith((".py", ".txt"))} == {
        name: text for name, text in FILES.items() if name != "README.md"
    }
    card = RepoCard(space.files()["README.md"].decode())
    assert card.data["models"] == ["me/svenska"]
    assert card.data["sdk"] == "gradio" == space.sdk
    assert lines == ["Space me/hear: building", "Space me/hear: app starting"]


def test_a_space_that_is_up_to_date_is_not_restarted(server):
    deploy()
    space = server.space("me/hear")
    commits, starts = len(space.commits()), space.starts
    request_count = len(server.received)
    assert deploy().status == "it runs, and was up to date"
    assert (len(space.commits()), space.starts) == (commits, starts)
    assert not [
        request
        for request in server.received[request_count:]
        if request.method == "POST" and "repos/create" not in request.path
    ]


def test_only_changed_variables_and_files_are_updated(server):
    deploy()
    space = server.space("me/hear")
    commits = len(space.commits())
    deploy("def")
    assert space.variables["MODEL_REVISION"] == "def"
    assert len(space.commits()) == commits
    deploy("def", {**FILES, "app.py": "print('new')"})
    assert len(space.commits()) == commits + 1
    assert space.files()["app.py"] == b"print('new')"


def test_a_concurrent_commit_to_the_space_is_overwritten(server):
    server.create("me/hear", "space", sdk="gradio")
    server.before_commit.append(lambda repo: repo.commit({"app.py": b"theirs", "more.py": b"theirs"}))
    deploy()
    assert set(server.space("me/hear").files()) - {".gitattributes"} == set(FILES)


def test_a_free_account_is_told_its_options(server):
    server.free = True
    result = deploy(release=FREE)
    assert not result.running
    assert "zero-a10g" in result.status and "MODEL_ID=me/svenska python space/app.py" in result.status


def test_a_space_that_does_not_start_is_reported_with_the_reason(server):
    server.create("me/hear", "space", sdk="gradio")
    space = server.space("me/hear")
    space.stages, space.logs["build"] = ["BUILDING", "BUILD_ERROR"], ["pip install", "no such package: gradoi"]
    result = deploy()
    assert not result.running
    assert "BUILD_ERROR" in result.status and "no such package: gradoi" in result.status
    assert "\n" not in result.status


def test_a_paused_space_is_restarted(server):
    deploy()
    space = server.space("me/hear")
    space.stages = ["PAUSED"]
    space.start()
    space.stages, starts = ["BUILDING", "RUNNING"], space.starts
    assert deploy().running
    assert space.starts == starts + 1


def test_waiting_for_a_space_has_a_limit(server, monkeypatch):
    monkeypatch.setattr(deployment, "MAX_WAIT_SECONDS", 0.0)
    assert "did not start within 0 minutes" in deploy().status


def test_a_private_model_needs_a_token_in_the_space_and_that_is_reported(server):
    result = deploy(release=Release(repo_id="me/svenska", space_id="me/hear"))
    assert result.running and "HF_TOKEN" in result.status
    assert server.space("me/hear").private
    assert server.space("me/hear").secrets == {}  # the owner chooses one


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_unavailable_space_is_reported_and_does_not_end_the_run(server, status):
    server.fail(99, status, "spaces|repos/create")
    result = deploy()
    assert not result.running
    assert result.status.startswith("[release] space_id: me/hear: ")
