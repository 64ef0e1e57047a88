"""A folder of recordings, as the Hugging Face audiofolder has it.

A `metadata.csv`, `.jsonl`, `.parquet` or `.tsv` beside the audio with `file_name` and `transcription` (or
`sentence`, `text`) and optionally `speaker_id`; either one in each of `train/`, `validation/` and `test/`, or a
single one at the top. Where any split's folder has its own, one at the top is not read, as `datasets` has it. By one
at the top, a clip belongs to the split that a folder of its path is named after (`train/1.flac`,
`audio/dev/2.flac`), and one in no such folder is set aside; where no clip's path names a split, all are carved by
speaker.

CSV quotes as usual. In a TSV every line is a row, and only quotation marks round a whole cell quote.

A long recording has a `transcript_file` instead, with a time to each of its sentences (SRT, VTT,
TextGrid, or a table of start, end, text), and is cut into clips by it. Where a folder has no metadata at
all, every recording is taken with the transcript of its name that lies beside it: for `talk.webm` that is
`talk.vtt`, `talk.webm.vtt` or, in the corpus' language, `talk.sv.vtt`.
"""

from __future__ import annotations

import io
import json
import posixpath
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from asr import InputError, first_line
from asr.corpus import cuts, labels, tables, transcripts
from asr.corpus.files import MOST_BYTES, Away, Here, below
from asr.corpus.rows import Row, carve, split_of
from asr.corpus.tables import Table
from asr.settings import LANGUAGE_MISTAKES, LANGUAGES

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.tsv")
TEXTS = ("transcription", "sentence", "text")
MOST_ROWS = 3_000_000  # of a folder's metadata; a corpus of more goes into several folders
CELL_BYTES = 1 << 20  # of a cell in Parquet, where a word or a gigabyte take the same place
TRANSCRIPT_BYTES = 1 << 26  # of a recording's transcript
COLUMNS = ("file_name", *TEXTS, "speaker_id", "transcript_file")
RECORDINGS = (
    ".aac", ".aif", ".aiff", ".avi", ".flac", ".m4a", ".mka", ".mkv", ".mov",
    ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma",
)  # fmt: skip


def rows(root: str | Path, longest: float, language: str = "sv") -> list[Row]:
    """Every row of the folder, in the order of its metadata; recordings are cut into clips of at most `longest` s.

    Of transcripts that nobody names, those are read whose name has the `language` (Whisper's code) or none.

    Raises `InputError` where the folder, its metadata or a column is missing.
    """
    files = below(root)
    parts = [name for name in files.names() if split_of(name) and files.names(name)]
    if _metadata(files, "") and not any(_metadata(files, name) for name in parts):
        parts = []
    return [row for name in parts or [""] for row in _rows(files, name, split_of(name), longest, language)]


def _rows(files: Here | Away, folder: str, split: str | None, longest: float, language: str) -> Iterator[Row]:
    table = metadata(files, folder, language)
    column = next((column for column in TEXTS if column in table.columns), TEXTS[0])
    names = [text_of(cells.get("file_name")) for cells, _ in table.rows]
    clips = [_spelled(files, inside(folder, name)) for name in names]
    splits = [split or _split_in(clip or "") for clip in clips]
    is_divided = any(splits)
    for (cells, problem), name, clip, part in zip(table.rows, names, clips, splits, strict=True):
        times, speaker = text_of(cells.get("transcript_file")), text_of(cells.get("speaker_id")).strip() or None
        carved = "train" if is_divided else carve(speaker or clip or name)
        row = Row(clip or name, part or carved, text_of(cells.get(column)), speaker, None)
        if problem:
            yield replace(row, problem=problem)
        elif name and (clip is None or files.place(clip) is None):
            yield replace(row, problem="outside the folder")
        elif clip is None or not files.has(clip):
            yield replace(row, problem="missing file")
        elif is_divided and not part:
            yield replace(row, problem="in no split's folder")
        else:
            row = replace(row, audio=files.place(clip), version=files.version(clip))
            yield from _cut(row, files, folder, times, longest) if times else [row]


def _split_in(clip: str) -> str | None:
    """The split whose folder the clip is in, at any depth, as the Hub takes it.

    >>> _split_in("audio/dev/1.flac"), _split_in("clips/dev.flac")
    ('validation', None)
    """
    return next(filter(None, map(split_of, clip.split("/")[:-1])), None)


def _cut(row: Row, files: Here | Away, folder: str, times: str, longest: float) -> Iterator[Row]:
    """The clips of a recording."""
    name = _spelled(files, inside(folder, times))
    if name is None or files.place(name) is None or not files.has(name):
        yield replace(row, problem=f"missing transcript: {times!r:.80}")
        return
    try:
        segments = transcripts.parse(name, files.read(name, TRANSCRIPT_BYTES))
    except (ValueError, OSError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        yield replace(row, problem=f"unreadable transcript: {told:.120}")
        return
    for cut in cuts.cut(segments, longest):
        yield replace(
            row,
            clip=f"{row.clip}#{cut.start:.2f}-{cut.end:.2f}",
            text=cut.text,
            speaker=row.speaker or _own(cut.speaker, row.clip, name),
            start=cut.start,
            end=cut.end,
            segments=cut.segments,
            problem=cut.problem,
        )


def _own(speaker: str | None, clip: str, transcript: str) -> str | None:
    """Whom a recording's transcript names; SPEAKER_00 of its captions is somebody else in every recording.

    Tables and tiers may number the speakers of a whole corpus, so there a number is a name as any other.
    """
    numbered = speaker and transcript.lower().endswith(transcripts.CAPTIONS) and labels.NUMBERED.match(speaker)
    return f"{clip}#{speaker}" if numbered else speaker


def metadata(files: Here | Away, folder: str, language: str) -> Table:
    """A folder's metadata, or what its transcripts tell where it has none."""
    import pyarrow as pa

    name = _metadata(files, folder)
    where = f"{files.root}/{folder}".rstrip("/")
    if name is None:
        table = _by_name(files.names(folder), language)
        if not table.rows:
            raise InputError(f"[corpus] path: {where} holds none of {', '.join(METADATA)}, and no timed transcripts")
        return table
    path = posixpath.join(where, name)
    if files.place(posixpath.join(folder, name)) is None:
        raise InputError(f"[corpus] path: {path} is a link that leads out of the folder")
    try:
        content = files.read(posixpath.join(folder, name))
        table = _read(content, Path(name).suffix, partial(_is_recording, files, folder))
    except (ValueError, OSError, RecursionError, OverflowError, pa.ArrowException) as error:  # as the parsers do
        raise InputError(f"[corpus] path: {path} cannot be read: {first_line(error)}") from None
    if "file_name" not in table.columns or not {*TEXTS, "transcript_file"} & set(table.columns):
        has = ", ".join(table.columns)[:300] or "none"
        raise InputError(f"[corpus] path: {path} needs the columns file_name and {' or '.join(TEXTS)}; it has {has}")
    return table


def _metadata(files: Here | Away, folder: str) -> str | None:
    """The name of a folder's metadata, if it has any."""
    return next((name for name in METADATA if files.has(posixpath.join(folder, name))), None)


def _is_recording(files: Here | Away, folder: str, cell: str) -> bool:
    """Whether a cell reads like the name of a recording, or is one's."""
    path = _spelled(files, inside(folder, cell))
    return cell.lower().endswith(RECORDINGS) or (path is not None and files.has(path))


def _read(content: bytes, suffix: str, names: Callable[[str], bool]) -> Table:
    if suffix == ".parquet":
        return _parquet(content)
    check_rows(content.count(b"\n"), MOST_ROWS)
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    return _jsonl(text) if suffix == ".jsonl" else _separated(tables.unix(text), suffix, names)


def _separated(text: str, suffix: str, names: Callable[[str], bool]) -> Table:
    usual = "," if suffix == ".csv" else "\t"
    mark = tables.separator(text, "file_name", usual)
    if mark != usual:
        advice = {",": "call it metadata.csv", "\t": "call it metadata.tsv"}.get(mark, "save it as CSV with commas")
        raise ValueError(f"{tables.SEPARATORS[mark]} separate its columns, not {tables.SEPARATORS[usual]}; {advice}")
    if suffix == ".csv":
        records = tables.commas(text, "file_name", names)
    else:
        records = ([tables.unquoted(cell) for cell in cells] for cells in tables.tabbed(text))
    table = tables.table(records, "file_name", names)
    if not table.columns:
        raise ValueError("it is empty")
    return table


def _jsonl(text: str) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if rows and not isinstance(rows[-1], dict):
            raise ValueError(f"line {number} is no object in braces")
    return Table(tuple(dict.fromkeys(name for row in rows for name in row)), [(row, None) for row in rows])


def check_rows(count: int, most: int) -> None:
    """Raises ValueError where a table has more rows than `most`."""
    if count > most:
        raise ValueError(f"it has {count:,} rows, and {most:,} are the most that are read")


def _parquet(content: bytes) -> Table:
    """The columns that are asked for. What they come to is counted before it is unfolded: a constant column of millions
    of rows, or a gigabyte that every row repeats, takes no place in the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(io.BytesIO(content)) as file:
        check_rows(file.metadata.num_rows, MOST_ROWS)
        fields = {field.name: field.type for field in file.schema_arrow}
    flat = [name for name in COLUMNS if name in fields and not pa.types.is_nested(fields[name])]
    rows, left = list[tuple[dict[str, Any], str | None]](), MOST_BYTES
    with pq.ParquetFile(io.BytesIO(content), read_dictionary=flat) as file:
        for batch in file.iter_batches(1_000, columns=flat, use_threads=False) if flat else ():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                left -= _bytes(name, column)
            if left < 0:
                raise ValueError(f"its cells hold more than {MOST_BYTES:,} bytes")
            cells = [letters(column).to_pylist() for column in batch.columns]
            rows += [(dict(zip(batch.schema.names, row, strict=True)), None) for row in zip(*cells, strict=True)]
    return Table(tuple(fields), rows)


def _bytes(name: str, column: Any) -> int:
    """What a column comes to with each cell spelt out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_coded = pa.types.is_dictionary(column.type)
    values = column.dictionary if is_coded else column
    if not (
        pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_binary(values.type)
    ):
        return int(column.nbytes)
    lengths = pc.binary_length(values)
    if (longest := pc.max(lengths).as_py() or 0) > CELL_BYTES:
        raise ValueError(f"a cell of {name} has {longest:,} bytes, and {CELL_BYTES:,} are the most that are read")
    return int(pc.sum(lengths.take(column.indices) if is_coded else lengths).as_py() or 0)


def letters(column: Any) -> Any:
    """The column with its texts as bytes: broken letters are their own cell's trouble."""
    import pyarrow as pa

    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.large_binary()) if is_text else column


def _by_name(names: list[str], language: str) -> Table:
    """Recordings and timed transcripts of one name; where there are any, what lacks the other will be missed.

    A recording takes one: of its own name before one that also names the language, in that language the shortest name
    ("sv" before "sv-orig"), and of one name in several formats the first of them. In another language it is a
    translation, which nobody says in the recording.
    """
    kinds = {name: Path(name).suffix.lower() for name in names}
    timed = [name for name in names if kinds[name] in transcripts.SUFFIXES]
    sounds = {name: (name, Path(name).stem) for name in names if kinds[name] in RECORDINGS}  # as a transcript calls it
    called = {one for either in sounds.values() for one in either}
    beside, lone = dict[tuple[str, str], str](), dict[str, str]()
    for name in sorted(timed, key=lambda name: (len(Path(name).stem), transcripts.SUFFIXES.index(kinds[name]), name)):
        stem = Path(name).stem
        base, code = (stem, "") if stem in called else _tagged(stem, language)
        if base in called:
            beside.setdefault((base, code), name)
        elif kinds[name] not in (".tsv", ".csv", ".jsonl"):
            lone.setdefault(base, name)
    rows, bases = [], {base for base, _ in beside}
    for sound, either in sounds.items() if beside else ():
        found = [beside[one, code] for code in ("", language) for one in either if (one, code) in beside]
        missed = f"{either[1]}.vtt" if bases.isdisjoint(either) else f"{either[1]}.{language}.vtt"
        rows.append((sound, found[0] if found else missed))
    rows += sorted(lone.items()) if beside else []
    columns = ("file_name", "transcript_file")
    return Table(columns, [(dict(zip(columns, row, strict=True)), None) for row in rows])


def _tagged(stem: str, language: str) -> tuple[str, str]:
    """What a transcript's name is without its language, and that; Zoom writes "transcript" in its stead.

    >>> _tagged("talk [id].sv-SE", "sv"), _tagged("Recording.transcript", "sv"), _tagged("möte.del 2", "sv")
    (('talk [id]', 'sv'), ('Recording', 'sv'), ('möte.del 2', ''))
    """
    base, _, tag = stem.rpartition(".")
    code = tag.lower().split("-")[0]
    code = language if code == "transcript" else LANGUAGE_MISTAKES.get(code, code)
    return (base, code) if base and code in LANGUAGES else (stem, "")


def inside(folder: str, name: str) -> str | None:
    """The path of a file that metadata in `folder` names, from the corpus' root; None where it leads out of it.

    >>> inside("train", "clips/1.flac"), inside("train", "../../etc/passwd")
    ('train/clips/1.flac', None)
    """
    if not name or "\0" in name or posixpath.isabs(name):
        return None
    path = posixpath.normpath(posixpath.join(folder, name))
    return path if path.startswith(folder and folder + "/") and not path.startswith("..") and path != "." else None


def _spelled(files: Here | Away, path: str | None) -> str | None:
    """The path as the files have it: in names from macOS å is two letters, in metadata it is often one."""
    forms = [path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))] if path else []
    return next((form for form in forms if files.has(form)), path)


def text_of(value: Any) -> str:
    """A cell as text; an empty one, a null, a number that is none and a list are the empty text.

    >>> text_of(17.0), text_of(None), text_of(["hej"])
    ('17', '', '')
    """
    import pandas as pd

    if not pd.api.types.is_scalar(value) or pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers beside an empty cell were made such, and 17.0 is no other speaker than 17
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()  # JSON can hold half a letter, which nothing can write
