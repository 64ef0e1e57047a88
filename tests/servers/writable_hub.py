"""A Hub that `HfApi` of huggingface_hub 2.4 can write to: repositories with their history, and Spaces that get built.

Statuses and messages are the real Hub's as its client, the client's tests and public reports of its answers have them;
a comment says where none of them does. What the client asks for is a line of `ACTS`.
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

# Of the .gitattributes that a new repository has, the patterns that speech models and data sets meet.
LFS = "*.arrow *.bin *.ckpt *.gz *.h5 *.model *.npy *.npz *.onnx *.parquet *.pkl *.pt *.pth *.safetensors *.tar *.zip"
LFS_BYTES = 10 * 2**20  # whatever its name: https://github.com/huggingface/huggingface_hub/issues/2666
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
    """Whom a token belongs to."""

    name: str
    orgs: tuple[str, ...] = ()
    role: Literal["write", "read"] = "write"  # the token's

    def owns(self, repo: str) -> bool:
        return repo.split("/")[0] in (self.name, *self.orgs)


@dataclass(frozen=True)
class Commit(Snapshot):
    parent: str | None  # its sha
    title: str
    message: str
    author: str
    date: str


@dataclass
class GitRepo(Repo):
    """A repository with its history."""

    store: Path = field(kw_only=True)  # contents, each in a file named by its sha256
    branches: dict[str, str] = field(default_factory=dict)  # name: sha
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, Commit] = field(default_factory=dict)  # by sha, the oldest first

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, or a sha or its first seven digits or more."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((one for name, one in self.history.items() if name.startswith(sha) and len(sha) >= 7), None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """What a revision holds."""
        found = self.at(revision)
        assert found, f"{self.id} has no {revision}"
        return {path: blob.file.read_bytes() for path, blob in found.files.items()}

    def commits(self, revision: str = "main") -> list[Commit]:
        """A revision's history, the last commit first."""
        found, one = [], self.at(revision)
        while one:
            found.append(one)
            one = self.history.get(one.parent or "")
        return found

    def commit(self, changes: Mapping[str, bytes | None], title: str = "By hand", branch: str = "main") -> Commit:
        """One more commit, by somebody else: a path gets its content, or goes where that is None."""
        files = dict(self.history[self.branches[branch]].files) if branch in self.branches else {}
        for path, content in changes.items():
            files.pop(path, None)
            if content is not None:
                files[path] = self.keep(path, content)
        return self.advance(branch, files, title)

    def advance(self, branch: str, files: dict[str, Blob], title: str, message: str = "", author: str = "") -> Commit:
        """Puts a commit with these files onto a branch. That nothing changes is no obstacle to the real Hub either:
        https://github.com/huggingface/huggingface_hub/issues/1411"""
        parent = self.branches.get(branch)
        listing = sorted((path, blob.sha256) for path, blob in files.items())
        sha = hashlib.sha1(repr((len(self.history), parent, title, message, listing)).encode()).hexdigest()
        ordered = {path: files[path] for path, _ in listing}
        self.history[sha] = Commit(sha, ordered, parent, title, message, author, _now())
        self.branches[branch] = sha
        return self.history[sha]

    def keep(self, path: str, content: bytes, lfs: bool | None = None) -> Blob:
        """Stores a content, as what it is to be at this path."""
        self.store.mkdir(parents=True, exist_ok=True)
        file = self.store / hashlib.sha256(content).hexdigest()
        file.write_bytes(content)
        return Blob.of(file, path, _in_lfs(path, content, len(content)) if lfs is None else lfs)

    def facts(self, snapshot: Snapshot) -> dict[str, object]:
        card = CARD.match(snapshot.files["README.md"].file.read_bytes()) if "README.md" in snapshot.files else None
        date = self.history[snapshot.sha].date
        return super().facts(snapshot) | {"lastModified": date, "cardData": yaml.safe_load(card[1]) if card else None}


@dataclass
class Space(GitRepo):
    """A Space: every commit on main, restart and change of hardware sends it through `stages` once more."""

    sdk: str = "gradio"
    hardware: str = "cpu-basic"
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  # of which the Hub tells the names only
    # What one look at its runtime after the other finds; the last stays. A test may have them end in an error.
    stages: list[str] = field(default_factory=lambda: ["BUILDING", "APP_STARTING", "RUNNING"])
    error: str | None = None  # the runtime's errorMessage
    logs: dict[str, list[str]] = field(default_factory=lambda: {"build": ["Built\n"], "run": ["Running\n"]})
    starts: int = 0
    _coming: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])

    def advance(self, branch: str, files: dict[str, Blob], *told: str, **more: str) -> Commit:
        if branch == "main" and files.keys() - {".gitattributes", "README.md"}:
            self.start()
        return super().advance(branch, files, *told, **more)

    def start(self) -> None:
        self.starts += 1
        self._coming = list(self.stages)

    def runtime(self, look: bool = False) -> dict[str, object]:
        """As the Hub tells it; a look moves it on to its next stage."""
        stage = self._coming.pop(0) if look and len(self._coming) > 1 else self._coming[0]
        hardware = {"current": None if stage == "BUILDING" else self.hardware, "requested": self.hardware}
        told = {"stage": stage, "hardware": hardware, "gcTimeout": 172_800, "devMode": False}
        return told | ({"errorMessage": self.error} if self.error and stage.endswith("_ERROR") else {})

    def facts(self, snapshot: Snapshot) -> dict[str, object]:
        return super().facts(snapshot) | {"sdk": self.sdk, "runtime": self.runtime()}


class WritableHub(Hub):
    """A Hub that is empty, besides what its folder holds to be read, from `with` to the end of its block."""

    def __init__(self, root: Path, tokens: Mapping[str, User] | None = None, free: bool = False) -> None:
        super().__init__(root)
        self.tokens = dict(tokens or {"hf_x": User("me")})
        self.free = free  # whether its users pay nothing, and so may not have every Space
        self.repos: dict[str, GitRepo] = {}  # models/OWNER/NAME, datasets/OWNER/NAME, spaces/OWNER/NAME
        # Each is called once, with the repository, before a commit is looked at: the place for somebody else's.
        self.before_commit: list[Callable[[GitRepo], object]] = []
        self._turn = threading.RLock()

    def repo(self, name: str, kind: str = "model") -> GitRepo:
        return self.repos[f"{kind}s/{name}"]

    def space(self, name: str) -> Space:
        found = self.repo(name, "space")
        assert isinstance(found, Space)
        return found

    def create(self, name: str, kind: str = "model", private: bool = False, **space: Any) -> GitRepo:
        """A new repository, with the commit that the Hub itself makes; `space` are a Space's own attributes."""
        made = Space if kind == "space" else GitRepo
        repo = made(f"{kind}s", name, private, store=self.root / "objects" / f"{kind}s" / name, **space)
        first = {".gitattributes": "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LFS.split())}
        if isinstance(repo, Space):
            first["README.md"] = f"---\ntitle: {name.split('/')[1]}\nsdk: {repo.sdk}\n---\n"
        files = {path: repo.keep(path, text.encode(), lfs=False) for path, text in first.items()}
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
        asked = f"{request.method} {request.path}"
        for pattern, act, access in ACTS:
            if found := re.fullmatch(pattern, asked):
                words = {word: unquote(value or "") for word, value in found.groupdict().items()}
                return self._act(request, act, access, words)
        return super().answer(request)

    def _act(self, request: Request, act: Act, access: Access, words: dict[str, str]) -> Reply:
        repo = self.repos.get(f"{words.get('kind', '').strip('/') or 'models'}/{words.get('repo')}")
        if refused := self._refusal(request, repo, access):
            return refused
        if act is commit and repo and self.before_commit:
            self.before_commit.pop(0)(repo)  # while others have their turn: it may well send a request
        with self._turn:
            return act(self, request, repo, words.get("word", ""))

    def _allowed(self, request: Request, route: Route, words: dict[str, str]) -> Reply:
        repo = self.find(words.get("kind", "").strip("/") or "models", words["repo"])
        return self._refusal(request, repo, "reader") or super()._allowed(request, route, words)

    def _refusal(self, request: Request, repo: Repo | None, access: Access) -> Reply | None:
        """Who sends no token is told 401 where others are told 404: https://github.com/huggingface/datasets/pull/4472.
        From an https address the client takes any 401 for a missing repository; from http it wants the code."""
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
    """Whether the Hub wants a file as an LFS object; that it wants every binary one is a guess."""
    named = any(fnmatch(Path(path).name, pattern) for pattern in LFS.split())
    return named or size > LFS_BYTES or b"\0" in sample


def _unknown(revision: str) -> Reply:
    return Reply.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def whoami(hub: WritableHub, request: Request, repo: None, word: str) -> Reply:
    user = hub.user(request) or User("")
    told = {"type": "user", "name": user.name, "fullname": user.name, "isPro": not hub.free}
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in user.orgs]
    auth = {"type": "access_token", "accessToken": {"displayName": "tests", "role": user.role}}
    return Reply.json(told | {"orgs": orgs, "auth": auth})


def create_repo(hub: WritableHub, request: Request, repo: None, word: str) -> Reply:
    """That a Space is not free comes before that it is there, as the client's `exist_ok` has it."""
    told, user = json.loads(request.body), hub.user(request) or User("")
    kind, owner = told.get("type") or "model", told.get("organization") or user.name
    name, space = f"{owner}/{told['name']}", {}
    if not user.owns(name) or user.role != "write":
        return Reply.error(403, "", f'You don\'t have the rights to create a {kind} under the namespace "{owner}".')
    if kind == "space":
        space = {"sdk": told["sdk"], "hardware": told.get("hardware") or "cpu-basic"}
        for held in ("variables", "secrets"):
            space[held] = {one["key"]: one["value"] for one in told.get(held) or []}
        if hub.free and space["sdk"] != "static" and space["hardware"] == "cpu-basic":
            return Reply.error(402, "", NOT_FREE)
    there = hub.find(f"{kind}s", name)
    made = there or hub.create(name, kind, told.get("visibility") == "private", **space)
    answer: dict[str, object] = {"url": hub.page(made), "name": name, "id": name}
    if there:  # the client reads the address of a conflict, too
        answer["error"] = f"You already created this {kind} repo"
    return Reply(409 if there else 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def validate_yaml(hub: WritableHub, request: Request, repo: None, word: str) -> Reply:
    """Of the real Hub's many rules those that Spaces' cards broke in public reports."""
    told = json.loads(request.body)
    found, errors = CARD.match(told["content"].encode()), []
    card: dict[str, str] = {}
    try:
        card = yaml.safe_load(found[1]) if found else card
    except yaml.YAMLError as error:
        errors.append(str(error))
    if told["repoType"] == "space":
        wrong = [key for key in ("colorFrom", "colorTo") if card.get(key, "red") not in COLORS.split(", ")]
        errors += [f'"{key}" must be one of [{COLORS}]' for key in wrong]
        if len(card.get("short_description", "")) > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters long')
    warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
    answer = {"errors": [{"message": said} for said in errors], "warnings": warnings}
    return Reply(400 if errors else 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def preupload(hub: WritableHub, request: Request, repo: GitRepo, revision: str) -> Reply:
    """How each file is to be sent, and the id of the one that is there: an LFS object's is its sha256."""
    now = repo.at(revision)
    if now is None:
        return _unknown(revision)
    files = []
    for told in json.loads(request.body)["files"]:
        lfs, there = _in_lfs(told["path"], base64.b64decode(told["sample"]), told["size"]), now.files.get(told["path"])
        file = {"path": told["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        files.append(file | ({"oid": there.sha256 if there.lfs else there.oid} if there else {}))
    return Reply.json({"files": files, "commitOid": now.sha})


def lfs_batch(hub: WritableHub, request: Request, repo: GitRepo, word: str) -> Reply:
    """Where the objects that are not there yet are to be put: like S3, an address that asks for no token."""
    objects = json.loads(request.body)["objects"]
    for told in objects:
        if not (repo.store / told["oid"]).exists():
            upload = f"{hub.url}/lfs/{repo.kind}/{repo.id}/{told['oid']}"
            verify = f"{hub.page(repo)}.git/info/lfs/objects/verify"
            told["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
    return Reply.json({"transfer": "basic", "objects": objects})


def lfs_put(hub: WritableHub, request: Request, repo: GitRepo, oid: str) -> Reply:
    if hashlib.sha256(request.body).hexdigest() != oid:
        return Reply.error(400, "", "not what was announced")
    repo.keep(oid, request.body)
    return Reply()


def lfs_verify(hub: WritableHub, request: Request, repo: GitRepo, word: str) -> Reply:
    told = json.loads(request.body)
    file = repo.store / told["oid"]
    there = file.exists() and file.stat().st_size == told["size"]
    return Reply.json({}) if there else Reply.error(404, "", "Object not found")


def commit(hub: WritableHub, request: Request, repo: GitRepo, branch: str) -> Reply:
    (_, header), *changes = ((line["key"], line["value"]) for line in map(json.loads, request.body.splitlines()))
    if branch not in repo.branches:
        return _unknown(branch)
    if "create_pr" in request.query:
        return Reply.error(501, "", "no pull requests here")
    head = repo.history[repo.branches[branch]]
    if header.get("parentCommit", head.sha) != head.sha:
        return Reply.error(412, "", "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for key, told in changes:
        path = told["path"]
        if key == "file":
            files[path] = repo.keep(path, base64.b64decode(told["content"]), lfs=False)
        elif key == "lfsFile":
            if not (repo.store / told["oid"]).exists():
                return Reply.error(400, "", f"{NO_OBJECT} Offending files: - {path}")
            files[path] = Blob.of(repo.store / told["oid"], path, lfs=True)
        else:  # deletedFile, or deletedFolder with a slash at its end
            gone = [name for name in files if name == path or (key == "deletedFolder" and name.startswith(path))]
            if not gone:
                return Reply.error(404, "EntryNotFound", "A file with this name doesn't exist")
            files = {name: blob for name, blob in files.items() if name not in gone}
    author = (hub.user(request) or User("")).name
    made = repo.advance(branch, files, header["summary"], header.get("description", ""), author)
    answer = {"success": True, "commitOid": made.sha, "commitUrl": f"{hub.page(repo)}/commit/{made.sha}"}
    return Reply.json(answer | {"hookOutput": ""})


def change_branch(hub: WritableHub, request: Request, repo: GitRepo, branch: str) -> Reply:
    if request.method == "DELETE":
        if branch == "main":  # that it is refused is in the client's docs, the status is a guess
            return Reply.error(403, "", "main cannot be deleted")
        return Reply.json({}) if repo.branches.pop(branch, None) else _unknown(branch)
    start = json.loads(request.body).get("startingPoint", "main")
    found = repo.at(start)
    if branch in repo.branches:  # the wording is a guess
        return Reply.error(409, "", f"Branch {branch} already exists")
    if found is None:
        return _unknown(start)
    repo.branches[branch] = found.sha
    return Reply.json({})


def change_tag(hub: WritableHub, request: Request, repo: GitRepo, word: str) -> Reply:
    """Removes the tag in the path, or puts the one in the body onto the revision in the path."""
    if request.method == "DELETE":
        return Reply.json({}) if repo.tags.pop(word, None) else _unknown(word)
    tag, found = json.loads(request.body)["tag"], repo.at(word)
    if found is None:
        return _unknown(word)
    if tag in repo.tags:
        return Reply.error(409, "", "Tag reference exists already")
    repo.tags[tag] = found.sha
    return Reply.json({})


def refs(hub: WritableHub, request: Request, repo: GitRepo, word: str) -> Reply:
    told: dict[str, object] = {"converts": []}
    for key, kind, names in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags)):
        told[key] = [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in names.items()]
    return Reply.json(told)


def commits(hub: WritableHub, request: Request, repo: GitRepo, revision: str) -> Reply:
    """All in one page, however many."""
    found = repo.commits(revision)
    told = [{"id": one.sha, "title": one.title, "message": one.message, "date": one.date} for one in found]
    told = [line | {"authors": [{"user": one.author}]} for line, one in zip(told, found, strict=True)]
    return Reply.json(told) if found else _unknown(revision)


def settings(hub: WritableHub, request: Request, repo: GitRepo, word: str) -> Reply:
    repo.private = json.loads(request.body).get("visibility", "private" if repo.private else "public") == "private"
    return Reply.json({"private": repo.private})


def runtime(hub: WritableHub, request: Request, repo: Space, word: str) -> Reply:
    return Reply.json(repo.runtime(look=True))


def restart(hub: WritableHub, request: Request, repo: Space, word: str) -> Reply:
    """With other hardware, too, of which anybody gets any: what the real Hub refuses whom is not known."""
    if word == "hardware":
        repo.hardware = json.loads(request.body)["flavor"]
    repo.start()
    return Reply.json(repo.runtime())


def logs(hub: WritableHub, request: Request, repo: Space, which: str) -> Reply:
    """So far, as events. The real Hub keeps the stream open; the client leaves it after 5 silent seconds."""
    events = [json.dumps({"data": line, "timestamp": _now()}) for line in repo.logs[which]]
    body = "".join(f"data: {event}\n\n" for event in events)
    return Reply(200, body.encode(), {"Content-Type": "text/event-stream"})


def keys(hub: WritableHub, request: Request, repo: Space, which: str) -> Reply:
    """A Space's variables or secrets, after one is set or removed."""
    held: dict[str, str] = repo.secrets if which == "secrets" else repo.variables
    told = json.loads(request.body or b"{}")
    if request.method == "POST":
        held[told["key"]] = told["value"]
    if request.method == "DELETE":
        held.pop(told["key"], None)
    return Reply.json({key: {"value": value} if which == "variables" else {} for key, value in held.items()})


Access = Literal["anybody", "user", "reader", "owner"]
Act = Callable[[WritableHub, Request, Any, str], Reply]
SPACE = rf"/api/(?P<kind>spaces)/{REPO}"
OBJECTS = rf"/{PREFIX}{REPO}\.git/info/lfs/objects"
WORD = "(?P<word>[^/]+)"
ACTS: list[tuple[str, Act, Access]] = [
    ("GET /api/whoami-v2", whoami, "user"),
    ("POST /api/repos/create", create_repo, "user"),
    ("POST /api/validate-yaml", validate_yaml, "anybody"),
    (rf"POST {API}/preupload/{WORD}", preupload, "owner"),
    (rf"POST {OBJECTS}/batch", lfs_batch, "owner"),
    (rf"PUT /lfs/(?P<kind>[a-z]+)/{REPO}/{WORD}", lfs_put, "anybody"),
    (rf"POST {OBJECTS}/verify", lfs_verify, "owner"),
    (rf"POST {API}/commit/{WORD}", commit, "owner"),
    (rf"(POST|DELETE) {API}/branch/{WORD}", change_branch, "owner"),
    (rf"(POST|DELETE) {API}/tag/{WORD}", change_tag, "owner"),
    (rf"GET {API}/refs", refs, "reader"),
    (rf"GET {API}/commits/{WORD}", commits, "reader"),
    (rf"PUT {API}/settings", settings, "owner"),
    (rf"GET {SPACE}/runtime", runtime, "reader"),
    (rf"POST {SPACE}/(?P<word>restart|hardware)", restart, "owner"),
    (rf"GET {SPACE}/logs/(?P<word>build|run)", logs, "owner"),  # whether others may is not known
    (rf"GET {SPACE}/(?P<word>variables)", keys, "reader"),
    (rf"(GET|POST|DELETE) {SPACE}/(?P<word>variables|secrets)", keys, "owner"),
]
