"""Publishes a release: to the folder of releases, to the Hub, and to the Space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.corpus.shards import SpeechDataset
from asr.release import dataset, deployment, folder, gate, hub
from asr.release.gate import Check
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Publication:
    """The result of publishing a release."""

    release: dict[str, Any]  # path, here, repo_id, revision, pushed, why, space, space_status, dataset
    latest: bool  # released/latest points to it
    checks: list[Check]
    sizes: dict[str, int]  # of its files, in bytes


def publish_release(
    source: Path, run_id: str, settings: Settings, checks: Sequence[Check], table: pd.DataFrame, corpus: SpeechDataset,
    space: Mapping[str, str], log: Callable[[str], None] = print, here: bool = True, dry: bool = False,
) -> Publication:  # fmt: skip
    """Publish a release locally, and on the Hub if a repo is configured and it is better than the published model.

    A release that fails the gate does not end the run; its `why` says so.

    Args:
        source: the release folder.
        run_id: of the run that publishes it, which may be later than the one that built it.
        settings: the profile.
        checks: the results of `gate.run_checks`.
        table: the release's table of test clips.
        corpus: the clips.
        space: the Space's files, name to text.
        log: prints a line of progress.
        here: whether the local disk persists. In a pod it does not, so the release stays in the run's datastore, from
            where `asr.release.fetch` downloads it to the reported path.
        dry: publish nothing and contact nobody, as for a step run by `spin`.

    Raises:
        InputError: the Hub does not accept it.
    """
    if dry:
        return _dry_run(source, f"{settings.name}-{run_id}", settings, checks)
    release, record, all_checks = hub.check_access(settings.release), folder.read_record(source), list(checks)
    passed = not gate.failures(checks)
    name = f"{settings.name}-{run_id}"
    path = folder.publish_folder(source, release.folder, name, newest=passed) if here else source
    fields: dict[str, Any] = {"path": str(release.folder / name), "here": here}
    fields |= {"repo_id": release.repo_id, "revision": None, "pushed": False}
    if release.keep and here:
        for deleted in folder.prune_releases(release.folder, settings.name, release.keep):
            log(f"deleted {deleted.name}: [release] keep is {release.keep}")

    def judge(head: hub.Published) -> str:
        all_checks[:] = checks  # drops the comparison with an earlier head
        if not head.empty:
            published_errors = _published_errors(head, str(release.repo_id), settings, table, corpus, space, log)
            all_checks.append(gate.compare_with_published(table, published_errors, head.revision))
        return "; ".join(gate.failures(all_checks))

    if release.repo_id and passed:
        result = hub.push_release(path, release, judge, log)
        fields |= {"repo_id": result.repo_id, "revision": result.revision, "pushed": result.revision is not None}
        if result.revision and release.space_id:
            deployed = deployment.deploy_space(dict(space), release, result.revision, log)
            fields |= {"space": deployed.url, "space_status": deployed.status}
            log(f"Space {deployed.space_id}: {deployed.status}")
        if result.revision and release.push_dataset:
            fields["dataset"] = dataset.push_corpus(corpus, release, record, log)
    fields["why"] = "; ".join(gate.failures(all_checks)) or ("" if release.repo_id else "no Hub repo is configured")
    return Publication(fields, passed, all_checks, _file_sizes(path))


def _dry_run(source: Path, name: str, settings: Settings, checks: Sequence[Check]) -> Publication:
    reason = "; ".join((*gate.failures(checks), "a spin publishes nothing"))
    fields = {"path": str(settings.release.folder / name), "here": True, "repo_id": settings.release.repo_id}
    fields |= {"revision": None, "pushed": False, "why": reason}
    return Publication(fields, False, list(checks), _file_sizes(source))


def _file_sizes(path: Path) -> dict[str, int]:
    return {name: file.stat().st_size for name, file in folder.list_files(path).items()}


def _published_errors(
    head: hub.Published, repo: str, settings: Settings, table: pd.DataFrame, corpus: SpeechDataset,
    space: Mapping[str, str], log: Callable[[str], None],
) -> list[int]:  # fmt: skip
    """The published model's word errors in our test clips: from its published counts, else by transcribing them."""
    if head.counts:
        errors = gate.match_published_counts(head.counts, table, settings.text.scoring)
        if errors is not None:
            return errors
    from asr.release import evaluation  # imports torch and transformers, which most pushes do not need

    log(f"the published model ({head.revision[:8]}) has no counts for these test clips, so it transcribes them now")
    with hub.explain_errors(f"[release] repo_id: {repo}"):
        snapshot = hub.retry(
            lambda: hub.api().snapshot_download(repo, revision=head.revision, ignore_patterns=f"{folder.SERVED}/*")
        )
    return evaluation.score_published_model(snapshot, settings, corpus.split("test"), dict(space), log)
