"""Publishes a release on the Hugging Face Hub as a single commit.

    python -m asr.release.hub PATH [--repo ID] [--force]      push a release manually
    python -m asr.release.hub --repo ID --rollback run-17     restore main as it was at a tag

The token comes from HF_TOKEN or `hf auth login`; only huggingface_hub reads it.
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

MAX_ATTEMPTS = 5  # pushes, while others commit to the same branch
HUB_FILE = ".gitattributes"  # the Hub creates it in every repo


@dataclass(frozen=True)
class Published:
    """The model at the head of the branch."""

    revision: str
    record: dict[str, Any] | None  # its release.json, or None
    counts: dict[str, Any] | None  # its test-counts.json, or None
    empty: bool  # there is no model


@dataclass(frozen=True)
class PushResult:
    """The result of a push."""

    repo_id: str
    revision: str | None  # of the commit; None if it was not pushed
    why: str = ""  # why it was not pushed


def api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name="whisper-flow")


def check_access(release: Release, wait: bool = True) -> Release:
    """The settings with full repo ids. Raises `InputError` if the Hub is needed but not accessible.

    With `wait`, network errors are retried: at the end of a run, but not at its start.
    """
    from huggingface_hub import get_token

    requested = {name: repo for name in ("repo_id", "space_id", "push_dataset") if (repo := getattr(release, name))}
    if not requested:
        return release
    first = f"[release] {next(iter(requested))}"
    if get_token() is None:
        raise InputError(f"{first}: no token for the Hub: set HF_TOKEN, or log in by `hf auth login`")
    if not wait and (reason := unreachable_reason()):
        raise InputError(f"{first}: the Hub cannot be reached: {reason}")
    with explain_errors(first):
        account = retry(api().whoami)
    namespaces = [account["name"], *(org["name"] for org in account.get("orgs", []))]
    repos = {name: repo if "/" in repo else f"{account['name']}/{repo}" for name, repo in requested.items()}
    for name, repo in repos.items():
        if repo.split("/")[0] not in namespaces:
            raise InputError(f"[release] {name}: the token may not write to {repo}, only to {', '.join(namespaces)}")
    return release.model_copy(update=repos)


def push_release(
    path: Path, release: Release, judge: Callable[[Published], str], log: Callable[[str], None] = print
) -> PushResult:
    """Push the release at `path` as one commit, unless `judge` rejects it in comparison with the published model.

    The parent of the commit is the head that it was compared with; if the head has moved, it is compared again. A push
    that was interrupted, or whose response was lost, is found by its run id and not repeated.

    Args:
        path: the release folder.
        release: the profile's table, with full repo ids.
        judge: returns why the release must not replace the published model; "" if it may.
        log: prints a line of progress.

    Raises:
        InputError: the Hub does not accept it, in one line.
    """
    assert release.repo_id
    hub, repo, branch = api(), release.repo_id, release.branch
    record = folder.read_record(path)
    with explain_errors(f"[release] repo_id: {repo}"):
        retry(lambda: hub.create_repo(repo, private=release.private, exist_ok=True))
        if branch != "main":
            retry(lambda: hub.create_branch(repo, branch=branch, exist_ok=True))
        if revision := list_tags(hub, repo).get(f"run-{record['run_id']}"):
            log(f"{repo} has this release already, at {revision[:8]}")
            return PushResult(repo, revision)
        for _ in range(MAX_ATTEMPTS):
            head = read_published(hub, repo, branch)
            if head.record and head.record.get("run_id") == record["run_id"]:
                revision = head.revision
                break
            if reason := judge(head):
                return PushResult(repo, None, reason)
            log(f"pushing {path.name} to {repo}")
            if revision := commit_folder(hub, repo, "model", path, branch, head.revision, _commit_message(record)):
                break
            log(f"the head of {repo} has moved; comparing again")
        else:
            raise InputError(f"[release] repo_id: {repo} is committed to faster than a release can be compared")
        for name in (f"run-{record['run_id']}", record["created"][:16].replace(":", ""), *filter(None, [release.tag])):
            retry(lambda name=name: hub.create_tag(  # type: ignore[misc]
                repo, tag=name, revision=revision, tag_message=record["created"], exist_ok=True
            ))  # fmt: skip
    return PushResult(repo, revision)


def _commit_message(record: dict[str, Any]) -> str:
    low, high = record["served_wer_ci"]
    name = RATES[record.get("unit", "word")]
    return f"Run {record['run_id']}: {name} {record['served_wer']:.1f} % ({low:.1f} to {high:.1f}) as served"


def read_published(hub: HfApi, repo: str, branch: str) -> Published:
    """The model at the head of a branch."""
    from huggingface_hub.errors import EntryNotFoundError

    head = str(retry(lambda: hub.model_info(repo, revision=branch)).sha)
    files = retry(lambda: hub.list_repo_files(repo, revision=head))
    contents: list[dict[str, Any] | None] = []
    for name in (folder.RECORD, folder.COUNTS):
        try:
            file = retry(lambda name=name: hub.hf_hub_download(repo, name, revision=head))  # type: ignore[misc]
            contents.append(json.loads(Path(file).read_text(encoding="utf-8")))
        except (EntryNotFoundError, ValueError):
            contents.append(None)
    return Published(head, contents[0], contents[1], "config.json" not in files)


def list_tags(hub: HfApi, repo: str) -> dict[str, str]:
    """The repo's tags, each with its commit."""
    return {tag.name: tag.target_commit for tag in retry(lambda: hub.list_repo_refs(repo)).tags}


def commit_folder(hub: HfApi, repo: str, kind: str, path: Path, branch: str, parent: str, message: str) -> str | None:
    """Replace the repo's files by the folder's, in one commit on top of `parent`; returns its id.

    None if `parent` is no longer the head.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    files = folder.list_files(path)
    existing = retry(lambda: hub.list_repo_files(repo, revision=parent, repo_type=kind))
    deleted = [name for name in existing if name not in files and name != HUB_FILE]

    def attempt() -> str:
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()),
            *(CommitOperationDelete(path_in_repo=name) for name in deleted),
        ]
        commit = hub.create_commit(
            repo, operations, commit_message=message, repo_type=kind, revision=branch, parent_commit=parent
        )
        return str(commit.oid)

    try:
        return retry(attempt)
    except HfHubHTTPError as error:
        if http_status(error) in (409, 412):  # the head has moved, perhaps by our own commit whose response was lost
            return None
        raise


@contextmanager
def explain_errors(subject: str) -> Iterator[None]:
    """Turn an error of the Hub into `InputError`: one line with what to do about it."""
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
        raise InputError(f"{subject}: {hints.get(code, f'the Hub answers {code}')} ({line})") from None
    except LocalTokenNotFoundError:
        raise InputError(f"{subject}: {hints[401]}") from None
    except (TransportError, ConnectionError) as error:
        raise InputError(f"{subject}: the Hub cannot be reached: {error}") from None
    except RuntimeError as error:  # raised by the client if an upload fails repeatedly
        raise InputError(f"{subject}: {error}") from None


def rollback(repo: str, tag: str, branch: str = "main") -> str:
    """Restore the branch as it was at the tag, with a new commit; returns its id."""
    hub = api()
    with explain_errors(f"--repo {repo}"), tempfile.TemporaryDirectory() as scratch:
        if tag not in (tags := list_tags(hub, repo)):
            raise InputError(f"--rollback: {repo} has no tag {tag}; it has {', '.join(sorted(tags)) or 'none'}")
        head = str(retry(lambda: hub.model_info(repo, revision=branch)).sha)
        snapshot = Path(retry(lambda: hub.snapshot_download(repo, revision=tag, cache_dir=scratch)))
        commit = commit_folder(hub, repo, "model", snapshot, branch, head, f"Back to {tag}")
    if commit is None:
        raise InputError(f"--rollback: the head of {repo} has moved; try again")
    return commit


def main(arguments: Sequence[str] | None = None) -> int:
    """Push a release manually, or restore an earlier one; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m asr.release.hub", description="Push a release manually, or restore an earlier one."
    )
    parser.add_argument("path", nargs="?", type=Path, help="a release folder")
    parser.add_argument("--repo", help="the repo on the Hub; default: the one in the release's profile")
    parser.add_argument("--force", action="store_true", help="push even if the gate fails; the model card says so")
    parser.add_argument("--public", action="store_true", help="make a new repo public")
    parser.add_argument("--rollback", metavar="TAG", help="restore main as it was at this tag")
    options = parser.parse_args(arguments)
    try:
        if options.rollback:
            if not options.repo or options.path:
                parser.error("--rollback takes --repo, and no path")
            print(
                f"{options.repo} is at {rollback(options.repo, options.rollback)[:8]}, as it was at {options.rollback}"
            )
            return 0
        if not options.path:
            parser.error("which release?")
        return push_manually(options.path, options.repo, options.force, not options.public)
    except InputError as mistake:
        print(mistake, file=sys.stderr)
        return 1


def push_manually(path: Path, repo: str | None, force: bool, private: bool = True) -> int:
    """Push the release at `path` if its published counts pass the gate, or in any case with `force`."""
    record = folder.read_record(path)
    if not (repo := repo or record.get("repo_id")):
        raise InputError("--repo: which repo on the Hub? The release's profile names none")
    release = check_access(Release(repo_id=repo, private=private))
    faults: list[str] = []

    def judge(head: Published) -> str:
        faults[:] = [*record["faults"], *_compare_by_counts(path, head)]
        return "; ".join(faults)

    result = push_release(path, release, judge)
    if result.revision is None and force:
        with tempfile.TemporaryDirectory() as scratch:
            ready = Path(shutil.copytree(path, Path(scratch, path.name)))
            folder.write_description(ready, {**record, "forced": faults})
            result = push_release(ready, release, lambda head: "")
    if result.revision is None:
        print(f"not pushed: {result.why}\n--force pushes it anyway, and its model card says so", file=sys.stderr)
        return 1
    print(f"{result.repo_id} is at {result.revision[:8]}")
    return 0


def _compare_by_counts(path: Path, head: Published) -> list[str]:
    """Why a release must not replace the published one, by the error counts of both; empty if it may."""
    import pandas as pd

    from asr.release import gate

    if head.empty:
        return []
    counts = json.loads((path / folder.COUNTS).read_text(encoding="utf-8"))
    clips = [(sound, *errors, None) for sound, errors in counts["clips"].items()]
    table = pd.DataFrame(clips, columns=["sound", "words", "served_word_errors", "speaker"])
    published_errors = gate.match_published_counts(head.counts or {}, table, counts["scoring"])
    if published_errors is None:
        return ["the published model was evaluated on other clips, so the two cannot be compared"]
    return gate.failures([gate.compare_with_published(table, published_errors, head.revision)])


if __name__ == "__main__":
    sys.exit(main())
