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
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr import InputError, first_line
from asr.corpus.files import opened
from asr.corpus.folder import CELL_BYTES, check_rows, letters, text_of
from asr.corpus.rows import SPLITS, Row, carve, split_of
from asr.network import retry, unreachable_reason
from asr.settings import Columns, Source

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

TEXTS = ("transcription", "sentence", "text", "transcript", "raw_transcription", "normalized_text")
SPEAKERS = ("speaker_id", "client_id", "speaker")
PARQUET_COPY = "refs/convert/parquet"  # the branch where the Hub keeps its copy of a data set, a folder a configuration
HOURS_A_STRETCH = 1.0  # that a limit is spread over, so that it takes a little of many files
BATCH = 16  # rows taken from a file at once
BATCH_BYTES = 1 << 28  # at once, where a row is large; one row always is
GROUP_BYTES = 1 << 31  # of the columns that are read, in a row group: a clip is no larger, and memory holds it
MOST_ROWS = 1_000_000  # of a file: a constant column of many more takes no place in it
CARDS = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # that `datasets` reads
CARD_BYTES, CARD_PARTS = 1 << 24, 100_000


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

    Raises `InputError` where it cannot be reached.
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
        return retry(lambda: HfApi().dataset_info(name, revision=revision))

    if away := unreachable_reason():
        raise InputError(f"[corpus] id: {name} is no folder here, and the Hub cannot be reached: {away}")
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
    raise InputError(f"[corpus] id: the data set {name} {why}")


def stretches(source: Source, at: Place, shard_clips: int) -> list[Stretch]:
    """The data set's files; [] where they are not Parquet.

    Raises `InputError` where the configuration, a split or a column is not there.
    """
    _check_card(at)
    there = _files(source, at)
    for file in itertools.chain.from_iterable(there.values()):
        if not _belongs(file, at):
            raise InputError(f"[corpus] id: {at.id}: {file} leads out of the folder")
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


def _check_card(at: Place) -> None:
    """Raises `InputError` where a card names files elsewhere, which `datasets` would read, or is too much for it."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    for name in CARDS:
        place = f"{at.root}/{name}"
        if at.root == at.id and not os.path.lexists(place):
            continue
        if not _belongs(place, at):
            raise InputError(f"[corpus] id: {place} leads out of the folder")
        try:
            with opened(place) as file:
                content = file.read(CARD_BYTES + 1)
            if len(content) > CARD_BYTES:
                raise ValueError(f"it has more than {CARD_BYTES:,} bytes")
            text = content.decode("utf-8")
            if name == CARDS[0]:
                text = found[2] if (found := REGEX_YAML_BLOCK.search(text)) else ""
            told = {} if name == CARDS[2] else yaml.safe_load(text)
            configs = told.get("configs") if isinstance(told, dict) else None
            words = list(itertools.islice(_words(told), CARD_PARTS))
            if len(words) == CARD_PARTS:
                raise ValueError(f"it has more than {CARD_PARTS:,} parts")
            away = next((word for word in _words(configs) if _leads_out(word)), None)
        except FileNotFoundError:
            continue
        except (ValueError, OSError, RecursionError, yaml.YAMLError) as error:
            if isinstance(error, OSError) and at.root != at.id:
                raise  # the network's
            raise InputError(f"[corpus] id: {place} cannot be read: {' '.join(str(error).split())[:300]}") from None
        if away is not None:
            raise InputError(f"[corpus] id: {place}: {away} leads out of the folder")


def _words(value: Any) -> Iterator[str]:
    """What a card's table says, keys and all; a part that it repeats by reference comes as often as it is repeated."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _words(key)
            yield from _words(part)
    elif isinstance(value, list | tuple | set):
        yield ""
        for part in value:
            yield from _words(part)
    else:
        yield str(value) if isinstance(value, str) else ""


def _leads_out(pattern: str) -> bool:
    """Whether a card's pattern for files names a place that is not below its folder.

    >>> [_leads_out(one) for one in ("data/train-*", "../x", "/etc/x", "hf://datasets/a/b/x", "zip://a::b", "~/x")]
    [False, True, True, True, True, True]
    """
    return pattern.startswith(("/", "~")) or "://" in pattern or "::" in pattern or ".." in re.split(r"[/\\]", pattern)


def _belongs(file: str, at: Place) -> bool:
    """Whether a file is the data set's, and one that can be read to its end."""
    return _inside(file, at) and (at.root != at.id or os.path.isfile(file))


def _files(source: Source, at: Place) -> dict[str, list[str]]:
    """The files of each split, as it is called there."""
    import datasets

    # A copy's branch has no list of configurations: its folders are they.
    chosen = {"data_dir": source.config} if at.is_copy else {"name": source.config}
    revision = None if at.root == at.id else at.commit
    try:
        builder = datasets.load_dataset_builder(at.id, revision=revision, **chosen)
    except Exception as error:  # datasets', its YAML's, and those of the file systems that it knows
        raise InputError(f"[corpus] id: {at.id} cannot be read: {first_line(error)}") from None
    return {str(name): list(map(str, files)) for name, files in (builder.config.data_files or {}).items()}


def _names(source: Source, there: Sequence[str]) -> dict[str, str]:
    """What each split is called there: as the profile says, else by its usual name; "" for one that is to be carved."""
    chosen = {split: name for split, name in source.splits.model_dump().items() if name}
    if unknown := [name for name in chosen.values() if name not in there]:
        raise InputError(f"[corpus] splits: {source.id} has no split {unknown[0]}; it has {', '.join(there)}")
    usual = {split: name for name in there if (split := split_of(name))}
    chosen = chosen or {split: usual[split] for split in SPLITS if split in usual}
    if not chosen:
        raise InputError(
            f"[corpus] splits: say which of {', '.join(there)} is train, validation and test of {source.id}"
        )
    return {"": chosen["train"]} if set(chosen) == {"train"} else chosen


def _columns(file: str, source: Source) -> Columns:
    try:
        with opened(file) as content:
            schema = pq.read_schema(content)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"[corpus] id: {file} cannot be read: {first_line(error)}") from None
    given = source.columns.model_dump()
    for key, name in given.items():
        if name and name not in schema.names:
            raise InputError(
                f"[corpus] columns.{key}: {source.id} has no column {name}; it has {', '.join(schema.names)}"
            )
    sounds = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    usual = {"audio": sounds, "text": TEXTS, "speaker": SPEAKERS, "clip": ()}
    for key, names in usual.items():
        given[key] = given[key] or next((name for name in names if name in schema.names), None)
    for key in ("audio", "text"):
        if given[key] is None:
            raise InputError(
                f"[corpus] columns.{key}: say which of {', '.join(schema.names)} of {source.id} holds the {key}"
            )
    return Columns(**given)


def rows(stretch: Stretch) -> Iterator[Row]:
    """The stretch's clips with their audio, one at a time. Raises `InputError` for a file damaged or too large."""
    columns = {key: name for key, name in stretch.columns.model_dump().items() if name}
    try:
        with opened(stretch.file) as content:
            for number, row in enumerate(itertools.islice(_read(content, columns), stretch.most_clips)):
                speaker = text_of(row.get("speaker")).strip() or None
                clip = text_of(row.get("clip")).strip() or f"{stretch.name}-{number}"
                audio, problem = _sound(row["audio"], stretch.place)
                split = stretch.split or carve(speaker or clip)
                text = row["text"]
                if isinstance(text, bytes) and len(text) > CELL_BYTES:
                    text, problem = None, "text too long"
                yield Row(clip, split, text_of(text), speaker, audio, problem=problem)
    except (ValueError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise  # the disk's or the network's; pyarrow's own is a plain one
        raise InputError(f"[corpus] id: {stretch.file} cannot be read: {first_line(error)}") from None


def _read(content: IO[bytes], columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The cells of each row by what they are. A file's footer says what it holds before any of it is unfolded."""
    names = sorted(set(columns.values()))
    with pq.ParquetFile(content) as file:
        check_rows(file.metadata.num_rows, MOST_ROWS)
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        parts = [[group.column(at) for at in range(group.num_columns)] for group in groups]
        wanted = [sum(one.total_uncompressed_size for one in part if _top(one) in names) for part in parts]
        if (largest := max(wanted, default=0)) > GROUP_BYTES:
            raise ValueError(f"a row group has {largest:,} bytes, and {GROUP_BYTES:,} are the most that are read")
        # Any cell may be as large as its group, and may be repeated in each row.
        at_once = min(BATCH, max(1, BATCH_BYTES // max(1, largest)))
        for batch in file.iter_batches(at_once, columns=names, use_threads=False):
            cells = {
                name: batch.column(name) if name == columns["audio"] else letters(batch.column(name)) for name in names
            }
            for at in range(batch.num_rows):
                yield {key: cells[name][at].as_py() for key, name in columns.items()}


def _top(column: Any) -> str:
    return str(column.path_in_schema).partition(".")[0]


def _sound(audio: Any, at: Place) -> tuple[bytes | None, str | None]:
    """A clip's file, or what is wrong with it. A path is only followed into the data set itself."""
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        return (audio["bytes"], None) if isinstance(audio["bytes"], bytes) else (None, "no audio")
    path = str((audio.get("path") if isinstance(audio, dict) else audio) or "")
    if not path:
        return None, "missing file"
    if not _inside(path, at):
        return None, "outside the folder"
    if at.root == at.id and not os.path.isfile(path):
        return None, "missing file"
    try:
        with opened(path) as file:
            return file.read(), None
    except FileNotFoundError:
        return None, "missing file"


def _inside(path: str, at: Place) -> bool:
    """Whether a path is below the data set's root, by its words and by where its links lead."""
    if not path.startswith(f"{at.root}/") or ".." in path.split("/"):
        return False
    return at.root != at.id or Path(path).resolve().is_relative_to(Path(at.root).resolve())
