"""A dataset on the Hugging Face Hub, or a local folder of Parquet in the same layout, read as a stream.

Nothing is downloaded as a whole: one `preprocess` task reads each Parquet file of a split from start to end, so a
terabyte of speech needs no terabyte of disk. `datasets` finds the files by the dataset's configurations; pyarrow reads
them, because the streams of `datasets` 5 need torchcodec for some, hold a gigabyte for others, and may abort the
interpreter if they are closed early (datasets#7467).
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
from asr.corpus.files import open_file
from asr.corpus.metadata import MAX_CELL_BYTES
from asr.corpus.rows import Row
from asr.corpus.splits import SPLITS, assign_split, split_from_name
from asr.corpus.tables import cell_text, check_row_count, text_as_bytes
from asr.network import retry, unreachable_reason
from asr.settings import Columns, Source

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

TEXT_COLUMNS = ("transcription", "sentence", "text", "transcript", "raw_transcription", "normalized_text")
SPEAKER_COLUMNS = ("speaker_id", "client_id", "speaker")
PARQUET_COPY = "refs/convert/parquet"  # the branch of the Hub's Parquet copy, with a folder per configuration
HOURS_PER_FILE = 1.0  # a limit is spread so that it takes at most this much of each file
BATCH_ROWS = 16
MAX_BATCH_BYTES = 1 << 28  # rows are read one by one if they may exceed it
MAX_GROUP_BYTES = 1 << 31  # of the columns read in a row group, which has to fit into memory
MAX_ROWS = 1_000_000  # of a file: a constant column of many more takes no space in it
CARD_FILES = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # read by `datasets`
MAX_CARD_BYTES, MAX_CARD_PARTS = 1 << 24, 100_000


@dataclass(frozen=True)
class DatasetRevision:
    """A dataset at a commit."""

    root: str  # a local folder, or hf://datasets/ID@COMMIT
    id: str
    commit: str  # for a local folder a hash that changes with its files
    is_copy: bool  # it is the Hub's Parquet copy

    @property
    def is_local(self) -> bool:
        return self.root == self.id


@dataclass(frozen=True)
class ParquetFile:
    """A file of a split."""

    path: str  # local, or hf://datasets/ID@COMMIT/...
    dataset: DatasetRevision
    name: str  # the split's name in the dataset, and the file's number in it
    split: str | None  # None: clips are split by speaker
    columns: Columns  # with audio and text at least
    max_clips: int | None
    max_seconds: float | None

    def may_hold(self, split: str) -> bool:
        return self.split in (None, split)


def resolve_dataset(source: Source) -> DatasetRevision:
    """The dataset at the commit of its revision now, so that every task of a run reads the same.

    Raises `InputError` if it cannot be reached.
    """
    name = str(source.id)
    if (folder := Path(name)).is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        listing = repr([(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
        return DatasetRevision(name, name, hashlib.sha256(listing.encode()).hexdigest()[:16], False)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx

    def request(revision: str | None) -> DatasetInfo:
        return retry(lambda: HfApi().dataset_info(name, revision=revision))

    if reason := unreachable_reason():
        raise InputError(f"[corpus] id: {name} is no folder here, and the Hub cannot be reached: {reason}")
    script = f"{name.split('/')[-1]}.py"
    try:
        info, is_copy = request(source.revision), source.revision == PARQUET_COPY
        if source.revision is None and any(file.rfilename == script for file in info.siblings or []):
            info, is_copy = request(PARQUET_COPY), True  # `datasets` no longer runs loading scripts
    except GatedRepoError:
        reason = "is gated: accept its terms on its page, and set HF_TOKEN"
    except RepositoryNotFoundError:
        reason = "is not on the Hub, or only for those with a token (HF_TOKEN)"
    except RevisionNotFoundError:
        reason = f"has no revision {source.revision or PARQUET_COPY}"
    except (httpx.HTTPError, HFValidationError, OSError) as error:
        reason = f"cannot be reached: {first_line(error)}"
    else:
        return DatasetRevision(f"hf://datasets/{name}@{info.sha}", name, str(info.sha), is_copy)
    raise InputError(f"[corpus] id: the data set {name} {reason}")


def list_files(source: Source, dataset: DatasetRevision, shard_clips: int) -> list[ParquetFile]:
    """The dataset's Parquet files, or [] if it has other files.

    Raises `InputError` if the configuration, a split or a column is missing.
    """
    _check_card(dataset)
    split_files = _split_files(source, dataset)
    for path in itertools.chain.from_iterable(split_files.values()):
        if not _is_dataset_file(path, dataset):
            raise InputError(f"[corpus] id: {dataset.id}: {path} leads out of the folder")
    if not any(path.endswith(".parquet") for paths in split_files.values() for path in paths):
        return []
    files = []
    for split, name in _choose_splits(source, list(split_files)).items():
        paths = split_files[name]
        columns = _choose_columns(paths[0], source)
        count = len(paths)
        if source.limit_clips:
            count = min(count, math.ceil(source.limit_clips / shard_clips))
        if source.limit_hours:
            count = min(count, math.ceil(source.limit_hours / HOURS_PER_FILE))
        max_clips = source.limit_clips and math.ceil(source.limit_clips / count)
        max_seconds = source.limit_hours and source.limit_hours * 3600 / count
        for number in (index * len(paths) // count for index in range(count)):  # evenly spaced
            file_name = f"{name}/{number}"
            files.append(ParquetFile(paths[number], dataset, file_name, split or None, columns, max_clips, max_seconds))
    return files


def _check_card(dataset: DatasetRevision) -> None:
    """Raises `InputError` if the dataset's card names files elsewhere, which `datasets` would read, or is too large."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    for name in CARD_FILES:
        path = f"{dataset.root}/{name}"
        if dataset.is_local and not os.path.lexists(path):
            continue
        if not _is_dataset_file(path, dataset):
            raise InputError(f"[corpus] id: {path} leads out of the folder")
        try:
            with open_file(path) as file:
                content = file.read(MAX_CARD_BYTES + 1)
            if len(content) > MAX_CARD_BYTES:
                raise ValueError(f"it has more than {MAX_CARD_BYTES:,} bytes")
            text = content.decode("utf-8")
            if name == CARD_FILES[0]:
                text = block[2] if (block := REGEX_YAML_BLOCK.search(text)) else ""
            card = {} if name == CARD_FILES[2] else yaml.safe_load(text)
            configs = card.get("configs") if isinstance(card, dict) else None
            parts = list(itertools.islice(_card_strings(card), MAX_CARD_PARTS))
            if len(parts) == MAX_CARD_PARTS:
                raise ValueError(f"it has more than {MAX_CARD_PARTS:,} parts")
            outside = next((pattern for pattern in _card_strings(configs) if _is_outside(pattern)), None)
        except FileNotFoundError:
            continue
        except (ValueError, OSError, RecursionError, yaml.YAMLError) as error:
            if isinstance(error, OSError) and not dataset.is_local:
                raise  # a network error
            raise InputError(f"[corpus] id: {path} cannot be read: {' '.join(str(error).split())[:300]}") from None
        if outside is not None:
            raise InputError(f"[corpus] id: {path}: {outside} leads out of the folder")


def _card_strings(value: Any) -> Iterator[str]:
    """The strings of a card, keys included; parts repeated by a YAML reference are counted each time."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _card_strings(key)
            yield from _card_strings(part)
    elif isinstance(value, list | tuple | set):
        yield ""
        for part in value:
            yield from _card_strings(part)
    else:
        yield str(value) if isinstance(value, str) else ""


def _is_outside(pattern: str) -> bool:
    """Whether a file pattern in a card leads out of the dataset's folder.

    >>> patterns = ("data/train-*", "../x", "/etc/x", "hf://datasets/a/b/x", "zip://a::b", "~/x")
    >>> [_is_outside(pattern) for pattern in patterns]
    [False, True, True, True, True, True]
    """
    return pattern.startswith(("/", "~")) or "://" in pattern or "::" in pattern or ".." in re.split(r"[/\\]", pattern)


def _is_dataset_file(path: str, dataset: DatasetRevision) -> bool:
    """Whether a file is in the dataset and, if local, a regular file."""
    return _is_inside(path, dataset) and (not dataset.is_local or os.path.isfile(path))


def _split_files(source: Source, dataset: DatasetRevision) -> dict[str, list[str]]:
    """The files of each split, by its name in the dataset."""
    import datasets

    # The branch of a copy has no list of configurations, but a folder for each.
    config = {"data_dir": source.config} if dataset.is_copy else {"name": source.config}
    revision = None if dataset.is_local else dataset.commit
    try:
        builder = datasets.load_dataset_builder(dataset.id, revision=revision, **config)
    except Exception as error:  # of datasets, of YAML, or of one of its file systems
        raise InputError(f"[corpus] id: {dataset.id} cannot be read: {first_line(error)}") from None
    return {str(name): list(map(str, files)) for name, files in (builder.config.data_files or {}).items()}


def _choose_splits(source: Source, available: Sequence[str]) -> dict[str, str]:
    """Our splits and their names in the dataset: from the profile, else the usual names.

    The key "" stands for a dataset with a train split only, which is split by speaker.
    """
    chosen = {split: name for split, name in source.splits.model_dump().items() if name}
    if unknown := [name for name in chosen.values() if name not in available]:
        raise InputError(f"[corpus] splits: {source.id} has no split {unknown[0]}; it has {', '.join(available)}")
    usual = {split: name for name in available if (split := split_from_name(name))}
    chosen = chosen or {split: usual[split] for split in SPLITS if split in usual}
    if not chosen:
        names = ", ".join(available)
        raise InputError(f"[corpus] splits: say which of {names} is train, validation and test of {source.id}")
    return {"": chosen["train"]} if set(chosen) == {"train"} else chosen


def _choose_columns(path: str, source: Source) -> Columns:
    try:
        with open_file(path) as content:
            schema = pq.read_schema(content)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"[corpus] id: {path} cannot be read: {first_line(error)}") from None
    chosen, available = source.columns.model_dump(), ", ".join(schema.names)
    for key, name in chosen.items():
        if name and name not in schema.names:
            raise InputError(f"[corpus] columns.{key}: {source.id} has no column {name}; it has {available}")
    audio = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    usual = {"audio": audio, "text": TEXT_COLUMNS, "speaker": SPEAKER_COLUMNS, "clip": ()}
    for key, names in usual.items():
        chosen[key] = chosen[key] or next((name for name in names if name in schema.names), None)
    for key in ("audio", "text"):
        if chosen[key] is None:
            raise InputError(f"[corpus] columns.{key}: say which of {available} of {source.id} holds the {key}")
    return Columns(**chosen)


def read_rows(file: ParquetFile) -> Iterator[Row]:
    """The file's clips with their audio, one at a time. Raises `InputError` if the file is damaged or too large."""
    columns = {key: name for key, name in file.columns.model_dump().items() if name}
    try:
        with open_file(file.path) as content:
            for number, cells in enumerate(itertools.islice(_read_cells(content, columns), file.max_clips)):
                speaker = cell_text(cells.get("speaker")).strip() or None
                clip = cell_text(cells.get("clip")).strip() or f"{file.name}-{number}"
                audio, problem = _read_audio(cells["audio"], file.dataset)
                split = file.split or assign_split(speaker or clip)
                text = cells["text"]
                if isinstance(text, bytes) and len(text) > MAX_CELL_BYTES:
                    text, problem = None, "text too long"
                yield Row(clip, split, cell_text(text), speaker, audio, problem=problem)
    except (ValueError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise  # of the disk or the network; pyarrow raises a plain OSError
        raise InputError(f"[corpus] id: {file.path} cannot be read: {first_line(error)}") from None


def _read_cells(content: IO[bytes], columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The cells of each row by their role. The footer's sizes are checked before anything is decoded."""
    names = sorted(set(columns.values()))
    with pq.ParquetFile(content) as file:
        check_row_count(file.metadata.num_rows, MAX_ROWS)
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        chunks = [[group.column(index) for index in range(group.num_columns)] for group in groups]
        sizes = [
            sum(chunk.total_uncompressed_size for chunk in group if _top_level_name(chunk) in names) for group in chunks
        ]
        if (largest := max(sizes, default=0)) > MAX_GROUP_BYTES:
            raise ValueError(f"a row group has {largest:,} bytes; at most {MAX_GROUP_BYTES:,} are read")
        # Any cell may be as large as its group, and be repeated in each row.
        batch_rows = min(BATCH_ROWS, max(1, MAX_BATCH_BYTES // max(1, largest)))
        for batch in file.iter_batches(batch_rows, columns=names, use_threads=False):
            cells = {
                name: batch.column(name) if name == columns["audio"] else text_as_bytes(batch.column(name))
                for name in names
            }
            for index in range(batch.num_rows):
                yield {key: cells[name][index].as_py() for key, name in columns.items()}


def _top_level_name(column: Any) -> str:
    return str(column.path_in_schema).partition(".")[0]


def _read_audio(audio: Any, dataset: DatasetRevision) -> tuple[bytes | None, str | None]:
    """A clip's file content, or its problem. A path is followed only into the dataset itself."""
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        return (audio["bytes"], None) if isinstance(audio["bytes"], bytes) else (None, "no audio")
    path = str((audio.get("path") if isinstance(audio, dict) else audio) or "")
    if not path:
        return None, "missing file"
    if not _is_inside(path, dataset):
        return None, "outside the folder"
    if dataset.is_local and not os.path.isfile(path):
        return None, "missing file"
    try:
        with open_file(path) as file:
            return file.read(), None
    except FileNotFoundError:
        return None, "missing file"


def _is_inside(path: str, dataset: DatasetRevision) -> bool:
    """Whether a path is below the dataset's root, by its parts and, if local, by where its links lead."""
    if not path.startswith(f"{dataset.root}/") or ".." in path.split("/"):
        return False
    return not dataset.is_local or Path(path).resolve().is_relative_to(Path(dataset.root).resolve())
