"""The corpus on the Hub, for those who ask for it: `[release] push_dataset`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.corpus.shards import SpeechDataset
from asr.corpus.splits import SPLITS
from asr.release import hub
from asr.settings import Release

RECORD = "corpus.json"


def push(speech: SpeechDataset, release: Release, about: Mapping[str, Any], say: Callable[[str], None] = print) -> str:
    """Push sound and text of every clip in the corpus' language, a Parquet file a shard, in one commit; its id.

    One shard is on disk at a time. A corpus that is there already, by its fingerprint, is not pushed again.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import EntryNotFoundError

    assert release.push_dataset
    api, repo = hub.api(), release.push_dataset
    with hub.told(f"[release] push_dataset: {repo}"):
        hub.patiently(lambda: api.create_repo(repo, repo_type="dataset", private=release.private, exist_ok=True))
        head = str(hub.patiently(lambda: api.dataset_info(repo)).sha)
        there = hub.patiently(lambda: api.list_repo_files(repo, repo_type="dataset", revision=head))
        try:
            file = hub.patiently(lambda: api.hf_hub_download(repo, RECORD, repo_type="dataset", revision=head))
            if json.loads(Path(file).read_text(encoding="utf-8"))["fingerprint"] == about["fingerprint"]:
                return head
        except EntryNotFoundError:
            pass
        say(f"pushing the corpus to {repo}")
        told = {"fingerprint": about["fingerprint"], "hours": about["hours"], "run_id": about["run_id"]}
        made: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(RECORD, (json.dumps(told, indent=2) + "\n").encode()),
            CommitOperationAdd("README.md", _card(about).encode()),
        ]
        for split in SPLITS:
            shards = [one for one in speech.shards if one.split == split and len(one.clips) and not one.retained]
            for number, shard in enumerate(shards):
                with tempfile.TemporaryDirectory() as scratch:
                    one = replace(speech, shards=[shard], folder=Path(scratch, "shard"))
                    clips = str(Path(scratch, "clips.parquet"))
                    one.split(split).to_parquet(clips)
                    name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                    part = CommitOperationAdd(name, clips)
                    hub.patiently(lambda part=part: api.preupload_lfs_files(repo, [part], repo_type="dataset"))  # type: ignore[misc]
                made.append(part)
        named = {one.path_in_repo for one in made}
        made += [CommitOperationDelete(name) for name in there if name not in named and name != hub.KEPT]
        commit = hub.patiently(
            lambda: api.create_commit(
                repo, made, commit_message=f"Corpus {about['fingerprint']}", repo_type="dataset", parent_commit=head
            )
        )
    return str(commit.oid)


def _card(about: Mapping[str, Any]) -> str:
    retained = about.get("retained_sources", {})  # which stays where it is
    licences = "; ".join(f"{name}: {licence}" for name, licence in about["licences"].items() if name not in retained)
    return f"""---
language: {about["language"]}
task_categories: [automatic-speech-recognition]
---

The corpus of whisper-flow's run {about["run_id"]}: {about["hours"]:.2f} hours, fingerprint `{about["fingerprint"]}`.
Every clip has its sound (16 kHz FLAC), text, speaker, source and length. Licences of its sources: {licences}.
"""
