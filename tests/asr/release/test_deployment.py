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
    with WritableHub(tmp_path / "hub", {"hf_x": User("me")}) as made:
        monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint=made.url, token="hf_x"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(deployment.time, "sleep", lambda seconds: None)
        yield made


def deployed(revision="abc", files=FILES, release=RELEASE, say=lambda line: None):
    return deployment.deploy_space(files, release, revision, say)


def test_the_space_holds_the_captured_files_and_serves_the_pinned_revision(server):
    lines = []
    made = deployed(say=lines.append)
    space = server.space("me/hear")
    assert (made.running, made.status, made.url) == (True, "it runs", f"{server.url}/spaces/me/hear")
    assert space.variables == {"MODEL_ID": "me/svenska", "MODEL_REVISION": "abc"}
    assert {name: content.decode() for name, content in space.files().items() if name.endswith((".py", ".txt"))} == {
        name: text for name, text in FILES.items() if name != "README.md"
    }
    card = RepoCard(space.files()["README.md"].decode())
    assert card.data["models"] == ["me/svenska"]
    assert card.data["sdk"] == "gradio" == space.sdk
    assert lines == ["Space me/hear: building", "Space me/hear: app starting"]


def test_a_space_that_is_up_to_date_goes_on_without_a_restart(server):
    deployed()
    space = server.space("me/hear")
    commits, starts = len(space.commits()), space.starts
    asked = len(server.received)
    assert deployed().status == "it runs, and was up to date"
    assert (len(space.commits()), space.starts) == (commits, starts)
    assert not [one for one in server.received[asked:] if one.method == "POST" and "repos/create" not in one.path]


def test_only_what_differs_is_changed(server):
    deployed()
    space = server.space("me/hear")
    commits = len(space.commits())
    deployed("def")
    assert space.variables["MODEL_REVISION"] == "def"
    assert len(space.commits()) == commits
    deployed("def", {**FILES, "app.py": "print('new')"})
    assert len(space.commits()) == commits + 1
    assert space.files()["app.py"] == b"print('new')"


def test_somebody_elses_commit_in_between_is_written_over_by_one_more(server):
    server.create("me/hear", "space", sdk="gradio")
    server.before_commit.append(lambda repo: repo.commit({"app.py": b"theirs", "more.py": b"theirs"}))
    deployed()
    assert set(server.space("me/hear").files()) - {".gitattributes"} == set(FILES)


def test_a_free_account_is_reported_what_it_may_do(server):
    server.free = True
    made = deployed(release=FREE)
    assert not made.running
    assert "zero-a10g" in made.status and "MODEL_ID=me/svenska python space/app.py" in made.status


def test_a_space_that_does_not_come_up_says_why(server):
    server.create("me/hear", "space", sdk="gradio")
    space = server.space("me/hear")
    space.stages, space.logs["build"] = ["BUILDING", "BUILD_ERROR"], ["pip install", "no such package: gradoi"]
    made = deployed()
    assert not made.running
    assert "BUILD_ERROR" in made.status and "no such package: gradoi" in made.status
    assert "\n" not in made.status


def test_a_space_that_sleeps_is_woken(server):
    deployed()
    space = server.space("me/hear")
    space.stages = ["PAUSED"]
    space.start()
    space.stages, starts = ["BUILDING", "RUNNING"], space.starts
    assert deployed().running
    assert space.starts == starts + 1


def test_a_space_that_takes_for_ever_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(deployment, "MAX_WAIT_SECONDS", 0.0)
    assert "did not start within 0 minutes" in deployed().status


def test_a_private_model_needs_a_token_in_the_space_and_that_is_reported(server):
    made = deployed(release=Release(repo_id="me/svenska", space_id="me/hear"))
    assert made.running and "HF_TOKEN" in made.status
    assert server.space("me/hear").private
    assert server.space("me/hear").secrets == {}  # it is for the owner to choose one


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_space_that_cannot_be_had_ends_nothing(server, status):
    server.fail(99, status, "spaces|repos/create")
    made = deployed()
    assert not made.running
    assert made.status.startswith("[release] space_id: me/hear: ")
