"""The metadata of an audiofolder: a table in CSV, TSV, JSON Lines or Parquet, read within limits."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from asr import InputError
from asr.corpus import tables
from asr.corpus.files import (
    AUDIO_SUFFIXES,
    MAX_TABLE_BYTES,
    LocalFolder,
    RemoteFolder,
    first_line,
    match_spelling,
    resolve_path,
)
from asr.corpus.tables import Table

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.tsv")
TEXT_COLUMNS = ("transcription", "sentence", "text")
COLUMNS = ("file_name", *TEXT_COLUMNS, "speaker_id", "transcript_file")
MAX_ROWS = 3_000_000  # a larger corpus goes into several folders
MAX_CELL_BYTES = 1 << 20  # of a cell in Parquet, where a word and a gigabyte may take the same space


def find_metadata(files: LocalFolder | RemoteFolder, folder: str) -> str | None:
    """The name of a folder's metadata file, or None."""
    return next((name for name in METADATA_NAMES if files.exists(posixpath.join(folder, name))), None)


def read_metadata(files: LocalFolder | RemoteFolder, folder: str, name: str) -> Table:
    """Read a folder's metadata file. Raises `InputError` if it cannot be read or lacks a column."""
    import pyarrow as pa

    path = posixpath.join(f"{files.root}/{folder}".rstrip("/"), name)
    if files.locate(posixpath.join(folder, name)) is None:
        raise InputError(f"[corpus] path: {path} is a link that leads out of the folder")
    try:
        content = files.read(posixpath.join(folder, name))
        table = _parse_metadata(content, Path(name).suffix, partial(_names_recording, files, folder))
    except (ValueError, OSError, RecursionError, OverflowError, pa.ArrowException) as error:  # as the parsers raise
        raise InputError(f"[corpus] path: {path} cannot be read: {first_line(error)}") from None
    if "file_name" not in table.columns or not {*TEXT_COLUMNS, "transcript_file"} & set(table.columns):
        has = ", ".join(table.columns)[:300] or "none"
        raise InputError(
            f"[corpus] path: {path} needs the columns file_name and {' or '.join(TEXT_COLUMNS)}; it has {has}"
        )
    return table


def _names_recording(files: LocalFolder | RemoteFolder, folder: str, cell: str) -> bool:
    """Whether a cell looks like the name of a recording, or is the name of an existing file."""
    path = match_spelling(files, resolve_path(folder, cell))
    return cell.lower().endswith(AUDIO_SUFFIXES) or (path is not None and files.exists(path))


def _parse_metadata(content: bytes, suffix: str, is_name: Callable[[str], bool]) -> Table:
    if suffix == ".parquet":
        return _parse_parquet(content)
    tables.check_row_count(content.count(b"\n"), MAX_ROWS)
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if suffix == ".jsonl":
        return _parse_jsonl(text)
    return _parse_separated(tables.normalize_newlines(text), suffix, is_name)


def _parse_separated(text: str, suffix: str, is_name: Callable[[str], bool]) -> Table:
    expected = "," if suffix == ".csv" else "\t"
    separator = tables.find_separator(text, "file_name", expected)
    if separator != expected:
        advice = {",": "call it metadata.csv", "\t": "call it metadata.tsv"}.get(
            separator, "save it as CSV with commas"
        )
        names = tables.SEPARATORS
        raise ValueError(f"{names[separator]} separate its columns, not {names[expected]}; {advice}")
    if suffix == ".csv":
        records = tables.parse_csv(text, "file_name", is_name)
    else:
        records = ([tables.unquote(cell) for cell in cells] for cells in tables.split_tabs(text))
    table = tables.build_table(records, "file_name", is_name)
    if not table.columns:
        raise ValueError("it is empty")
    return table


def _parse_jsonl(text: str) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if rows and not isinstance(rows[-1], dict):
            raise ValueError(f"line {number} is no object in braces")
    return Table(tuple(dict.fromkeys(name for row in rows for name in row)), [(row, None) for row in rows])


def _parse_parquet(content: bytes) -> Table:
    """The columns of `COLUMNS`.

    Their size is checked before they are decoded: a constant column of millions of rows, or a gigabyte that every row
    repeats, takes no space in the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(io.BytesIO(content)) as file:
        tables.check_row_count(file.metadata.num_rows, MAX_ROWS)
        fields = {field.name: field.type for field in file.schema_arrow}
    flat = [name for name in COLUMNS if name in fields and not pa.types.is_nested(fields[name])]
    rows, bytes_left = list[tuple[dict[str, Any], str | None]](), MAX_TABLE_BYTES
    with pq.ParquetFile(io.BytesIO(content), read_dictionary=flat) as file:
        for batch in file.iter_batches(1_000, columns=flat, use_threads=False) if flat else ():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                bytes_left -= _decoded_bytes(name, column)
            if bytes_left < 0:
                raise ValueError(f"its cells hold more than {MAX_TABLE_BYTES:,} bytes")
            cells = [tables.text_as_bytes(column).to_pylist() for column in batch.columns]
            rows += [(dict(zip(batch.schema.names, row, strict=True)), None) for row in zip(*cells, strict=True)]
    return Table(tuple(fields), rows)


def _decoded_bytes(name: str, column: Any) -> int:
    """The size of a column once its dictionary is decoded. Raises ValueError if a cell is too large."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_encoded = pa.types.is_dictionary(column.type)
    values = column.dictionary if is_encoded else column
    if not (
        pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_binary(values.type)
    ):
        return int(column.nbytes)
    lengths = pc.binary_length(values)
    if (longest := pc.max(lengths).as_py() or 0) > MAX_CELL_BYTES:
        raise ValueError(f"a cell of {name} has {longest:,} bytes; at most {MAX_CELL_BYTES:,} are read")
    return int(pc.sum(lengths.take(column.indices) if is_encoded else lengths).as_py() or 0)
