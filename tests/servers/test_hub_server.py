"""The writable Hub through the real client: what it accepts, refuses, loses and stores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import CommitOperationDelete as Delete
from huggingface_hub import HfApi, SpaceStage
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from servers.writable_hub import NOT_FREE, User, WritableHub

TOKENS = {"hf_me": User("me", orgs=("acme",)), "hf_reader": User("me", role="read"), "hf_other": User("other")}
MODEL = "me/model"
WEIGHTS = bytes(range(256)) * 4_000  # 1 MB, large enough to break off in the middle


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with WritableHub(tmp_path / "hub", TOKENS) as server:
        yield server


@pytest.fixture
def api(hub: WritableHub) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_me")


@pytest.fixture
def model(hub: WritableHub, api: HfApi) -> str:
    """A model with a card and weights, tagged v1."""
    api.create_repo(MODEL)
    add(api, {"README.md": b"---\nlicense: mit\n---\n# A model", "model.safetensors": WEIGHTS, "old/log.txt": b"old"})
    api.create_tag(MODEL, tag="v1")
    return MODEL


@pytest.fixture
def client_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would have waited before each retry."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def add(api: HfApi, files: dict[str, bytes], removed: tuple[str, ...] = (), **options: str) -> str:
    """Commits new files to the model and removes others; returns the sha."""
    operations = [Delete(path) for path in removed] + [Add(path, content) for path, content in files.items()]
    return api.create_commit(MODEL, operations, commit_message="A change", **options).oid


def http_error(status: int):
    return pytest.raises(HfHubHTTPError, match=str(status))


def test_a_token_can_create_repositories_only_in_its_users_namespaces(hub: WritableHub, api: HfApi) -> None:
    account = api.whoami()
    assert (account["name"], [org["name"] for org in account["orgs"]]) == ("me", ["acme"])
    assert account["auth"]["accessToken"]["role"] == "write"
    assert api.create_repo("model").repo_id == MODEL
    assert api.create_repo("acme/speech", repo_type="dataset", private=True).repo_id == "acme/speech"
    assert list(hub.repos) == ["models/me/model", "datasets/acme/speech"]
    for token, status, message in (
        ("hf_other", 403, "You don't have the rights to create a model under the namespace"),
        ("hf_reader", 403, "You don't have the rights to create a model under the namespace"),
        ("hf_wrong", 401, "Invalid credentials in Authorization header"),
        (False, 401, "Invalid username or password"),
    ):
        with pytest.raises(HfHubHTTPError, match=message) as error:
            api.create_repo("me/another", token=token)
        assert error.value.response.status_code == status


def test_creating_an_existing_repository_is_a_conflict(hub: WritableHub, api: HfApi) -> None:
    url = api.create_repo(MODEL)
    assert url == f"{hub.url}/{MODEL}"
    with http_error(409):
        api.create_repo(MODEL)
    assert api.create_repo(MODEL, exist_ok=True) == url
    assert [commit.title for commit in api.list_repo_commits(MODEL)] == ["initial commit"]
    assert list(hub.repo(MODEL).files()) == [".gitattributes"]


def test_committed_regular_and_lfs_files_can_be_read(hub: WritableHub, api: HfApi, model: str) -> None:
    assert hub.repo(model).files().keys() == {".gitattributes", "README.md", "model.safetensors", "old/log.txt"}
    assert hub.repo(model).files()["model.safetensors"] == WEIGHTS
    last, first = api.list_repo_commits(model)
    assert (last.title, last.authors, first.authors) == ("A change", ["me"], ["system"])
    assert [commit.parent for commit in hub.repo(model).commits()] == [first.commit_id, None]
    info = api.model_info(model, files_metadata=True)
    assert (info.sha, info.private, info.card_data.license) == (last.commit_id, False, "mit")
    lfs = {file.rfilename: file.lfs and file.lfs.size for file in info.siblings}
    assert lfs == {".gitattributes": None, "README.md": None, "model.safetensors": len(WEIGHTS), "old/log.txt": None}
    assert next(iter(api.list_repo_tree(model))).path == "old"
    assert "old/log.txt" in api.list_repo_files(model)
    (file,) = api.get_paths_info(model, ["model.safetensors"])
    assert (file.size, file.lfs.size) == (len(WEIGHTS), len(WEIGHTS))


def test_repositories_in_the_hubs_folder_are_read_only(hub: WritableHub, api: HfApi, tmp_path: Path) -> None:
    file = hub.root / "models" / "me" / "model" / "a.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(WEIGHTS)
    assert Path(api.hf_hub_download(MODEL, "a.bin", cache_dir=tmp_path / "cache")).read_bytes() == WEIGHTS
    with http_error(409):
        api.create_repo(MODEL)
    with http_error(404):
        add(api, {"b.bin": b"b"})


def test_uploading_a_folder_makes_one_commit(hub: WritableHub, api: HfApi, model: str, tmp_path: Path) -> None:
    for path, content in {
        "model.safetensors": WEIGHTS[::-1],
        "sub/a.bin": b"\0",
        "sub/åäö.txt": "åäö".encode(),
    }.items():
        (tmp_path / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / path).write_bytes(content)
    api.upload_folder(
        repo_id=model, folder_path=tmp_path / "folder", delete_patterns="old/*", commit_message="A folder"
    )
    assert [commit.title for commit in hub.repo(model).commits()] == ["A folder", "A change", "initial commit"]
    new = {"model.safetensors": WEIGHTS[::-1], "sub/a.bin": b"\0", "sub/åäö.txt": "åäö".encode()}
    assert {path: hub.repo(model).files().get(path) for path in (*new, "old/log.txt")} == {**new, "old/log.txt": None}


def test_a_tag_stays_at_its_commit_when_main_changes(hub: WritableHub, api: HfApi, model: str, tmp_path: Path) -> None:
    tagged = api.model_info(model, revision="v1").sha
    new = add(api, {"model.safetensors": WEIGHTS[::-1], "new.txt": b"new"}, removed=("old/",))
    assert api.model_info(model).sha == new != tagged
    before, after = hub.repo(model).files("v1"), hub.repo(model).files()
    assert before.keys() - after.keys() == {"old/log.txt"}
    assert (before["model.safetensors"], after["model.safetensors"]) == (WEIGHTS, WEIGHTS[::-1])
    for revision, sha in (("v1", tagged), ("main", new), (tagged, tagged)):
        folder = Path(api.snapshot_download(model, revision=revision, cache_dir=tmp_path / "cache"))
        paths = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        assert folder.name == sha
        assert {path: (folder / path).read_bytes() for path in paths} == hub.repo(model).files(revision)
    file = api.hf_hub_download(model, "model.safetensors", revision=tagged[:7], cache_dir=tmp_path / "other")
    assert Path(file).read_bytes() == WEIGHTS


def test_tags_and_branches_are_created_and_deleted(hub: WritableHub, api: HfApi, model: str) -> None:
    first = api.list_repo_commits(model)[-1].commit_id
    api.create_branch(model, branch="try/one", revision=first)
    api.create_tag(model, tag="v0", revision=first, tag_message="the first")
    add(api, {"only-here.txt": b"1"}, revision="try/one")
    references = api.list_repo_refs(model)
    assert {branch.name for branch in references.branches} == {"main", "try/one"}
    assert {tag.name: tag.target_commit for tag in references.tags} == hub.repo(model).tags
    assert hub.repo(model).files("try/one").keys() == {".gitattributes", "only-here.txt"}
    assert "only-here.txt" not in hub.repo(model).files("main")
    for create_again in (
        lambda **options: api.create_tag(model, tag="v1", **options),
        lambda **options: api.create_branch(model, branch="main", **options),
    ):
        with http_error(409):
            create_again()
        create_again(exist_ok=True)
    api.delete_tag(model, tag="v0")
    api.delete_branch(model, branch="try/one")
    assert (list(hub.repo(model).tags), list(hub.repo(model).branches)) == (["v1"], ["main"])
    with http_error(403):
        api.delete_branch(model, branch="main")
    for call_with_missing_revision in (
        lambda: api.delete_tag(model, tag="v0"),
        lambda: api.create_tag(model, tag="v2", revision="nowhere"),
        lambda: api.model_info(model, revision="v0"),
        lambda: add(api, {"a.txt": b"a"}, revision="v1"),
        lambda: api.list_repo_commits(model, revision="nowhere"),
    ):
        with pytest.raises(RevisionNotFoundError):
            call_with_missing_revision()
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("nothing.txt", model)


def test_a_commit_with_an_outdated_parent_is_refused(hub: WritableHub, api: HfApi, model: str) -> None:
    head = api.model_info(model).sha
    hub.before_commit.append(lambda repo: repo.commit({"theirs.txt": b"theirs", "old/log.txt": None}, title="Theirs"))
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        add(api, {"ours.txt": b"ours"}, parent_commit=head)
    assert error.value.response.status_code == 412
    assert [commit.title for commit in hub.repo(model).commits()][:2] == ["Theirs", "A change"]
    theirs = api.model_info(model).sha
    assert add(api, {"ours.txt": b"ours"}, parent_commit=theirs) == hub.repo(model).commits()[0].sha
    assert hub.repo(model).files().keys() >= {"ours.txt", "theirs.txt"}
    # Without a parent the commit is added after theirs, which a real client has sent in the meantime.
    hub.before_commit.append(lambda _: add(api, {"ours.txt": b"theirs"}))
    add(api, {"ours.txt": b"mine"})
    assert [commit.title for commit in hub.repo(model).commits()].count("A change") == 4
    assert hub.repo(model).files()["ours.txt"] == b"mine"


def test_the_client_skips_an_empty_commit_but_the_hub_accepts_it(hub: WritableHub, api: HfApi, model: str) -> None:
    head = api.model_info(model).sha
    assert add(api, {"model.safetensors": WEIGHTS, "old/log.txt": b"old"}) == head
    hub.before_commit.append(lambda repo: repo.commit({"a.txt": b"a"}))
    empty = add(api, {"a.txt": b"a"})
    assert [commit.sha for commit in hub.repo(model).commits()].index(empty) == 0
    assert hub.repo(model).commits()[1].files == hub.repo(model).commits()[0].files


def test_an_interrupted_upload_is_retried(hub: WritableHub, api: HfApi, model: str, client_waits: list[float]) -> None:
    hub.cut(2, "^PUT /lfs/", after=100_000)
    add(api, {"model.safetensors": WEIGHTS * 2})
    puts = [request for request in hub.received if request.method == "PUT"][1:]  # the first is the fixture's
    assert [(request.status, len(request.body)) for request in puts] == [
        (None, 100_000),
        (None, 100_000),
        (200, len(WEIGHTS) * 2),
    ]
    assert client_waits == [1, 2]
    assert hub.repo(model).files()["model.safetensors"] == WEIGHTS * 2


def test_an_upload_that_always_fails_commits_nothing(
    hub: WritableHub, api: HfApi, model: str, client_waits: list[float]
) -> None:
    hub.cut(6, "^PUT /lfs/", after=1)
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model\.safetensors' to the Hub"):
        add(api, {"model.safetensors": WEIGHTS * 2, "a.txt": b"a"})
    assert client_waits == [1, 2, 4, 8, 8]
    assert len(hub.repo(model).commits()) == 2
    add(api, {"model.safetensors": WEIGHTS * 2, "a.txt": b"a"})
    assert hub.repo(model).files().keys() >= {"model.safetensors", "a.txt"}


def test_a_commit_is_stored_although_its_answer_is_lost(hub: WritableHub, api: HfApi, model: str) -> None:
    hub.lose(1)
    with pytest.raises(httpx2.RemoteProtocolError, match="Server disconnected without sending a response"):
        add(api, {"a.txt": b"a"})
    assert hub.repo(model).files()["a.txt"] == b"a"
    assert hub.requests[-1] == f"POST /api/models/{model}/commit/main"
    assert hub.received[-1].status is None


def test_the_client_retries_some_requests_and_not_others(
    hub: WritableHub, api: HfApi, model: str, client_waits: list[float]
) -> None:
    for status in (429, 500, 503):
        hub.fail(1, status, "POST .*/preupload/", {"Retry-After": "3"} if status == 429 else None)
        hub.fail(1, status, "POST .*/objects/batch")
        hub.fail(1, status, "PUT /lfs/")
        hub.fail(1, status, "POST .*/objects/verify")
        hub.fail(1, status, "GET .*/commits/")
        add(api, {f"{status}.bin": bytes([status % 256])})
        api.list_repo_commits(model)
        assert client_waits == [4 if status == 429 else 1, 1, 1, 1, 1]
        client_waits.clear()
    calls = {
        "GET .*/whoami-v2": lambda: api.whoami(),
        "POST .*/repos/create": lambda: api.create_repo("me/other"),
        "POST .*/commit/": lambda: add(api, {"b.txt": b"b"}),
        "POST .*/tag/": lambda: api.create_tag(model, tag="v2"),
        "GET .*/refs": lambda: api.list_repo_refs(model),
        "GET /api/models/me/model$": lambda: api.model_info(model),
        "POST .*/validate-yaml": lambda: add(api, {"README.md": b"---\nlicense: mit\n---\n"}),
        "POST .*/paths-info/": lambda: api.get_paths_info(model, ["README.md"]),
        "PUT .*/settings": lambda: api.update_repo_settings(model, private=True),
    }
    for status in (409, 412, 429, 500, 503):
        for match, call in calls.items():
            hub.fail(1, status, match)
            with pytest.raises(HfHubHTTPError) as error:
                call()
            assert error.value.response.status_code == status
    assert client_waits == []
    assert (list(hub.repos), list(hub.repo(model).tags), hub.repo(model).private) == (
        ["models/me/model"],
        ["v1"],
        False,
    )


def test_a_commit_with_a_missing_lfs_object_is_refused(hub: WritableHub, api: HfApi, model: str) -> None:
    operation = Add("more.safetensors", WEIGHTS * 2)
    api.preupload_lfs_files(model, [operation], free_memory=False)
    for file in hub.repo(model).store.iterdir():
        if file.stat().st_size == len(WEIGHTS) * 2:
            file.unlink()
    with pytest.raises(HfHubHTTPError, match="an LFS pointer pointed to a file that does not exist"):
        api.create_commit(model, [operation], commit_message="A promise")


def test_a_private_repository_is_visible_to_its_owners_only(
    hub: WritableHub, api: HfApi, model: str, tmp_path: Path
) -> None:
    api.update_repo_settings(model, private=True)
    assert api.model_info(model).private
    for token, status in ((False, 401), ("hf_other", 404)):
        stranger = HfApi(endpoint=hub.url, token=token)
        for call in (
            lambda api=stranger: api.model_info(model),
            lambda api=stranger: api.hf_hub_download(model, "README.md", cache_dir=tmp_path / "theirs"),
            lambda api=stranger: api.list_repo_refs(model),
            lambda api=stranger: add(api, {"a.txt": b"a"}),
        ):
            with pytest.raises(RepositoryNotFoundError) as error:
                call()
            assert error.value.response.status_code == status
        assert not stranger.repo_exists(model)
    assert Path(api.hf_hub_download(model, "README.md", cache_dir=tmp_path / "mine")).exists()
    api.update_repo_settings(model, private=False)
    assert HfApi(endpoint=hub.url, token=False).repo_exists(model)


def test_a_public_repository_is_writable_by_its_owners_only(hub: WritableHub, api: HfApi, model: str) -> None:
    for token in ("hf_other", "hf_reader"):
        with http_error(403):
            add(HfApi(endpoint=hub.url, token=token), {"a.txt": b"a"})
    with http_error(401):
        add(HfApi(endpoint=hub.url, token="hf_wrong"), {"a.txt": b"a"})
    with pytest.raises(RepositoryNotFoundError, match="401"):  # the client's reading of the 401
        add(HfApi(endpoint=hub.url, token=False), {"a.txt": b"a"})
    assert len(hub.repo(model).commits()) == 2


def test_the_token_is_sent_only_in_the_authorization_header(hub: WritableHub, api: HfApi, model: str) -> None:
    for request in hub.received:
        header_names = {name.lower() for name, value in request.headers.items() if "hf_me" in value}
        assert header_names == (set() if request.target.startswith("/lfs/") else {"authorization"})
        assert "hf_me" not in request.target
        assert b"hf_me" not in request.body


def test_a_space_is_built_configured_and_restarted(hub: WritableHub, api: HfApi) -> None:
    app = "me/app"
    variables, secrets = [{"key": "MODEL_ID", "value": MODEL}], [{"key": "KEY", "value": "sesame"}]
    api.create_repo(app, repo_type="space", space_sdk="gradio", space_variables=variables, space_secrets=secrets)
    assert api.get_space_runtime(app).stage == SpaceStage.NO_APP_FILE
    api.upload_file(path_or_fileobj=b"import gradio", path_in_repo="app.py", repo_id=app, repo_type="space")
    stages = [api.get_space_runtime(app) for _ in range(4)]
    assert [runtime.stage for runtime in stages] == ["BUILDING", "APP_STARTING", "RUNNING", "RUNNING"]
    assert [runtime.hardware for runtime in stages] == [None, "cpu-basic", "cpu-basic", "cpu-basic"]
    assert "".join(api.fetch_space_logs(app, build=True)) == "Built\n"
    assert (api.space_info(app).sdk, api.space_info(app).runtime.stage) == ("gradio", "RUNNING")

    api.add_space_variable(app, "LANGUAGE", "sv")
    assert {key: variable.value for key, variable in api.get_space_variables(app).items()} == hub.space(app).variables
    api.delete_space_variable(app, "MODEL_ID")
    api.add_space_secret(app, "TOKEN", "hf_x")
    assert (list(api.get_space_secrets(app)), hub.space(app).variables) == (["KEY", "TOKEN"], {"LANGUAGE": "sv"})
    assert hub.space(app).secrets == {"KEY": "sesame", "TOKEN": "hf_x"}

    hub.space(app).stages, hub.space(app).error = ["BUILDING", "RUNTIME_ERROR"], "Exit code: 1"
    hub.space(app).logs["run"] = ["Traceback\n", "ImportError: åäö\n"]
    assert api.restart_space(app).stage == "BUILDING"
    runtime = api.wait_for_space(app, poll_interval=0.01)
    assert (runtime.stage, runtime.raw["errorMessage"]) == ("RUNTIME_ERROR", "Exit code: 1")
    assert list(api.fetch_space_logs(app)) == ["Traceback\n", "ImportError: åäö\n"]
    assert api.request_space_hardware(app, "zero-a10g").requested_hardware == "zero-a10g"
    assert hub.space(app).starts == 3


def test_a_free_account_gets_no_gradio_space_on_cpu_basic(
    hub: WritableHub, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.free = True
    for hardware in (None, "cpu-basic"):
        with pytest.raises(HfHubHTTPError, match="402") as error:
            api.create_repo("me/app", repo_type="space", space_sdk="gradio", space_hardware=hardware, exist_ok=True)
        assert error.value.server_message == NOT_FREE
    api.create_repo("me/page", repo_type="space", space_sdk="static")
    url = api.create_repo("me/app", repo_type="space", space_sdk="gradio", space_hardware="zero-a10g")
    assert hub.space("me/app").hardware == "zero-a10g"
    # The error comes first; the client then checks whether the Space exists, at the address in HF_ENDPOINT.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    assert api.create_repo("me/app", repo_type="space", space_sdk="gradio", exist_ok=True) == url


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"---\ncolorFrom: teal\n---\n", '"colorFrom" must be one of'),
        (b"---\nshort_description: " + b"x" * 61 + b"\n---\n", '"short_description" length'),
        (b"---\na: [\n---\n", "Invalid metadata"),
    ],
)
def test_an_invalid_card_is_refused_before_the_upload(hub: WritableHub, api: HfApi, card: bytes, message: str) -> None:
    hub.create("me/app", "space")
    with pytest.raises(ValueError, match=message):
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="me/app", repo_type="space")
    assert len(hub.space("me/app").commits()) == 1


def test_transformers_in_another_process_loads_a_pushed_model_by_tag(hub: WritableHub, tmp_path: Path) -> None:
    program = (
        "import json, torch\n"
        "from huggingface_hub import HfApi\n"
        "from transformers import WhisperConfig\n"
        "for size in (16, 32):\n"
        "    WhisperConfig(d_model=size).push_to_hub('me/tiny')\n"
        "    HfApi().create_tag('me/tiny', tag=f'v{size}')\n"
        "configs = [WhisperConfig.from_pretrained('me/tiny', revision=name) for name in ('v16', 'v32', 'main')]\n"
        "print(json.dumps([config.d_model for config in configs]))"
    )
    environment = hub.env(tmp_path / "home", "hf_me")
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == [16, 32, 32]
    assert json.loads(hub.repo("me/tiny").files("v16")["config.json"])["d_model"] == 16
