"""A data set of the Hugging Face Hub, or a folder of Parquet laid out like one, read as a stream.

Nothing is downloaded whole: each Parquet file of a split is a stretch that one `preprocess` task reads from end to
end, so a terabyte of speech needs no terabyte of disk. `datasets` finds the files, by the data set's own
configurations; pyarrow reads them, because the streams of `datasets` 5 want torchcodec for some, hold a gigabyte
for others, and may abort the interpreter where they are left early (datasets#7467).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr import Refused
from asr.corpus.files import first_line, opened
from asr.corpus.rows import SPLITS, Row, carve, split_of
from asr.network import patiently, unreachable
from asr.settings import Columns, Source

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

TEXTS = ("transcription", "sentence", "text", "transcript", "raw_transcription", "normalized_text")
SPEAKERS = ("speaker_id", "client_id", "speaker")
PARQUET_COPY = "refs/convert/parquet"  # the branch where the Hub keeps its copy of a data set, a folder a configuration
HOURS_A_STRETCH = 1.0  # that a limit is spread over, so that it takes a little of many files
BATCH = 16  # rows taken from a file at once


@dataclass(frozen=True)
class Place:
    """A data set at a commit."""

    root: str  # a folder here, or hf://datasets/ID@COMMIT
    id: str
    commit: str  # of a folder here, what changes with its files
    is_copy: bool  # it is the Hub's Parquet copy


@dataclass(frozen=True)
class Stretch:
    """A file of a split."""

    file: str  # a path here, or hf://datasets/ID@COMMIT/...
    place: Place
    name: str  # of the split there, and the file's number in it
    split: str | None  # here; None: carved by speaker
    columns: Columns  # audio and text at least
    most_clips: int | None
    most_seconds: float | None

    def may_hold(self, split: str) -> bool:
        return self.split in (None, split)


def place(source: Source) -> Place:
    """Where the data set is, at the commit that its revision is now, so that every task of a run reads the same.

    Raises `Refused` where it cannot be reached.
    """
    name = str(source.id)
    if (folder := Path(name)).is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        told = repr([(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
        return Place(name, name, hashlib.sha256(told.encode()).hexdigest()[:16], False)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx

    def asked(revision: str | None) -> DatasetInfo:
        return patiently(lambda: HfApi().dataset_info(name, revision=revision))

    if away := unreachable():
        raise Refused(f"[corpus] id: {name} is no folder here, and the Hub cannot be reached: {away}")
    script = f"{name.split('/')[-1]}.py"
    try:
        info, is_copy = asked(source.revision), source.revision == PARQUET_COPY
        if source.revision is None and any(file.rfilename == script for file in info.siblings or []):
            info, is_copy = asked(PARQUET_COPY), True  # scripts are run no more
    except GatedRepoError:
        why = "is given out on terms: accept them on its page, and set HF_TOKEN"
    except RepositoryNotFoundError:
        why = "is not on the Hub, or only for those with a token (HF_TOKEN)"
    except RevisionNotFoundError:
        why = f"has no revision {source.revision or PARQUET_COPY}"
    except (httpx.HTTPError, HFValidationError, OSError) as error:
        why = f"cannot be reached: {first_line(error)}"
    else:
        return Place(f"hf://datasets/{name}@{info.sha}", name, str(info.sha), is_copy)
    raise Refused(f"[corpus] id: the data set {name} {why}")


def stretches(source: Source, at: Place, shard_clips: int) -> list[Stretch]:
    """The data set's files; [] where they are not Parquet.

    Raises `Refused` where the configuration, a split or a column is not there.
    """
    there = _files(source, at)
    if not any(file.endswith(".parquet") for files in there.values() for file in files):
        return []
    found = []
    for split, name in _names(source, list(there)).items():
        files = there[name]
        columns = _columns(files[0], source)
        count = len(files)
        if source.limit_clips:
            count = min(count, math.ceil(source.limit_clips / shard_clips))
        if source.limit_hours:
            count = min(count, math.ceil(source.limit_hours / HOURS_A_STRETCH))
        most_clips = source.limit_clips and math.ceil(source.limit_clips / count)
        most_seconds = source.limit_hours and source.limit_hours * 3600 / count
        for number in (nth * len(files) // count for nth in range(count)):  # evenly spread
            stretch = f"{name}/{number}"
            found.append(Stretch(files[number], at, stretch, split or None, columns, most_clips, most_seconds))
    return found


def _files(source: Source, at: Place) -> dict[str, list[str]]:
    """The files of each split, as it is called there."""
    import datasets

    # A copy's branch has no list of configurations: its folders are they.
    chosen = {"data_dir": source.config} if at.is_copy else {"name": source.config}
    revision = None if at.root == at.id else at.commit
    try:
        builder = datasets.load_dataset_builder(at.id, revision=revision, **chosen)
    except (OSError, ValueError, RuntimeError) as error:  # datasets' own errors are kinds of these
        raise Refused(f"[corpus] id: {at.id} cannot be read: {first_line(error)}") from None
    return {str(name): list(map(str, files)) for name, files in (builder.config.data_files or {}).items()}


def _names(source: Source, there: Sequence[str]) -> dict[str, str]:
    """What each split is called there: as the profile says, else by its usual name; "" for one that is to be carved."""
    chosen = {split: name for split, name in source.splits.model_dump().items() if name}
    if unknown := [name for name in chosen.values() if name not in there]:
        raise Refused(f"[corpus] splits: {source.id} has no split {unknown[0]}; it has {', '.join(there)}")
    usual = {split: name for name in there if (split := split_of(name))}
    chosen = chosen or {split: usual[split] for split in SPLITS if split in usual}
    if not chosen:
        raise Refused(f"[corpus] splits: say which of {', '.join(there)} is train, validation and test of {source.id}")
    return {"": chosen["train"]} if set(chosen) == {"train"} else chosen


def _columns(file: str, source: Source) -> Columns:
    try:
        with opened(file) as content:
            schema = pq.read_schema(content)
    except (OSError, ValueError) as error:  # pyarrow's own are kinds of these
        raise Refused(f"[corpus] id: {file} cannot be read: {first_line(error)}") from None
    given = source.columns.model_dump()
    for key, name in given.items():
        if name and name not in schema.names:
            raise Refused(f"[corpus] columns.{key}: {source.id} has no column {name}; it has {', '.join(schema.names)}")
    sounds = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    usual = {"audio": sounds, "text": TEXTS, "speaker": SPEAKERS, "clip": ()}
    for key, names in usual.items():
        given[key] = given[key] or next((name for name in names if name in schema.names), None)
    for key in ("audio", "text"):
        if given[key] is None:
            raise Refused(
                f"[corpus] columns.{key}: say which of {', '.join(schema.names)} of {source.id} holds the {key}"
            )
    return Columns(**given)


def rows(stretch: Stretch) -> Iterator[Row]:
    """The stretch's clips with their audio, one at a time."""
    columns = {key: name for key, name in stretch.columns.model_dump().items() if name}
    with opened(stretch.file) as content:
        batches = pq.ParquetFile(content).iter_batches(BATCH, columns=list(set(columns.values())), use_threads=False)
        every = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(itertools.islice(every, stretch.most_clips)):
            told = {key: row[name] for key, name in columns.items()}
            speaker = _word(told.get("speaker"))
            clip = _word(told.get("clip")) or f"{stretch.name}-{number}"
            audio, problem = _sound(told["audio"], stretch.place)
            text = "" if told["text"] is None else str(told["text"])
            yield Row(clip, stretch.split or carve(speaker or clip), text, speaker, audio, problem=problem)


def _word(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None


def _sound(audio: Any, at: Place) -> tuple[bytes | None, str | None]:
    """A clip's file, or what is wrong with it. A path is only followed into the data set itself."""
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        return audio["bytes"], None
    path = str((audio.get("path") if isinstance(audio, dict) else audio) or "")
    if not path:
        return None, "missing file"
    if not path.startswith(f"{at.root}/") or ".." in path.split("/") or not _stays(path, at):
        return None, "outside the folder"
    try:
        with opened(path) as file:
            return file.read(), None
    except FileNotFoundError:
        return None, "missing file"


def _stays(path: str, at: Place) -> bool:
    return at.root != at.id or Path(path).resolve().is_relative_to(Path(at.root).resolve())
