"""A release on the Hub, over HTTP: one complete release after any error, and no leaked token."""

from __future__ import annotations

import json
import threading

import huggingface_hub
import pytest
from asr import InputError
from asr.release import folder, gate, hub
from asr.settings import Release
from huggingface_hub import HfApi, constants
from servers.hub import Reply
from servers.writable_hub import User, WritableHub

TOKEN = "hf_" + "geheim" * 5
REPO = "me/svenska"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with WritableHub(tmp_path / "hub", {TOKEN: User("me", orgs=("lab",)), "hf_other": User("other")}) as hub_server:
        monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint=hub_server.url, token=TOKEN))
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: hub_server.__dict__.setdefault("slept", []).append(seconds))
        yield hub_server


@pytest.fixture
def release(tmp_path):
    """A function that writes the folder of a release; each run has different weights."""

    def make(run="17", errors=2, faults=(), **fields):
        path = tmp_path / f"svenska-{run}"
        (path / "ct2-int8").mkdir(parents=True)
        record = {
            "format": 2, "run_id": run, "created": "2026-11-25T08:06:00+00:00", "program": "whisper-flow 0.1.0+abc",
            "served_wer": errors * 10.0, "served_wer_ci": [1.0, 2.0], "base": None, "faults": list(faults), **fields,
        }  # fmt: skip
        folder.write_json(path / "release.json", record)
        counts = {f"{at:x}": [10, errors] for at in range(40)}
        folder.write_json(path / "test-counts.json", {"scoring": "basic", "clips": counts})
        (path / "config.json").write_text("{}")
        (path / "README.md").write_text(f"run {run}")
        for name in ("model.safetensors", "ct2-int8/model.bin"):
            (path / name).write_bytes(f"weights of {run} ".encode() * 4000)
        return path

    return make


SETTINGS = Release(repo_id=REPO)


def push(path, settings=SETTINGS, judge=lambda published: "", log=lambda line: None):
    return hub.push_release(path, settings, judge, log)


def local_files(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def published_files(server, revision="main", repo=REPO):
    files = server.repo(repo).files(revision)
    files.pop(".gitattributes", None)
    return files


@pytest.mark.parametrize("status", [401, 403, 500])
def test_an_answer_that_shows_the_request_is_reported_without_its_token(server, release, status):
    message = f"POST, {{'Authorization': 'Bearer {TOKEN}'}}, of https://me:password-1@127.0.0.1/x"
    headers = {"Content-Type": "application/json", "X-Error-Message": message}
    server.reply_with(Reply(status, json.dumps({"error": message}).encode(), headers), times=9, match="/repos/create")
    with pytest.raises(InputError) as error:
        push(release())
    (line,) = str(error.value).splitlines()
    assert "Bearer HIDDEN" in line
    assert TOKEN not in line
    assert "password-1" not in line


def test_a_first_push_is_one_commit_with_the_release_and_its_tags(server, release):
    path = release()
    result = push(path, Release(repo_id=REPO, tag="v1.0"))
    repo = server.repo(REPO)
    assert repo.private
    assert published_files(server) == local_files(path)
    assert result.revision == repo.commits()[0].sha
    assert len(repo.commits()) == 2  # the Hub's own, and ours
    assert set(repo.tags) == {"run-17", "2026-11-25T0806", "v1.0"}
    assert set(repo.tags.values()) == {result.revision}


def test_a_second_push_of_the_same_release_makes_no_commit(server, release):
    path = release()
    first = push(path)
    commits = len(server.repo(REPO).commits())
    assert push(path) == first
    assert len(server.repo(REPO).commits()) == commits


def test_a_later_release_replaces_the_last_one_and_all_its_files(server, release):
    first = release("17")
    (first / "old.bin").write_bytes(b"old")
    push(first)
    second = release("18")
    push(second)
    assert published_files(server) == local_files(second)
    assert published_files(server, "run-17") == local_files(first)
    assert ".gitattributes" in server.repo(REPO).files()


def test_a_release_that_is_judged_worse_changes_nothing(server, release):
    first = release("17")
    push(first)
    result = push(release("18"), judge=lambda published: "it is worse")
    assert (result.revision, result.why) == (None, "it is worse")
    assert published_files(server) == local_files(first)
    assert "run-18" not in server.repo(REPO).tags


def test_the_judge_gets_the_published_release(server, release):
    judged = []
    push(release("17", errors=3), judge=lambda published: judged.append(published) or "")
    push(release("18"), judge=lambda published: judged.append(published) or "")
    assert (judged[0].empty, judged[0].record, judged[0].counts) == (True, None, None)
    assert (judged[1].empty, judged[1].record["run_id"]) == (False, "17")
    assert judged[1].counts["clips"]["0"] == [10, 3]


def test_a_concurrent_commit_is_judged_again(server, release):
    judged = []
    server.create(REPO)
    server.before_commit.append(lambda repo: repo.commit({"config.json": b"theirs"}))
    path = release()
    push(path, judge=lambda published: judged.append(published.empty) or "")
    assert judged == [True, False]
    assert published_files(server) == local_files(path)
    assert [commit.title for commit in server.repo(REPO).commits()][1] == "By hand"


def test_a_better_concurrent_release_stays(server, release):
    server.create(REPO)
    server.before_commit.append(lambda repo: repo.commit({"config.json": b"theirs"}))
    result = push(release(), judge=lambda published: "" if published.empty else "theirs is better")
    assert result.why == "theirs is better"
    assert published_files(server) == {"config.json": b"theirs"}


def test_simultaneous_pushes_leave_complete_releases(server, release):
    paths = [release(str(number)) for number in range(3)]
    threads = [threading.Thread(target=push, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repo = server.repo(REPO)
    assert published_files(server) in [local_files(path) for path in paths]
    assert {f"run-{number}" for number in range(3)} <= set(repo.tags)
    for number, path in enumerate(paths):
        assert published_files(server, f"run-{number}") == local_files(path)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    "match", ["^POST .*/commit/", "^POST .*repos/create", "^POST .*preupload", "^PUT ", "^POST .*/tag/", "^GET .*/refs"]
)
def test_temporary_errors_are_retried(server, release, status, match):
    server.fail(2, status, match)
    path = release()
    assert push(path).revision
    assert published_files(server) == local_files(path)
    assert len(server.repo(REPO).commits()) == 2


def test_the_hubs_waiting_time_is_respected(server, release):
    server.fail(1, 429, "^POST .*/commit/", {"Retry-After": "7"})
    push(release())
    assert 7.0 in server.slept


def test_an_interrupted_upload_is_restarted(server, release):
    server.cut(2, "^PUT ", after=1000)
    path = release()
    push(path)
    assert published_files(server) == local_files(path)


def test_a_commit_whose_answer_is_lost_is_not_repeated(server, release):
    server.lose(1, "^POST .*/commit/")
    path = release()
    result = push(path)
    assert result.revision == server.repo(REPO).commits()[0].sha
    assert len(server.repo(REPO).commits()) == 2
    assert published_files(server) == local_files(path)
    assert server.repo(REPO).tags["run-17"] == result.revision


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "does not know the token"),
        (402, "wants payment"),
        (403, "may not write"),
        (404, "no such repo"),
        (400, "answers 400"),
    ],
)
def test_a_refusal_of_the_hub_is_reported_in_one_line_and_changes_nothing(server, release, refusal, status, hint):
    first = release("17")
    push(first)
    server.fail(99, status, "^POST .*/commit/")
    line = refusal(push, release("18"))
    assert line.startswith(f"[release] repo_id: {REPO}: ") and hint in line
    assert TOKEN not in line
    assert published_files(server) == local_files(first)


@pytest.mark.parametrize("match", ["^POST .*/commit/", "^PUT "])
def test_a_hub_that_stays_unavailable_is_reported_in_one_line(server, release, refusal, match):
    server.fail(99, 503, match)
    line = refusal(push, release())
    assert line.startswith(f"[release] repo_id: {REPO}: ")
    assert published_files(server) == {}


def test_a_hub_that_cannot_be_reached_is_reported_before_any_work(server, monkeypatch, refusal):
    monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert "cannot be reached" in refusal(hub.check_access, SETTINGS)
    assert server.slept  # a run that has its release would wait


def test_without_a_token_a_run_does_not_start(server, monkeypatch, refusal):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "hf auth login" in refusal(hub.check_access, SETTINGS)
    assert hub.check_access(Release()) == Release()  # no Hub is configured


def test_a_wrong_token_or_a_foreign_repo_is_refused_before_any_work(server, monkeypatch, refusal):
    assert "the token may not write to them/x, only to me, lab" in refusal(hub.check_access, Release(repo_id="them/x"))
    monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint=server.url, token="hf_wrong"))
    assert "does not know the token" in refusal(hub.check_access, SETTINGS)


def test_a_name_without_an_owner_belongs_to_the_user(server):
    settings = hub.check_access(Release(repo_id="svenska", space_id="lab/svenska", push_dataset="tal"))
    assert (settings.repo_id, settings.space_id, settings.push_dataset) == ("me/svenska", "lab/svenska", "me/tal")


def test_another_branch_is_created_and_main_stays(server, release):
    path = release()
    push(path, Release(repo_id=REPO, branch="next"))
    assert published_files(server, "next") == local_files(path)
    assert published_files(server) == {}


def test_the_token_is_only_in_the_authorization_header(server, release):
    push(release())
    for request in server.received:
        headers = [name for name, value in request.headers.items() if TOKEN in value]
        assert set(map(str.lower, headers)) <= {"authorization"}
        assert TOKEN not in request.target and TOKEN.encode() not in request.body


def test_one_command_rolls_main_back(server, release, capsys):
    first, second = release("17"), release("18")
    push(first)
    push(second)
    assert hub.main(["--repo", REPO, "--rollback", "run-17"]) == 0
    assert published_files(server) == local_files(first)
    assert published_files(server, "run-18") == local_files(second)
    assert hub.main(["--repo", REPO, "--rollback", "run-99"]) == 1
    assert "has no tag run-99; it has 2026-11-25T0806, run-17, run-18" in capsys.readouterr().err


def test_a_refused_release_can_be_forced_and_its_record_says_so(server, release, capsys, monkeypatch):
    monkeypatch.setattr(
        folder, "write_description", lambda path, record: folder.write_json(path / "release.json", record)
    )
    push(release("17", errors=1))
    worse = release("18", errors=2, faults=["it invents words"])
    assert hub.main([str(worse), "--repo", REPO]) == 1
    stderr = capsys.readouterr().err
    assert "it invents words" in stderr and "10.0 points worse" in stderr and "--force" in stderr
    assert hub.main([str(worse), "--repo", REPO, "--force"]) == 0
    record = json.loads(published_files(server)["release.json"])
    assert record["run_id"] == "18"
    assert len(record["forced"]) == 2
    assert json.loads((worse / "release.json").read_text()).get("forced") is None  # the local folder is unchanged


def test_a_better_release_is_pushed_by_hand_without_force(server, release, capsys):
    push(release("17", errors=3))
    better = release("18", errors=1)
    assert hub.main([str(better), "--repo", REPO]) == 0
    assert published_files(server) == local_files(better)
    assert f"{REPO} is at {server.repo(REPO).commits()[0].sha[:8]}" in capsys.readouterr().out


def test_a_release_scored_on_other_clips_is_not_pushed_by_hand_without_force(server, release, capsys):
    first = release("17")
    folder.write_json(first / "test-counts.json", {"scoring": "basic", "clips": {"other": [1, 0]}})
    push(first)
    assert hub.main([str(release("18")), "--repo", REPO]) == 1
    assert "other clips" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["nowhere", "--repo", REPO], "nowhere is no release"), (["{path}"], "--repo: which repo on the Hub?")],
)
def test_a_mistake_on_the_command_line_is_one_line(server, release, capsys, arguments, line):
    path = release()
    assert hub.main([argument.format(path=path) for argument in arguments]) == 1
    assert capsys.readouterr().err.startswith(line)


def test_a_push_by_hand_uses_the_comparison_of_the_gate(server, release):
    """The same message as at the gate of a run."""
    push(release("17", errors=1))
    (fault,) = hub._compare_by_counts(release("18", errors=2), hub.read_published(hub.api(), REPO, "main"))
    assert "points worse than the published model's" in fault
    assert gate.SIGNIFICANCE == 0.05
    with pytest.raises(InputError):
        hub.rollback("me/nothing", "run-1")
