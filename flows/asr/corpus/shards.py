"""Shards: clips as FLAC in Parquet, which `preprocess` writes and training reads.

The columns are those of a Hugging Face audio dataset, so that `datasets` and pandas read a shard directly:
`clip, split, source, text, speaker, seconds`, `segments` (start, end, text; seconds from the clip's start; null if no
times are known) and `audio` (a struct of `bytes` and `path`). A shard holds one split. Its Parquet metadata contain a
`fingerprint` of its content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr.corpus import sources, text
from asr.corpus.clips import Clip, Rejected, validate_clips
from asr.corpus.rows import Row
from asr.plain_values import to_plain
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from asr.store import Store

SEGMENT_TYPE = pa.struct([("start", pa.float64()), ("end", pa.float64()), ("text", pa.string())])
SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("segments", pa.list_(SEGMENT_TYPE)),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)
ROW_GROUP_CLIPS = 100  # a reader holds one row group in memory
MAX_SHARD_BYTES = 128 << 20  # a task holds a shard in memory
EXAMPLES_PER_SPLIT, MAX_EXAMPLE_SECONDS = 2, 10.0  # clips that a part's card plays, each of another speaker
REPORT_SECONDS = 20.0  # between two lines of progress
COLUMN_TYPES: dict[str, Any] = {
    "clip": "str",
    "source": "str",
    "seconds": float,
    "words": int,
    "text": "str",
    "sound": "str",
}
VERSIONED_LIBRARIES = (
    "av",
    "num2words",
    "numpy",
    "pyarrow",
    "soundfile",
    "soxr",
)  # their versions can change a shard's bytes


@dataclass(frozen=True)
class Shard:
    """A shard's description, without its audio."""

    key: str  # of its Parquet in the datastore: the hash of its content
    split: str
    size: int  # bytes
    clips: pd.DataFrame  # clip, source, speaker, seconds, words, text, sound; indexed by the row in the Parquet
    retained: str | None = None  # the language of retained speech; None for the corpus' own

    @property
    def seconds(self) -> float:
        return float(self.clips["seconds"].sum())

    def to_plain(self) -> dict[str, Any]:
        """As plain Python: the clips by column, with their row numbers as `at`."""
        columns = {name: self.clips[name].tolist() for name in self.clips}
        clips = {name: [cell if cell == cell else None for cell in column] for name, column in columns.items()}
        clips = {"at": self.clips.index.tolist(), **clips}
        return {"key": self.key, "split": self.split, "size": self.size, "clips": clips, "retained": self.retained}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Shard:
        """The inverse of `to_plain`."""
        return shards_from_plain([fields])[0]


def shards_from_plain(shards: Sequence[dict[str, Any]]) -> tuple[Shard, ...]:
    """A run's `shards` artifact. Slices one table, because building thousands of small ones takes seconds."""
    import pandas as pd

    names = shards[0]["clips"] if shards else ()
    columns = {name: [cell for shard in shards for cell in shard["clips"][name]] for name in names}
    table = pd.DataFrame(columns, index=columns.pop("at", None))
    table = table.astype({name: COLUMN_TYPES[name] for name in COLUMN_TYPES if name in columns})
    ends = itertools.accumulate(len(shard["clips"]["at"]) for shard in shards)
    parts = (table.iloc[begin:end] for begin, end in itertools.pairwise((0, *ends)))
    return tuple(Shard(**{**shard, "clips": part}) for shard, part in zip(shards, parts, strict=True))


def rejected_table(rejected: Iterable[Rejected]) -> pd.DataFrame:
    """A table with the columns clip, reason, split."""
    import pandas as pd

    rows = [(clip.clip, clip.reason, clip.split) for clip in rejected]
    return pd.DataFrame(rows, columns=["clip", "reason", "split"])


@dataclass(frozen=True)
class PackedPart:
    """The result of packing a part: each of its rows is a clip in a shard, or rejected."""

    shards: tuple[Shard, ...]
    rejected: tuple[Rejected, ...]
    is_reused: bool = False  # built by an earlier run

    @property
    def rejected_table(self) -> pd.DataFrame:
        return rejected_table(self.rejected)

    def to_plain(self) -> dict[str, Any]:
        shards = [shard.to_plain() for shard in self.shards]
        return {"shards": shards, "rejected": to_plain(self.rejected), "is_reused": self.is_reused}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> PackedPart:
        rejected = tuple(Rejected(**clip) for clip in fields["rejected"])
        return cls(shards_from_plain(fields["shards"]), rejected, fields["is_reused"])

    def __str__(self) -> str:
        count, hours = (
            sum(len(shard.clips) for shard in self.shards),
            sum(shard.seconds for shard in self.shards) / 3600,
        )
        line = f"{count} clips accepted ({hours:.2f} h), {len(self.rejected)} rejected"
        return f"{line}; unchanged since an earlier run, not made again" if self.is_reused else line


class _ShardWriter:
    """Writes one shard."""

    def __init__(self, split: str, retained: str | None) -> None:
        self.split, self.retained, self.file = split, retained, io.BytesIO()
        # FLAC does not compress further.
        self.parquet = pq.ParquetWriter(self.file, SCHEMA, compression="none", store_schema=False)
        self.buffer: list[Clip] = []
        self.records: list[dict[str, Any]] = []
        self.fingerprint = hashlib.sha256()

    def add(self, clip: Clip) -> None:
        self.fingerprint.update(repr(dataclasses.replace(clip, flac=b"")).encode("utf-8", "backslashreplace"))
        self.records.append({
            "clip": clip.clip, "source": clip.source, "speaker": clip.speaker, "seconds": clip.seconds,
            "words": text.count_words(clip.text), "text": clip.text, "sound": clip.sound,
        })  # fmt: skip
        self.buffer.append(clip)
        if len(self.buffer) == ROW_GROUP_CLIPS:
            self.flush()

    def flush(self) -> None:
        table = pa.Table.from_pylist([_to_record(clip) for clip in self.buffer], schema=SCHEMA)
        self.parquet.write_table(table, row_group_size=ROW_GROUP_CLIPS)
        self.buffer = []

    def close(self, put: Callable[[bytes], str]) -> Shard:
        import pandas as pd

        if self.buffer:
            self.flush()
        self.parquet.add_key_value_metadata({"fingerprint": self.fingerprint.hexdigest()[:16]})
        self.parquet.close()
        blob = self.file.getvalue()
        return Shard(put(blob), self.split, len(blob), pd.DataFrame(self.records), self.retained)


def _to_record(clip: Clip) -> dict[str, Any]:
    return {
        "clip": clip.clip,
        "split": clip.split,
        "source": clip.source,
        "text": clip.text,
        "speaker": clip.speaker,
        "seconds": clip.seconds,
        "segments": [{"start": part.start, "end": part.end, "text": part.text} for part in clip.segments] or None,
        "audio": {"bytes": clip.flac, "path": clip.clip},
    }


def pack_rows(
    rows: Iterable[Row],
    settings: Settings,
    put: Callable[[bytes], str],
    max_seconds: float | None = None,
    log: Callable[[str], None] = print,
) -> tuple[PackedPart, list[Clip]]:
    """Validate rows and pack the accepted clips into shards; also returns a few example clips for the card.

    Holds one shard per split in memory.

    Args:
        rows: the rows of one source.
        settings: the profile.
        put: stores a shard's bytes, and returns their key.
        max_seconds: stop after this much accepted speech.
        log: prints a line of progress.
    """
    writers, retained = dict[str, _ShardWriter](), settings.corpus.retained
    shards, rejected, examples = list[Shard](), list[Rejected](), list[Clip]()
    seconds, last_report, count = 0.0, time.monotonic(), 0
    for clip in validate_clips(rows, settings):
        if isinstance(clip, Rejected):
            rejected.append(clip)
            continue
        if clip.split not in writers:
            writers[clip.split] = _ShardWriter(clip.split, retained.get(clip.source))
        writer = writers[clip.split]
        writer.add(clip)
        seconds, count = seconds + clip.seconds, count + 1
        examples += [clip] if _is_example(clip, examples) else []
        if len(writer.records) == settings.corpus.shard_clips or writer.file.tell() > MAX_SHARD_BYTES:
            shards.append(writers.pop(clip.split).close(put))
        if time.monotonic() > last_report + REPORT_SECONDS:
            log(f"{count} clips accepted ({seconds / 3600:.2f} h) so far, {len(rejected)} rejected")
            last_report = time.monotonic()
        if max_seconds and seconds >= max_seconds:
            break
    shards += [writer.close(put) for writer in writers.values()]
    return PackedPart(tuple(shards), tuple(rejected)), examples


def _is_example(clip: Clip, examples: Sequence[Clip]) -> bool:
    """Whether to add a clip to the examples."""
    speakers = [example.speaker for example in examples if example.split == clip.split]
    is_short = clip.seconds <= MAX_EXAMPLE_SECONDS
    return is_short and len(speakers) < EXAMPLES_PER_SPLIT and (clip.speaker or "") not in speakers


def build_part(part: sources.Part, settings: Settings, store: Store) -> tuple[PackedPart, list[Clip]]:
    """Pack a part, or reuse the result of an earlier run; also returns a few example clips for the card."""
    name = part_cache_key(part, settings)
    if (cached := store.recall(name)) and all(store.has(shard.key) for shard in cached[0].shards):
        return dataclasses.replace(cached[0], is_reused=True), cached[1]
    result = pack_rows(sources.read_part(part), settings, store.put, part.max_seconds)
    store.remember(name, result)
    return result


def part_cache_key(part: sources.Part, settings: Settings) -> str:
    """A hash of everything that determines a part's shards: audio, text, settings, code and libraries."""
    corpus = settings.corpus
    keys = {key for key in type(corpus).model_fields if key.startswith(("min_", "max_"))}
    validation = corpus.model_dump(include=keys | {"language", "shard_clips"})
    validation["retained"] = corpus.retained.get(part.source)
    writing = settings.text.model_dump(include={"writing", "alphabet"})
    excluded = set(corpus.exclude)
    hashes: dict[Path, str] = {}
    digest = hashlib.sha256(repr((_hash_code(), validation, writing)).encode())
    for row in part.rows:
        if isinstance(row.audio, Path) and row.audio not in hashes:
            hashes[row.audio] = _hash_file(row.audio)
        content = hashes[row.audio] if isinstance(row.audio, Path) else row.version
        row = dataclasses.replace(row, audio=None, version=content)
        digest.update(repr((row, bool(row.names & excluded))).encode("utf-8", "backslashreplace"))
    if part.file:
        digest.update(repr((part.file, part.source, part.prefix, sorted(excluded))).encode())
    digest.update(repr(part.max_seconds).encode())
    return digest.hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"


def _hash_code() -> str:
    """A hash of this package's sources and the versions of the libraries that shards depend on."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest() + repr(
        [version(name) if find_spec(name) else None for name in VERSIONED_LIBRARIES]
    )


@dataclass(frozen=True)
class SpeechDataset:
    """The clips of a corpus by split, with retained speech."""

    shards: Sequence[Shard]
    folder: Path  # holds the shards' files, named by their keys
    fetch: Callable[[Iterable[str], Path], Path]  # downloads shards into the folder

    def split(self, name: str) -> Dataset:
        """One split as a memory-mapped `datasets.Dataset`. Only the train split includes retained speech."""
        return self._load([shard for shard in self._split_shards(name) if name == "train" or shard.retained is None])

    def retained(self, name: str) -> dict[str, Dataset]:
        """The clips of a split in the retained languages, by Whisper's language code."""
        shards = [shard for shard in self._split_shards(name) if shard.retained]
        languages = sorted({str(shard.retained) for shard in shards})
        return {
            language: self._load([shard for shard in shards if shard.retained == language]) for language in languages
        }

    def _split_shards(self, split: str) -> list[Shard]:
        return [shard for shard in self.shards if shard.split == split and len(shard.clips)]

    def _load(self, shards: Sequence[Shard]) -> Dataset:
        import datasets

        self.fetch([shard.key for shard in shards], self.folder)
        files = [self.folder / shard.key for shard in shards]
        dataset = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(self.folder / "arrow"))
        accepted, offset = list[int](), 0
        for shard, file in zip(shards, files, strict=True):
            accepted += (shard.clips.index + offset).tolist()
            offset += pq.read_metadata(file).num_rows
        return dataset if len(accepted) == offset else dataset.select(accepted)
