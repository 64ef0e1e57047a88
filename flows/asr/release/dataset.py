"""Publishes the corpus as a dataset on the Hub, if `[release] push_dataset` is set."""

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


def push_corpus(
    speech: SpeechDataset, release: Release, run: Mapping[str, Any], log: Callable[[str], None] = print
) -> str:
    """Push audio and text of every clip in the corpus' language in one commit, a Parquet file per shard.

    Returns the commit's id. One shard is on disk at a time. A corpus with the same fingerprint is not pushed again.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import EntryNotFoundError

    assert release.push_dataset
    api, repo = hub.api(), release.push_dataset
    with hub.explain_errors(f"[release] push_dataset: {repo}"):
        hub.retry(lambda: api.create_repo(repo, repo_type="dataset", private=release.private, exist_ok=True))
        head = str(hub.retry(lambda: api.dataset_info(repo)).sha)
        existing = hub.retry(lambda: api.list_repo_files(repo, repo_type="dataset", revision=head))
        try:
            file = hub.retry(lambda: api.hf_hub_download(repo, RECORD, repo_type="dataset", revision=head))
            if json.loads(Path(file).read_text(encoding="utf-8"))["fingerprint"] == run["fingerprint"]:
                return head
        except EntryNotFoundError:
            pass
        log(f"pushing the corpus to {repo}")
        record = {"fingerprint": run["fingerprint"], "hours": run["hours"], "run_id": run["run_id"]}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(RECORD, (json.dumps(record, indent=2) + "\n").encode()),
            CommitOperationAdd("README.md", _render_card(run).encode()),
        ]
        for split in SPLITS:
            shards = [
                shard for shard in speech.shards if shard.split == split and len(shard.clips) and not shard.retained
            ]
            for number, shard in enumerate(shards):
                with tempfile.TemporaryDirectory() as scratch:
                    single = replace(speech, shards=[shard], folder=Path(scratch, "shard"))
                    clips = str(Path(scratch, "clips.parquet"))
                    single.split(split).to_parquet(clips)
                    name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                    part = CommitOperationAdd(name, clips)
                    hub.retry(lambda part=part: api.preupload_lfs_files(repo, [part], repo_type="dataset"))  # type: ignore[misc]
                operations.append(part)
        written = {operation.path_in_repo for operation in operations}
        operations += [CommitOperationDelete(name) for name in existing if name not in written and name != hub.HUB_FILE]
        commit = hub.retry(
            lambda: api.create_commit(
                repo, operations, commit_message=f"Corpus {run['fingerprint']}", repo_type="dataset", parent_commit=head
            )
        )
    return str(commit.oid)


def _render_card(run: Mapping[str, Any]) -> str:
    retained = run.get("retained_sources", {})  # which are not pushed
    licences = "; ".join(f"{name}: {licence}" for name, licence in run["licences"].items() if name not in retained)
    return f"""---
language: {run["language"]}
task_categories: [automatic-speech-recognition]
---

The corpus of whisper-flow's run {run["run_id"]}: {run["hours"]:.2f} hours, fingerprint `{run["fingerprint"]}`.
Every clip has audio (16 kHz FLAC), text, speaker, source and duration. Licences of its sources: {licences}.
"""
