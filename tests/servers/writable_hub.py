"""A Hub that `HfApi` of huggingface_hub 2.4 can write to: repositories with their history, and Spaces with a build.

Statuses and messages are the real Hub's, according to its client, the client's tests and public reports of its answers;
a comment marks the exceptions. A route is a line of `WRITE_ROUTES`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import yaml

from servers.hub import API, PREFIX, REPO, Blob, Hub, Reply, Repo, Request, Route, Snapshot

# The patterns from a new repository's .gitattributes that matter to speech models and data sets.
LFS = "*.arrow *.bin *.ckpt *.gz *.h5 *.model *.npy *.npz *.onnx *.parquet *.pkl *.pt *.pth *.safetensors *.tar *.zip"
LFS_BYTES = (
    10 * 2**20
)  # larger files go to LFS under any name: https://github.com/huggingface/huggingface_hub/issues/2666
CARD = re.compile(rb"---\r?\n(.*?)\r?\n---(\r?\n|$)", re.DOTALL)
COLORS = "red, yellow, green, blue, indigo, purple, pink, gray"  # of a Space's card
NOT_FREE = (  # https://github.com/ed-donner/agents/issues/1469, of July 2026
    "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces on free cpu-basic requires a PRO"
    " subscription. Subscribe at https://huggingface.co/pro"
)
# https://github.com/huggingface/huggingface_hub/issues/3829
NO_OBJECT = "Your push was rejected because an LFS pointer pointed to a file that does not exist."


@dataclass(frozen=True)
class User:
    """The owner of a token."""

    name: str
    orgs: tuple[str, ...] = ()
    role: Literal["write", "read"] = "write"  # the token's

    def owns(self, repo: str) -> bool:
        return repo.split("/")[0] in (self.name, *self.orgs)


@dataclass(frozen=True)
class Commit(Snapshot):
    parent: str | None  # a sha
    title: str
    message: str
    author: str
    date: str


@dataclass
class GitRepo(Repo):
    """A repository with its history."""

    store: Path = field(kw_only=True)  # a file for each content, named by its sha256
    branches: dict[str, str] = field(default_factory=dict)  # name: sha
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, Commit] = field(default_factory=dict)  # by sha, the oldest first

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, or a sha, of which seven digits are enough."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((commit for name, commit in self.history.items() if name.startswith(sha) and len(sha) >= 7), None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The contents of a revision's files, by path."""
        commit = self.at(revision)
        assert commit, f"{self.id} has no {revision}"
        return {path: blob.file.read_bytes() for path, blob in commit.files.items()}

    def commits(self, revision: str = "main") -> list[Commit]:
        """A revision's history, the last commit first."""
        commits, commit = [], self.at(revision)
        while commit:
            commits.append(commit)
            commit = self.history.get(commit.parent or "")
        return commits

    def commit(self, changes: Mapping[str, bytes | None], title: str = "By hand", branch: str = "main") -> Commit:
        """Adds a commit by another user: a path gets its content, or is removed if that is None."""
        files = dict(self.history[self.branches[branch]].files) if branch in self.branches else {}
        for path, content in changes.items():
            files.pop(path, None)
            if content is not None:
                files[path] = self.add_blob(path, content)
        return self.advance(branch, files, title)

    def advance(self, branch: str, files: dict[str, Blob], title: str, message: str = "", author: str = "") -> Commit:
        """Puts a commit with these files onto a branch. Like the real Hub, it accepts one without changes:
        https://github.com/huggingface/huggingface_hub/issues/1411"""
        parent = self.branches.get(branch)
        listing = sorted((path, blob.sha256) for path, blob in files.items())
        sha = hashlib.sha1(repr((len(self.history), parent, title, message, listing)).encode()).hexdigest()
        ordered = {path: files[path] for path, _ in listing}
        self.history[sha] = Commit(sha, ordered, parent, title, message, author, _now())
        self.branches[branch] = sha
        return self.history[sha]

    def add_blob(self, path: str, content: bytes, lfs: bool | None = None) -> Blob:
        """Stores a content for this path."""
        self.store.mkdir(parents=True, exist_ok=True)
        file = self.store / hashlib.sha256(content).hexdigest()
        file.write_bytes(content)
        return Blob.of(file, path, _in_lfs(path, content, len(content)) if lfs is None else lfs)

    def info_fields(self, snapshot: Snapshot) -> dict[str, object]:
        card = CARD.match(snapshot.files["README.md"].file.read_bytes()) if "README.md" in snapshot.files else None
        date = self.history[snapshot.sha].date
        return super().info_fields(snapshot) | {
            "lastModified": date,
            "cardData": yaml.safe_load(card[1]) if card else None,
        }


@dataclass
class Space(GitRepo):
    """A Space: every commit on main, restart or change of hardware starts its `stages` again."""

    sdk: str = "gradio"
    hardware: str = "cpu-basic"
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  # the Hub shows only the names
    # Each poll of the runtime shows the next stage, until the last. A test may let them end in an error.
    stages: list[str] = field(default_factory=lambda: ["BUILDING", "APP_STARTING", "RUNNING"])
    error: str | None = None  # the runtime's errorMessage
    logs: dict[str, list[str]] = field(default_factory=lambda: {"build": ["Built\n"], "run": ["Running\n"]})
    starts: int = 0
    _pending_stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])

    def advance(self, branch: str, files: dict[str, Blob], *details: str, **options: str) -> Commit:
        if branch == "main" and files.keys() - {".gitattributes", "README.md"}:
            self.start()
        return super().advance(branch, files, *details, **options)

    def start(self) -> None:
        self.starts += 1
        self._pending_stages = list(self.stages)

    def runtime(self, advance: bool = False) -> dict[str, object]:
        """The runtime in the Hub's format; `advance` moves it on to its next stage."""
        stage = self._pending_stages.pop(0) if advance and len(self._pending_stages) > 1 else self._pending_stages[0]
        hardware = {"current": None if stage == "BUILDING" else self.hardware, "requested": self.hardware}
        state = {"stage": stage, "hardware": hardware, "gcTimeout": 172_800, "devMode": False}
        return state | ({"errorMessage": self.error} if self.error and stage.endswith("_ERROR") else {})

    def info_fields(self, snapshot: Snapshot) -> dict[str, object]:
        return super().info_fields(snapshot) | {"sdk": self.sdk, "runtime": self.runtime()}


class WritableHub(Hub):
    """A Hub for a `with` block, empty except for the read-only repositories in its folder."""

    def __init__(self, root: Path, tokens: Mapping[str, User] | None = None, free: bool = False) -> None:
        super().__init__(root)
        self.tokens = dict(tokens or {"hf_x": User("me")})
        self.free = free  # whether its users have free accounts, which may not have every Space
        self.repos: dict[str, GitRepo] = {}  # models/OWNER/NAME, datasets/OWNER/NAME, spaces/OWNER/NAME
        # Each is called once, with the repository, before a commit is handled: for a concurrent commit.
        self.before_commit: list[Callable[[GitRepo], object]] = []
        self._lock = threading.RLock()

    def repo(self, name: str, kind: str = "model") -> GitRepo:
        return self.repos[f"{kind}s/{name}"]

    def space(self, name: str) -> Space:
        space = self.repo(name, "space")
        assert isinstance(space, Space)
        return space

    def create(self, name: str, kind: str = "model", private: bool = False, **space: Any) -> GitRepo:
        """Creates a repository with the Hub's own first commit; `space` holds a Space's own attributes."""
        repo_class = Space if kind == "space" else GitRepo
        repo = repo_class(f"{kind}s", name, private, store=self.root / "objects" / f"{kind}s" / name, **space)
        first = {".gitattributes": "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LFS.split())}
        if isinstance(repo, Space):
            first["README.md"] = f"---\ntitle: {name.split('/')[1]}\nsdk: {repo.sdk}\n---\n"
        files = {path: repo.add_blob(path, text.encode(), lfs=False) for path, text in first.items()}
        repo.advance("main", files, "initial commit", author="system")
        self.repos[f"{kind}s/{name}"] = repo
        return repo

    def find(self, kind: str, name: str) -> Repo | None:
        return self.repos.get(f"{kind}/{name}") or super().find(kind, name)

    def user(self, request: Request) -> User | None:
        return self.tokens.get(request.token or "")

    def page(self, repo: Repo) -> str:
        return f"{self.url}/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.id}"

    def answer(self, request: Request) -> Reply:
        if request.token and not self.user(request):
            return Reply.error(401, "", "Invalid credentials in Authorization header")
        request_line = f"{request.method} {request.path}"
        for pattern, route, access in WRITE_ROUTES:
            if match := re.fullmatch(pattern, request_line):
                parameters = {name: unquote(value or "") for name, value in match.groupdict().items()}
                return self._answer_route(request, route, access, parameters)
        return super().answer(request)

    def _answer_route(self, request: Request, route: WriteRoute, access: Access, parameters: dict[str, str]) -> Reply:
        repo = self.repos.get(f"{parameters.get('kind', '').strip('/') or 'models'}/{parameters.get('repo')}")
        if refusal := self._refusal(request, repo, access):
            return refusal
        if route is commit and repo and self.before_commit:
            self.before_commit.pop(0)(repo)  # outside the lock, since it may send a request
        with self._lock:
            return route(self, request, repo, parameters.get("argument", ""))

    def _answer_if_allowed(self, request: Request, route: Route, parameters: dict[str, str]) -> Reply:
        repo = self.find(parameters.get("kind", "").strip("/") or "models", parameters["repo"])
        return self._refusal(request, repo, "reader") or super()._answer_if_allowed(request, route, parameters)

    def _refusal(self, request: Request, repo: Repo | None, access: Access) -> Reply | None:
        """A request without a token gets 401 where others get 404: https://github.com/huggingface/datasets/pull/4472.
        From an https address the client reads any 401 as a missing repository; from http it needs the code."""
        user = self.user(request)
        owned = bool(repo and user and user.owns(repo.id))
        hidden = access in ("reader", "owner") and (repo is None or (repo.private and not owned))
        if user is None and (hidden or access in ("owner", "user")):
            return Reply.error(401, "" if access == "user" else "RepoNotFound", "Invalid username or password.")
        if hidden:
            return Reply.error(404, "RepoNotFound", "Repository not found")
        if access == "owner" and not (owned and user and user.role == "write"):
            return Reply.error(403, "", "Authorization error.")
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_lfs(path: str, sample: bytes, size: int) -> bool:
    """Whether the Hub wants a file as an LFS object; that this holds for every binary file is a guess."""
    matches = any(fnmatch(Path(path).name, pattern) for pattern in LFS.split())
    return matches or size > LFS_BYTES or b"\0" in sample


def _unknown_revision(revision: str) -> Reply:
    return Reply.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def whoami(hub: WritableHub, request: Request, repo: None, argument: str) -> Reply:
    user = hub.user(request) or User("")
    account = {"type": "user", "name": user.name, "fullname": user.name, "isPro": not hub.free}
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in user.orgs]
    auth = {"type": "access_token", "accessToken": {"displayName": "tests", "role": user.role}}
    return Reply.json(account | {"orgs": orgs, "auth": auth})


def create_repo(hub: WritableHub, request: Request, repo: None, argument: str) -> Reply:
    """The error for a Space that is not free comes before the conflict, as the client's `exist_ok` expects."""
    fields, user = json.loads(request.body), hub.user(request) or User("")
    kind, owner = fields.get("type") or "model", fields.get("organization") or user.name
    name, space = f"{owner}/{fields['name']}", {}
    if not user.owns(name) or user.role != "write":
        return Reply.error(403, "", f'You don\'t have the rights to create a {kind} under the namespace "{owner}".')
    if kind == "space":
        space = {"sdk": fields["sdk"], "hardware": fields.get("hardware") or "cpu-basic"}
        for section in ("variables", "secrets"):
            space[section] = {entry["key"]: entry["value"] for entry in fields.get(section) or []}
        if hub.free and space["sdk"] != "static" and space["hardware"] == "cpu-basic":
            return Reply.error(402, "", NOT_FREE)
    existing = hub.find(f"{kind}s", name)
    created = existing or hub.create(name, kind, fields.get("visibility") == "private", **space)
    answer: dict[str, object] = {"url": hub.page(created), "name": name, "id": name}
    if existing:  # the client reads the address of a conflict, too
        answer["error"] = f"You already created this {kind} repo"
    return Reply(409 if existing else 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def validate_yaml(hub: WritableHub, request: Request, repo: None, argument: str) -> Reply:
    """Checks those of the real Hub's rules that Spaces' cards broke in public reports."""
    fields = json.loads(request.body)
    match, errors = CARD.match(fields["content"].encode()), []
    card: dict[str, str] = {}
    try:
        card = yaml.safe_load(match[1]) if match else card
    except yaml.YAMLError as error:
        errors.append(str(error))
    if fields["repoType"] == "space":
        wrong = [key for key in ("colorFrom", "colorTo") if card.get(key, "red") not in COLORS.split(", ")]
        errors += [f'"{key}" must be one of [{COLORS}]' for key in wrong]
        if len(card.get("short_description", "")) > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters long')
    warnings = [] if match else [{"message": "empty or missing yaml metadata in repo card"}]
    answer = {"errors": [{"message": error} for error in errors], "warnings": warnings}
    return Reply(400 if errors else 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def preupload(hub: WritableHub, request: Request, repo: GitRepo, revision: str) -> Reply:
    """How each file must be sent, and the id of the present one: for an LFS object, its sha256."""
    head = repo.at(revision)
    if head is None:
        return _unknown_revision(revision)
    files = []
    for fields in json.loads(request.body)["files"]:
        lfs = _in_lfs(fields["path"], base64.b64decode(fields["sample"]), fields["size"])
        present = head.files.get(fields["path"])
        file = {"path": fields["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        files.append(file | ({"oid": present.sha256 if present.lfs else present.oid} if present else {}))
    return Reply.json({"files": files, "commitOid": head.sha})


def lfs_batch(hub: WritableHub, request: Request, repo: GitRepo, argument: str) -> Reply:
    """The upload addresses of the missing objects: like S3's, they need no token."""
    objects = json.loads(request.body)["objects"]
    for lfs_object in objects:
        if not (repo.store / lfs_object["oid"]).exists():
            upload = f"{hub.url}/lfs/{repo.kind}/{repo.id}/{lfs_object['oid']}"
            verify = f"{hub.page(repo)}.git/info/lfs/objects/verify"
            lfs_object["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
    return Reply.json({"transfer": "basic", "objects": objects})


def lfs_put(hub: WritableHub, request: Request, repo: GitRepo, oid: str) -> Reply:
    if hashlib.sha256(request.body).hexdigest() != oid:
        return Reply.error(400, "", "not what was announced")
    repo.add_blob(oid, request.body)
    return Reply()


def lfs_verify(hub: WritableHub, request: Request, repo: GitRepo, argument: str) -> Reply:
    fields = json.loads(request.body)
    file = repo.store / fields["oid"]
    complete = file.exists() and file.stat().st_size == fields["size"]
    return Reply.json({}) if complete else Reply.error(404, "", "Object not found")


def commit(hub: WritableHub, request: Request, repo: GitRepo, branch: str) -> Reply:
    (_, header), *changes = ((line["key"], line["value"]) for line in map(json.loads, request.body.splitlines()))
    if branch not in repo.branches:
        return _unknown_revision(branch)
    if "create_pr" in request.query:
        return Reply.error(501, "", "no pull requests here")
    head = repo.history[repo.branches[branch]]
    if header.get("parentCommit", head.sha) != head.sha:
        return Reply.error(412, "", "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for key, change in changes:
        path = change["path"]
        if key == "file":
            files[path] = repo.add_blob(path, base64.b64decode(change["content"]), lfs=False)
        elif key == "lfsFile":
            if not (repo.store / change["oid"]).exists():
                return Reply.error(400, "", f"{NO_OBJECT} Offending files: - {path}")
            files[path] = Blob.of(repo.store / change["oid"], path, lfs=True)
        else:  # deletedFile, or deletedFolder with a slash at its end
            removed = [name for name in files if name == path or (key == "deletedFolder" and name.startswith(path))]
            if not removed:
                return Reply.error(404, "EntryNotFound", "A file with this name doesn't exist")
            files = {name: blob for name, blob in files.items() if name not in removed}
    author = (hub.user(request) or User("")).name
    new = repo.advance(branch, files, header["summary"], header.get("description", ""), author)
    answer = {"success": True, "commitOid": new.sha, "commitUrl": f"{hub.page(repo)}/commit/{new.sha}"}
    return Reply.json(answer | {"hookOutput": ""})


def change_branch(hub: WritableHub, request: Request, repo: GitRepo, branch: str) -> Reply:
    if request.method == "DELETE":
        if branch == "main":  # the client's docs say that it is refused; the status is a guess
            return Reply.error(403, "", "main cannot be deleted")
        return Reply.json({}) if repo.branches.pop(branch, None) else _unknown_revision(branch)
    start = json.loads(request.body).get("startingPoint", "main")
    commit = repo.at(start)
    if branch in repo.branches:  # the wording is a guess
        return Reply.error(409, "", f"Branch {branch} already exists")
    if commit is None:
        return _unknown_revision(start)
    repo.branches[branch] = commit.sha
    return Reply.json({})


def change_tag(hub: WritableHub, request: Request, repo: GitRepo, argument: str) -> Reply:
    """Removes the tag in the path, or puts the one in the body onto the revision in the path."""
    if request.method == "DELETE":
        return Reply.json({}) if repo.tags.pop(argument, None) else _unknown_revision(argument)
    tag, commit = json.loads(request.body)["tag"], repo.at(argument)
    if commit is None:
        return _unknown_revision(argument)
    if tag in repo.tags:
        return Reply.error(409, "", "Tag reference exists already")
    repo.tags[tag] = commit.sha
    return Reply.json({})


def refs(hub: WritableHub, request: Request, repo: GitRepo, argument: str) -> Reply:
    by_kind: dict[str, object] = {"converts": []}
    for key, kind, names in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags)):
        by_kind[key] = [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in names.items()
        ]
    return Reply.json(by_kind)


def commits(hub: WritableHub, request: Request, repo: GitRepo, revision: str) -> Reply:
    """All commits, always in one page."""
    entries = [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in repo.commits(revision)
    ]
    return Reply.json(entries) if entries else _unknown_revision(revision)


def settings(hub: WritableHub, request: Request, repo: GitRepo, argument: str) -> Reply:
    repo.private = json.loads(request.body).get("visibility", "private" if repo.private else "public") == "private"
    return Reply.json({"private": repo.private})


def runtime(hub: WritableHub, request: Request, repo: Space, argument: str) -> Reply:
    return Reply.json(repo.runtime(advance=True))


def restart(hub: WritableHub, request: Request, repo: Space, argument: str) -> Reply:
    """Restarts a Space, also with other hardware. Any account gets any hardware: the Hub's limits are not known."""
    if argument == "hardware":
        repo.hardware = json.loads(request.body)["flavor"]
    repo.start()
    return Reply.json(repo.runtime())


def logs(hub: WritableHub, request: Request, repo: Space, which: str) -> Reply:
    """The present lines, as events. The real Hub keeps the stream open; the client leaves it after 5 silent seconds."""
    events = [json.dumps({"data": line, "timestamp": _now()}) for line in repo.logs[which]]
    body = "".join(f"data: {event}\n\n" for event in events)
    return Reply(200, body.encode(), {"Content-Type": "text/event-stream"})


def keys(hub: WritableHub, request: Request, repo: Space, which: str) -> Reply:
    """A Space's variables or secrets, after one is set or removed."""
    values: dict[str, str] = repo.secrets if which == "secrets" else repo.variables
    fields = json.loads(request.body or b"{}")
    if request.method == "POST":
        values[fields["key"]] = fields["value"]
    if request.method == "DELETE":
        values.pop(fields["key"], None)
    return Reply.json({key: {"value": value} if which == "variables" else {} for key, value in values.items()})


Access = Literal["anybody", "user", "reader", "owner"]
WriteRoute = Callable[[WritableHub, Request, Any, str], Reply]
SPACE = rf"/api/(?P<kind>spaces)/{REPO}"
OBJECTS = rf"/{PREFIX}{REPO}\.git/info/lfs/objects"
ARGUMENT = "(?P<argument>[^/]+)"
WRITE_ROUTES: list[tuple[str, WriteRoute, Access]] = [
    ("GET /api/whoami-v2", whoami, "user"),
    ("POST /api/repos/create", create_repo, "user"),
    ("POST /api/validate-yaml", validate_yaml, "anybody"),
    (rf"POST {API}/preupload/{ARGUMENT}", preupload, "owner"),
    (rf"POST {OBJECTS}/batch", lfs_batch, "owner"),
    (rf"PUT /lfs/(?P<kind>[a-z]+)/{REPO}/{ARGUMENT}", lfs_put, "anybody"),
    (rf"POST {OBJECTS}/verify", lfs_verify, "owner"),
    (rf"POST {API}/commit/{ARGUMENT}", commit, "owner"),
    (rf"(POST|DELETE) {API}/branch/{ARGUMENT}", change_branch, "owner"),
    (rf"(POST|DELETE) {API}/tag/{ARGUMENT}", change_tag, "owner"),
    (rf"GET {API}/refs", refs, "reader"),
    (rf"GET {API}/commits/{ARGUMENT}", commits, "reader"),
    (rf"PUT {API}/settings", settings, "owner"),
    (rf"GET {SPACE}/runtime", runtime, "reader"),
    (rf"POST {SPACE}/(?P<argument>restart|hardware)", restart, "owner"),
    (rf"GET {SPACE}/logs/(?P<argument>build|run)", logs, "owner"),  # whether others may read them is not known
    (rf"GET {SPACE}/(?P<argument>variables)", keys, "reader"),
    (rf"(GET|POST|DELETE) {SPACE}/(?P<argument>variables|secrets)", keys, "owner"),
]
