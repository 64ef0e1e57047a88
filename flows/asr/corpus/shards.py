"""Clips packed as FLAC in Parquet: what `preprocess` writes and training reads.

The columns are those of a Hugging Face audio data set, so that `datasets` and pandas read a shard as
it is: `clip, split, text, speaker, seconds` and `audio` (a struct of `bytes` and `path`).
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from asr import Refused
from asr.corpus.clips import Clip, Rejected, judge
from asr.corpus.sources import SPLITS, Row
from asr.settings import Corpus

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


@dataclass(frozen=True)
class Shard:
    """What is known of a shard without opening it."""

    key: str  # of its Parquet in the datastore; the hash of its content
    clips: dict[str, int]  # kept, by split
    seconds: dict[str, float]  # likewise
    texts: tuple[str, ...]  # of the training clips
    rejected: tuple[Rejected, ...]
    size: int  # bytes


def plan(rows: Sequence[Row], corpus: Corpus) -> list[list[Row]]:
    """The rows in shards of `shard_clips`, every one of them in one shard."""
    size = corpus.shard_clips
    return [list(rows[at : at + size]) for at in range(0, len(rows), size)]


def pack(rows: Iterable[Row], corpus: Corpus) -> tuple[bytes, list[Clip], list[Rejected]]:
    """The Parquet of the rows that are fit, those clips, and the rejects."""
    judged = [judge(row, corpus) for row in rows]
    clips = [one for one in judged if isinstance(one, Clip)]
    table = pa.Table.from_pylist(
        [
            {
                "clip": one.clip,
                "split": one.split,
                "text": one.text,
                "speaker": one.speaker,
                "seconds": one.seconds,
                "audio": {"bytes": one.flac, "path": one.clip},
            }
            for one in clips
        ],
        schema=SCHEMA,
    )
    file = io.BytesIO()
    pq.write_table(table, file, compression="none", row_group_size=100)  # FLAC does not shrink further
    return file.getvalue(), clips, [one for one in judged if isinstance(one, Rejected)]


def describe(key: str, size: int, clips: Sequence[Clip], rejected: Sequence[Rejected]) -> Shard:
    """The shard's record, which `collect` joins in the audio's stead."""
    return Shard(
        key=key,
        clips={split: sum(clip.split == split for clip in clips) for split in SPLITS},
        seconds={split: sum(clip.seconds for clip in clips if clip.split == split) for split in SPLITS},
        texts=tuple(clip.text for clip in clips if clip.split == "train"),
        rejected=tuple(rejected),
        size=size,
    )


def fingerprint(shards: Iterable[Shard]) -> str:
    """16 hex digits that change when any clip, text or split does."""
    return hashlib.sha256("".join(shard.key for shard in shards).encode()).hexdigest()[:16]


def summary(shards: Sequence[Shard]) -> dict[str, object]:
    """The run's `corpus` artifact: found, kept, rejected, hours, fingerprint; found = kept + rejected."""
    kept = {split: sum(shard.clips[split] for shard in shards) for split in SPLITS}
    rejected = sum(len(shard.rejected) for shard in shards)
    return {
        "found": sum(kept.values()) + rejected,
        "kept": sum(kept.values()),
        "rejected": rejected,
        "hours": sum(sum(shard.seconds.values()) for shard in shards) / 3600,
        "clips": kept,
        "fingerprint": fingerprint(shards),
    }


def check(shards: Sequence[Shard]) -> None:
    """Raises `Refused` where a split is left without a clip."""
    for split in SPLITS:
        if not sum(shard.clips[split] for shard in shards):
            reasons = Counter(one.reason for shard in shards for one in shard.rejected).most_common(3)
            told = ", ".join(f"{count} {reason}" for reason, count in reasons)
            raise Refused(f"[corpus] no clip of {split} is fit to use; set aside: {told}")


def rejects(shards: Sequence[Shard]) -> pd.DataFrame:
    """The run's `rejected` artifact: clip, reason."""
    import pandas as pd

    return pd.DataFrame(
        [(one.clip, one.reason) for shard in shards for one in shard.rejected], columns=["clip", "reason"]
    )


def read(paths: Sequence[Path], split: str) -> Dataset:
    """One split of the shards as a `datasets.Dataset`, mapped from disk: a row is read when it is asked for."""
    import datasets

    filled = [str(path) for path in paths if pq.read_metadata(path).num_rows]  # every clip of a shard may be rejected
    everything = datasets.Dataset.from_parquet(filled, cache_dir=str(paths[0].parent / "arrow"))
    chosen = [at for at, name in enumerate(everything["split"]) if name == split]
    return everything.select(chosen)
