"""Clips packed as FLAC in Parquet: what `preprocess` writes and training reads.

The columns are those of a Hugging Face audio data set, so that `datasets` and pandas read a shard as it is:
`clip, split, source, text, speaker, seconds`, `segments` (start, end, text; seconds from the clip's start;
null where no times are known) and `audio` (a struct of `bytes` and `path`). A shard holds one split. Its
Parquet metadata carry a `fingerprint` of all that.
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
from asr.corpus.clips import Clip, Rejected, judged
from asr.corpus.rows import Row
from asr.settings import Settings
from asr.values import to_plain

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from asr.store import Store

SEGMENT = pa.struct([("start", pa.float64()), ("end", pa.float64()), ("text", pa.string())])
SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("seconds", pa.float64()),
        ("segments", pa.list_(SEGMENT)),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)
GROUP = 100  # clips a row group: what a reader takes into memory at once
MOST_BYTES = 128 << 20  # of a shard, which a task holds in memory
EXAMPLES, EXAMPLE_SECONDS = 2, 10.0  # clips of each split that a part's card plays, of two speakers; and the longest
REPORT_SECONDS = 20.0
TYPES: dict[str, Any] = {"clip": "str", "source": "str", "seconds": float, "words": int, "text": "str", "sound": "str"}
MAKERS = ("av", "num2words", "numpy", "pyarrow", "soundfile", "soxr")  # whose version can change a shard's bytes


@dataclass(frozen=True)
class Shard:
    """What is known of a shard without opening it."""

    key: str  # of its Parquet in the datastore; the hash of its content
    split: str
    size: int  # bytes
    clips: pd.DataFrame  # by their place in the Parquet: clip, source, speaker, seconds, words, text, sound
    retained: str | None = None  # the language of retained speech; None: it is the corpus' own

    @property
    def seconds(self) -> float:
        return float(self.clips["seconds"].sum())

    def to_plain(self) -> dict[str, Any]:
        """As plain Python: of the clips the columns, and their places as `at`."""
        columns = {name: self.clips[name].tolist() for name in self.clips}
        clips = {name: [one if one == one else None for one in column] for name, column in columns.items()}
        clips = {"at": self.clips.index.tolist(), **clips}
        return {"key": self.key, "split": self.split, "size": self.size, "clips": clips, "retained": self.retained}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Shard:
        """What `to_plain` was made of."""
        return known([told])[0]


def known(told: Sequence[dict[str, Any]]) -> tuple[Shard, ...]:
    """A run's `shards`. Their clips are cut from one table: to make thousands of small ones takes a trial seconds."""
    import pandas as pd

    names = told[0]["clips"] if told else ()
    columns = {name: [one for shard in told for one in shard["clips"][name]] for name in names}
    table = pd.DataFrame(columns, index=columns.pop("at", None))
    table = table.astype({name: TYPES[name] for name in TYPES if name in columns})
    ends = itertools.accumulate(len(shard["clips"]["at"]) for shard in told)
    parts = (table.iloc[begin:end] for begin, end in itertools.pairwise((0, *ends)))
    return tuple(Shard(**{**shard, "clips": part}) for shard, part in zip(told, parts, strict=True))


def rejects(rejected: Iterable[Rejected]) -> pd.DataFrame:
    """clip, reason, split"""
    import pandas as pd

    told = [(one.clip, one.reason, one.split) for one in rejected]
    return pd.DataFrame(told, columns=["clip", "reason", "split"])


@dataclass(frozen=True)
class Packed:
    """What a part came to: every row of it is a clip in a shard, or was rejected."""

    shards: tuple[Shard, ...]
    rejected: tuple[Rejected, ...]
    taken_over: bool = False  # from an earlier run

    @property
    def rejects(self) -> pd.DataFrame:
        return rejects(self.rejected)

    def to_plain(self) -> dict[str, Any]:
        shards = [shard.to_plain() for shard in self.shards]
        return {"shards": shards, "rejected": to_plain(self.rejected), "taken_over": self.taken_over}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Packed:
        rejected = tuple(Rejected(**one) for one in told["rejected"])
        return cls(known(told["shards"]), rejected, told["taken_over"])

    def __str__(self) -> str:
        kept, hours = sum(len(shard.clips) for shard in self.shards), sum(one.seconds for one in self.shards) / 3600
        told = f"{kept} clips kept ({hours:.2f} h), {len(self.rejected)} set aside"
        return f"{told}; unchanged since an earlier run, not made again" if self.taken_over else told


class _Writer:
    """A shard in the making."""

    def __init__(self, split: str, retained: str | None) -> None:
        self.split, self.retained, self.file = split, retained, io.BytesIO()
        # FLAC does not shrink further.
        self.parquet = pq.ParquetWriter(self.file, SCHEMA, compression="none", store_schema=False)
        self.waiting: list[Clip] = []
        self.records: list[dict[str, Any]] = []
        self.fingerprint = hashlib.sha256()

    def add(self, clip: Clip) -> None:
        self.fingerprint.update(repr(dataclasses.replace(clip, flac=b"")).encode("utf-8", "backslashreplace"))
        self.records.append({
            "clip": clip.clip, "source": clip.source, "speaker": clip.speaker, "seconds": clip.seconds,
            "words": text.words(clip.text), "text": clip.text, "sound": clip.sound,
        })  # fmt: skip
        self.waiting.append(clip)
        if len(self.waiting) == GROUP:
            self.flush()

    def flush(self) -> None:
        table = pa.Table.from_pylist([_columns(clip) for clip in self.waiting], schema=SCHEMA)
        self.parquet.write_table(table, row_group_size=GROUP)
        self.waiting = []

    def close(self, put: Callable[[bytes], str]) -> Shard:
        import pandas as pd

        if self.waiting:
            self.flush()
        self.parquet.add_key_value_metadata({"fingerprint": self.fingerprint.hexdigest()[:16]})
        self.parquet.close()
        blob = self.file.getvalue()
        return Shard(put(blob), self.split, len(blob), pd.DataFrame(self.records), self.retained)


def _columns(clip: Clip) -> dict[str, Any]:
    return {
        "clip": clip.clip,
        "split": clip.split,
        "source": clip.source,
        "text": clip.text,
        "speaker": clip.speaker,
        "seconds": clip.seconds,
        "segments": [{"start": one.start, "end": one.end, "text": one.text} for one in clip.segments] or None,
        "audio": {"bytes": clip.flac, "path": clip.clip},
    }


def pack(
    rows: Iterable[Row],
    settings: Settings,
    put: Callable[[bytes], str],
    most_seconds: float | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Packed, list[Clip]]:
    """Judge a source's rows and pack those that are fit into shards, which `put` keeps; and a few clips to listen to.

    Stops at `most_seconds` of speech kept. Holds one shard a split in memory.
    """
    making, retained = dict[str, _Writer](), settings.corpus.retained
    made, rejected, examples = list[Shard](), list[Rejected](), list[Clip]()
    seconds, reported, kept = 0.0, time.monotonic(), 0
    for one in judged(rows, settings):
        if isinstance(one, Rejected):
            rejected.append(one)
            continue
        if one.split not in making:
            making[one.split] = _Writer(one.split, retained.get(one.source))
        writer = making[one.split]
        writer.add(one)
        seconds, kept = seconds + one.seconds, kept + 1
        examples += [one] if _to_hear(one, examples) else []
        if len(writer.records) == settings.corpus.shard_clips or writer.file.tell() > MOST_BYTES:
            made.append(making.pop(one.split).close(put))
        if time.monotonic() > reported + REPORT_SECONDS:
            say(f"{kept} clips kept ({seconds / 3600:.2f} h) so far, {len(rejected)} set aside")
            reported = time.monotonic()
        if most_seconds and seconds >= most_seconds:
            break
    made += [writer.close(put) for writer in making.values()]
    return Packed(tuple(made), tuple(rejected)), examples


def _to_hear(clip: Clip, chosen: Sequence[Clip]) -> bool:
    """Whether a clip is one to listen to beside those chosen already."""
    same = [one.speaker for one in chosen if one.split == clip.split]
    return len(same) < EXAMPLES and clip.seconds <= EXAMPLE_SECONDS and (clip.speaker or "") not in same


def make(part: sources.Part, settings: Settings, store: Store) -> tuple[Packed, list[Clip]]:
    """The part packed, or what an earlier run made of the same one; and a few clips to listen to."""
    name = recipe(part, settings)
    if (known := store.recall(name)) and all(store.has(shard.key) for shard in known[0].shards):
        return dataclasses.replace(known[0], taken_over=True), known[1]
    made = pack(sources.read(part), settings, store.put, part.most_seconds)
    store.remember(name, made)
    return made


def recipe(part: sources.Part, settings: Settings) -> str:
    """A hash of all that a part's shards are made of: content, text, settings, code and libraries."""
    corpus = settings.corpus
    keys = {key for key in type(corpus).model_fields if key.startswith(("min_", "max_"))}
    judging = corpus.model_dump(include=keys | {"language", "shard_clips"})
    judging["retained"] = corpus.retained.get(part.source)
    writing = settings.text.model_dump(include={"writing", "alphabet"})
    left_out = set(corpus.exclude)
    hashes: dict[Path, str] = {}
    told = hashlib.sha256(repr((_code(), judging, writing)).encode())
    for row in part.rows:
        if isinstance(row.audio, Path) and row.audio not in hashes:
            hashes[row.audio] = _hash(row.audio)
        content = hashes[row.audio] if isinstance(row.audio, Path) else row.version
        row = dataclasses.replace(row, audio=None, version=content)
        told.update(repr((row, bool(row.names & left_out))).encode("utf-8", "backslashreplace"))
    if part.stretch:
        told.update(repr((part.stretch, part.source, part.prefix, sorted(left_out))).encode())
    told.update(repr(part.most_seconds).encode())
    return told.hexdigest()


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"


def _code() -> str:
    """A hash of this wing's sources and the versions of the libraries that it makes shards with."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest() + repr([version(name) if find_spec(name) else None for name in MAKERS])


@dataclass(frozen=True)
class Speech:
    """The clips of a corpus, by split; and retained speech beside them."""

    shards: Sequence[Shard]
    folder: Path  # where the shards' files are put, named by their keys
    fetch: Callable[[Iterable[str], Path], Path]  # brings them there

    def split(self, name: str) -> Dataset:
        """One split as a `datasets.Dataset`, mapped from disk: a row is read when it is asked for.

        That of training holds retained speech too, the others do not.
        """
        return self._read([shard for shard in self._of(name) if name == "train" or shard.retained is None])

    def retained(self, name: str) -> dict[str, Dataset]:
        """The clips of a split in the languages that the model is not to forget, by Whisper's code for each."""
        shards = [shard for shard in self._of(name) if shard.retained]
        languages = sorted({str(shard.retained) for shard in shards})
        return {language: self._read([one for one in shards if one.retained == language]) for language in languages}

    def _of(self, split: str) -> list[Shard]:
        return [shard for shard in self.shards if shard.split == split and len(shard.clips)]

    def _read(self, chosen: Sequence[Shard]) -> Dataset:
        import datasets

        self.fetch([shard.key for shard in chosen], self.folder)
        files = [self.folder / shard.key for shard in chosen]
        everything = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(self.folder / "arrow"))
        kept, at = list[int](), 0
        for shard, file in zip(chosen, files, strict=True):
            kept += (shard.clips.index + at).tolist()
            at += pq.read_metadata(file).num_rows
        return everything if len(kept) == at else everything.select(kept)
