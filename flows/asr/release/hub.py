"""The Hugging Face Hub: a release becomes one commit, or none.

    python -m asr.release.hub PATH [--repo ID] [--force]      push a release by hand
    python -m asr.release.hub --repo ID --rollback run-17     make main what it was at a tag

The token comes from HF_TOKEN or `hf auth login` and stays in huggingface_hub's hands.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asr import InputError
from asr.corpus.text import RATES
from asr.network import http_status, retry, unreachable_reason
from asr.release import folder
from asr.settings import Release

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

CONTESTS = 5  # times that somebody else may commit while we push
KEPT = ".gitattributes"  # what the Hub itself puts into a repo


@dataclass(frozen=True)
class Published:
    """What is at the head of the branch."""

    revision: str
    record: dict[str, Any] | None  # its release.json; None where it holds none
    counts: dict[str, Any] | None  # its test-counts.json
    empty: bool  # it holds no model at all


@dataclass(frozen=True)
class Pushed:
    """What became of a push."""

    repo_id: str
    revision: str | None  # of the commit; None where it was not pushed
    why: str = ""  # it was not


def api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name="whisper-flow")


def check(release: Release, wait: bool = True) -> Release:
    """The settings with whole repo ids. Raises `InputError` where the Hub is asked for and will not have us.

    A run that begins does not `wait` for a network; one that has its release does.
    """
    from huggingface_hub import get_token

    asked = {name: repo for name in ("repo_id", "space_id", "push_dataset") if (repo := getattr(release, name))}
    if not asked:
        return release
    first = f"[release] {next(iter(asked))}"
    if get_token() is None:
        raise InputError(f"{first}: no token for the Hub: set HF_TOKEN, or log in by `hf auth login`")
    if not wait and (away := unreachable_reason()):
        raise InputError(f"{first}: the Hub cannot be reached: {away}")
    with told(first):
        me = retry(api().whoami)
    mine = [me["name"], *(org["name"] for org in me.get("orgs", []))]
    whole = {name: repo if "/" in repo else f"{me['name']}/{repo}" for name, repo in asked.items()}
    for name, repo in whole.items():
        if repo.split("/")[0] not in mine:
            raise InputError(f"[release] {name}: {repo} is not among what the token may write to: {', '.join(mine)}")
    return release.model_copy(update=whole)


def push(path: Path, release: Release, judge: Callable[[Published], str], say: Callable[[str], None] = print) -> Pushed:
    """Push the release at `path` as one commit, unless `judge` finds something against it beside what is published.

    The commit names the head it was judged against as its parent: where somebody else was faster, it is judged again.
    A push that was cut off, or whose answer was lost, is found by its run and not repeated. Raises `InputError`, in one
    line, where the Hub will not have it.
    """
    assert release.repo_id
    hub, repo, branch = api(), release.repo_id, release.branch
    about = folder.record(path)
    with told(f"[release] repo_id: {repo}"):
        retry(lambda: hub.create_repo(repo, private=release.private, exist_ok=True))
        if branch != "main":
            retry(lambda: hub.create_branch(repo, branch=branch, exist_ok=True))
        if revision := tags(hub, repo).get(f"run-{about['run_id']}"):
            say(f"{repo} has this release already, at {revision[:8]}")
            return Pushed(repo, revision)
        for _ in range(CONTESTS):
            there = published(hub, repo, branch)
            if there.record and there.record.get("run_id") == about["run_id"]:
                revision = there.revision
                break
            if why := judge(there):
                return Pushed(repo, None, why)
            say(f"pushing {path.name} to {repo}")
            if revision := commit(hub, repo, "model", path, branch, there.revision, _message(about)):
                break
            say(f"somebody else committed to {repo} meanwhile; looking again")
        else:
            raise InputError(f"[release] repo_id: {repo} is committed to faster than a release can be judged")
        for name in (f"run-{about['run_id']}", about["created"][:16].replace(":", ""), *filter(None, [release.tag])):
            retry(lambda name=name: hub.create_tag(  # type: ignore[misc]
                repo, tag=name, revision=revision, tag_message=about["created"], exist_ok=True
            ))  # fmt: skip
    return Pushed(repo, revision)


def _message(about: dict[str, Any]) -> str:
    low, high = about["served_wer_ci"]
    name = RATES[about.get("unit", "word")]
    return f"Run {about['run_id']}: {name} {about['served_wer']:.1f} % ({low:.1f} to {high:.1f}) as served"


def published(hub: HfApi, repo: str, branch: str) -> Published:
    """What stands at the head of a branch."""
    from huggingface_hub.errors import EntryNotFoundError

    head = str(retry(lambda: hub.model_info(repo, revision=branch)).sha)
    files = retry(lambda: hub.list_repo_files(repo, revision=head))
    found: list[dict[str, Any] | None] = []
    for name in (folder.RECORD, folder.COUNTS):
        try:
            file = retry(lambda name=name: hub.hf_hub_download(repo, name, revision=head))  # type: ignore[misc]
            found.append(json.loads(Path(file).read_text(encoding="utf-8")))
        except (EntryNotFoundError, ValueError):
            found.append(None)
    return Published(head, found[0], found[1], "config.json" not in files)


def tags(hub: HfApi, repo: str) -> dict[str, str]:
    """The repo's tags and the commits they name."""
    return {tag.name: tag.target_commit for tag in retry(lambda: hub.list_repo_refs(repo)).tags}


def commit(hub: HfApi, repo: str, kind: str, path: Path, branch: str, parent: str, message: str) -> str | None:
    """Make the repo hold the folder's files and no others, in one commit on top of `parent`; its id.

    None where `parent` is no longer the head.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    files = folder.files(path)
    there = retry(lambda: hub.list_repo_files(repo, revision=parent, repo_type=kind))
    gone = [name for name in there if name not in files and name != KEPT]

    def attempt() -> str:
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()),
            *(CommitOperationDelete(path_in_repo=name) for name in gone),
        ]
        made = hub.create_commit(
            repo, operations, commit_message=message, repo_type=kind, revision=branch, parent_commit=parent
        )
        return str(made.oid)

    try:
        return retry(attempt)
    except HfHubHTTPError as error:
        if http_status(error) in (409, 412):  # the head has moved, perhaps by an answer of ours that was lost
            return None
        raise


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say in one line what the Hub refused, and what to do about it."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hints = {
        401: "the Hub does not know the token: set HF_TOKEN, or log in by `hf auth login`",
        402: "the Hub wants payment for it",
        403: "the token may not write there",
        404: "there is no such repo, or the token may not see it",
    }
    try:
        yield
    except HfHubHTTPError as error:
        code = http_status(error)
        line = error.server_message or next(iter(str(error).strip().splitlines()), "")
        raise InputError(f"{what}: {hints.get(code, f'the Hub answers {code}')} ({line})") from None
    except LocalTokenNotFoundError:
        raise InputError(f"{what}: {hints[401]}") from None
    except (TransportError, ConnectionError) as error:
        raise InputError(f"{what}: the Hub cannot be reached: {error}") from None
    except RuntimeError as error:  # how the client says that an upload broke off again and again
        raise InputError(f"{what}: {error}") from None


def rollback(repo: str, tag: str, branch: str = "main") -> str:
    """Make the branch what it was at the tag, by one more commit; its id."""
    hub = api()
    with told(f"--repo {repo}"), tempfile.TemporaryDirectory() as scratch:
        if tag not in (known := tags(hub, repo)):
            raise InputError(f"--rollback: {repo} has no tag {tag}; it has {', '.join(sorted(known)) or 'none'}")
        head = str(retry(lambda: hub.model_info(repo, revision=branch)).sha)
        then = Path(retry(lambda: hub.snapshot_download(repo, revision=tag, cache_dir=scratch)))
        made = commit(hub, repo, "model", then, branch, head, f"Back to {tag}")
    if made is None:
        raise InputError(f"--rollback: somebody else committed to {repo} meanwhile; try again")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Push a release by hand, or go back to an earlier one; the exit status."""
    parser = argparse.ArgumentParser("python -m asr.release.hub", description="Push a release by hand, or go back.")
    parser.add_argument("path", nargs="?", type=Path, help="a release's folder")
    parser.add_argument("--repo", help="the repo on the Hub; default: the one in the release's profile")
    parser.add_argument("--force", action="store_true", help="push what did not pass the gate; its card will say so")
    parser.add_argument("--public", action="store_true", help="where the repo is new: for everyone to see")
    parser.add_argument("--rollback", metavar="TAG", help="make main what it was at this tag")
    given = parser.parse_args(arguments)
    try:
        if given.rollback:
            if not given.repo or given.path:
                parser.error("--rollback takes --repo, and no path")
            print(f"{given.repo} is at {rollback(given.repo, given.rollback)[:8]}, as it was at {given.rollback}")
            return 0
        if not given.path:
            parser.error("which release?")
        return by_hand(given.path, given.repo, given.force, not given.public)
    except InputError as mistake:
        print(mistake, file=sys.stderr)
        return 1


def by_hand(path: Path, repo: str | None, force: bool, private: bool = True) -> int:
    """Push the release at `path`, judged by what it keeps of its test; with `force` whatever that says."""
    about = folder.record(path)
    if not (repo := repo or about.get("repo_id")):
        raise InputError("--repo: which repo on the Hub? The release's profile names none")
    release = check(Release(repo_id=repo, private=private))
    against: list[str] = []

    def judge(there: Published) -> str:
        against[:] = [*about["faults"], *_contest(path, there)]
        return "; ".join(against)

    made = push(path, release, judge)
    if made.revision is None and force:
        with tempfile.TemporaryDirectory() as scratch:
            ready = Path(shutil.copytree(path, Path(scratch, path.name)))
            folder.describe(ready, {**about, "forced": against})
            made = push(ready, release, lambda there: "")
    if made.revision is None:
        print(f"not pushed: {made.why}\n--force pushes it all the same, and its card will say so", file=sys.stderr)
        return 1
    print(f"{made.repo_id} is at {made.revision[:8]}")
    return 0


def _contest(path: Path, there: Published) -> list[str]:
    """What the test that a release keeps says against it beside what is published."""
    import pandas as pd

    from asr.release import gate

    if there.empty:
        return []
    kept = json.loads((path / folder.COUNTS).read_text(encoding="utf-8"))
    clips = [(sound, *counts, None) for sound, counts in kept["clips"].items()]
    table = pd.DataFrame(clips, columns=["sound", "words", "served_word_errors", "speaker"])
    theirs = gate.known(there.counts or {}, table, kept["scoring"])
    if theirs is None:
        return ["what is published was scored on other clips, so nobody knows which is better"]
    return gate.faults([gate.contest(table, theirs, there.revision)])


if __name__ == "__main__":
    sys.exit(main())
