"""Where a release goes that is ready: to the folder of releases, to the Hub, to the Space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.corpus.shards import SpeechDataset
from asr.release import dataset, deploy, folder, gate, hub
from asr.release.gate import Check
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Out:
    """What became of a release."""

    release: dict[str, Any]  # path, here, repo_id, revision, pushed, why, space, told of the Space, dataset
    latest: bool  # released/latest points to it now
    checks: list[Check]
    sizes: dict[str, int]  # of its files, in bytes


def let_out(
    ready: Path, run_id: str, settings: Settings, checks: Sequence[Check], table: pd.DataFrame, corpus: SpeechDataset,
    space: Mapping[str, str], say: Callable[[str], None] = print, here: bool = True, dry: bool = False,
) -> Out:  # fmt: skip
    """Publish the folder `ready` here; on the Hub too, where one is asked for and it is better than what is there.

    `run_id` is the run's that publishes it, perhaps a later one than it was made in; `table` holds its test clips.
    What does not pass the gate ends nothing: the release then says why. A pod is not `here`: its disk goes with it,
    so the folder stays in the run's datastore, for `asr.release.fetch` to bring to the path that is told. A `dry` one,
    for a step that is spun, publishes nothing and asks nobody. Raises `Refused` where the Hub refuses it.
    """
    if dry:
        return _kept_back(ready, f"{settings.name}-{run_id}", settings, checks)
    release, about, asked = hub.check(settings.release), folder.record(ready), list(checks)
    passed = not gate.faults(checks)
    name = f"{settings.name}-{run_id}"
    path = folder.publish(ready, release.folder, name, newest=passed) if here else ready
    told: dict[str, Any] = {"path": str(release.folder / name), "here": here}
    told |= {"repo_id": release.repo_id, "revision": None, "pushed": False}
    if release.keep and here:
        for old in folder.prune(release.folder, settings.name, release.keep):
            say(f"deleted {old.name}: [release] keep is {release.keep}")

    def judge(there: hub.Published) -> str:
        asked[:] = checks  # the head may have moved since it was judged before
        if not there.empty:
            theirs = _theirs(there, str(release.repo_id), settings, table, corpus, space, say)
            asked.append(gate.contest(table, theirs, there.revision))
        return "; ".join(gate.faults(asked))

    if release.repo_id and passed:
        made = hub.push(path, release, judge, say)
        told |= {"repo_id": made.repo_id, "revision": made.revision, "pushed": made.revision is not None}
        if made.revision and release.space_id:
            served = deploy.deploy(dict(space), release, made.revision, say)
            told |= {"space": served.url, "space_told": served.told}
            say(f"Space {served.space_id}: {served.told}")
        if made.revision and release.push_dataset:
            told["dataset"] = dataset.push(corpus, release, about, say)
    told["why"] = "; ".join(gate.faults(asked)) or ("" if release.repo_id else "no Hub repo is configured")
    return Out(told, passed, asked, _sizes(path))


def _kept_back(ready: Path, name: str, settings: Settings, checks: Sequence[Check]) -> Out:
    told = {"path": str(settings.release.folder / name), "here": True, "repo_id": settings.release.repo_id}
    told |= {"revision": None, "pushed": False, "why": "; ".join((*gate.faults(checks), "a spin publishes nothing"))}
    return Out(told, False, list(checks), _sizes(ready))


def _sizes(path: Path) -> dict[str, int]:
    return {name: file.stat().st_size for name, file in folder.files(path).items()}


def _theirs(
    there: hub.Published, repo: str, settings: Settings, table: pd.DataFrame, corpus: SpeechDataset,
    space: Mapping[str, str], say: Callable[[str], None],
) -> list[int]:  # fmt: skip
    """The words that the published model got wrong in our test clips: kept with it, else heard now."""
    if there.counts and (kept := gate.known(there.counts, table, settings.text.scoring)) is not None:
        return kept
    from asr.release import candidate  # torch and transformers, which most pushes do without

    say(f"what is published ({there.revision[:8]}) kept no counts for these test clips, so it hears them now")
    with hub.told(f"[release] repo_id: {repo}"):
        fetched = hub.patiently(
            lambda: hub.api().snapshot_download(repo, revision=there.revision, ignore_patterns=f"{folder.SERVED}/*")
        )
    return candidate.rival(fetched, settings, corpus.split("test"), dict(space), say)
