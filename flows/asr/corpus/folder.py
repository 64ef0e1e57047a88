"""A folder of recordings, as the Hugging Face audiofolder has it.

A `metadata.csv`, `.jsonl` or `.parquet` beside the audio with `file_name` and `transcription` (or
`sentence`, `text`) and optionally `speaker_id`; either one below each of `train/`, `validation/` and
`test/`, or a single one at the top.

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
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import Refused
from asr.corpus import cuts, labels, transcripts
from asr.corpus.files import Away, Here, below, first_line
from asr.corpus.rows import Row, carve, split_of
from asr.settings import LANGUAGES, MISTAKEN

if TYPE_CHECKING:
    import pandas as pd

TEXTS = ("transcription", "sentence", "text")
COLUMNS = ("file_name", *TEXTS, "speaker_id", "transcript_file")
RECORDINGS = (
    ".aac", ".aif", ".aiff", ".avi", ".flac", ".m4a", ".mka", ".mkv", ".mov",
    ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma",
)  # fmt: skip


def rows(root: str | Path, longest: float, language: str = "sv") -> list[Row]:
    """Every row of the folder, in the order of its metadata; recordings are cut into clips of at most `longest` s.

    Of transcripts that nobody names, those are read whose name has the `language` (Whisper's code) or none.

    Raises `Refused` where the folder, its metadata or a column is missing.
    """
    files = below(root)
    parts = [name for name in files.names() if split_of(name) and files.names(name)]
    return [row for name in parts or [""] for row in _rows(files, name, split_of(name), longest, language)]


def _rows(files: Here | Away, folder: str, split: str | None, longest: float, language: str) -> Iterator[Row]:
    table = metadata(files, folder, language)
    nothing = [None] * len(table)
    words = next((table[column] for column in TEXTS if column in table), nothing)
    speakers = table.get("speaker_id", nothing)
    timed = table.get("transcript_file", nothing)
    for name, said, who, times in zip(map(_text, table["file_name"]), words, speakers, timed, strict=True):
        speaker = _text(who).strip() or None
        clip = _spelled(files, inside(folder, name))
        row = Row(clip or name, split or carve(speaker or clip or name), _text(said), speaker, None)
        if name and (clip is None or files.place(clip) is None):
            yield replace(row, problem="outside the folder")
        elif clip is None or not files.has(clip):
            yield replace(row, problem="missing file")
        else:
            row = replace(row, audio=files.place(clip), version=files.version(clip))
            yield from _cut(row, files, folder, _text(times), longest) if _text(times) else [row]


def _cut(row: Row, files: Here | Away, folder: str, times: str, longest: float) -> Iterator[Row]:
    """The clips of a recording."""
    name = _spelled(files, inside(folder, times))
    if name is None or files.place(name) is None or not files.has(name):
        yield replace(row, problem=f"missing transcript: {times!r:.80}")
        return
    try:
        segments = transcripts.parse(name, files.read(name))
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


def metadata(files: Here | Away, folder: str, language: str) -> pd.DataFrame:
    """A folder's metadata, or what its transcripts tell where it has none."""
    import pyarrow as pa

    readers = {"metadata.csv": _csv, "metadata.jsonl": _jsonl, "metadata.parquet": _parquet}
    name = next((name for name in readers if files.has(posixpath.join(folder, name))), None)
    where = f"{files.root}/{folder}".rstrip("/")
    if name is None:
        table = _by_name(files.names(folder), language)
        if table.empty:
            raise Refused(f"[corpus] path: {where} holds none of {', '.join(readers)}, and no timed transcripts")
        return table
    path = posixpath.join(where, name)
    if files.place(posixpath.join(folder, name)) is None:
        raise Refused(f"[corpus] path: {path} is a link that leads out of the folder")
    try:
        table = readers[name](files.read(posixpath.join(folder, name)))
    except (ValueError, OSError, RecursionError, OverflowError, pa.ArrowException) as error:  # as the parsers do
        raise Refused(f"[corpus] path: {path} cannot be read: {first_line(error)}") from None
    if "file_name" not in table or not {*TEXTS, "transcript_file"} & set(table):
        has = "".join(mark if mark.isprintable() else "?" for mark in ", ".join(map(str, table)))[:300] or "none"
        raise Refused(f"[corpus] path: {path} needs the columns file_name and {' or '.join(TEXTS)}; it has {has}")
    return table


def _csv(content: bytes) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would drop what is too much in a line
            return pd.read_csv(
                io.BytesIO(content), dtype=str, keep_default_na=False, index_col=False, encoding=_encoding(content)
            )
    except pd.errors.EmptyDataError:
        raise ValueError("it is empty") from None
    except pd.errors.ParserWarning:
        raise ValueError("it has a line with more values than the header; quote commas") from None


def _jsonl(content: bytes) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for number, line in enumerate(content.decode(_encoding(content)).split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if rows and not isinstance(rows[-1], dict):
            raise ValueError(f"line {number} is no object in braces")
    return pd.DataFrame(rows, dtype=object)  # else 17 were 17.0 wherever another line has none


def _parquet(content: bytes) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, cells = pq.read_table(io.BytesIO(content), use_threads=False), {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        column = column.cast(pa.large_binary()) if is_text else column  # broken letters are their own cell's trouble
        cells[name] = column.to_pylist() if name in COLUMNS else None
    return pd.DataFrame(cells, index=range(table.num_rows), dtype=object)


def _encoding(content: bytes) -> str:
    return "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _by_name(names: list[str], language: str) -> pd.DataFrame:
    """Recordings and timed transcripts of one name; where there are any, what lacks the other will be missed.

    A recording takes one: of its own name before one that also names the language, in that language the shortest name
    ("sv" before "sv-orig"), and of one name in several formats the first of them. In another language it is a
    translation, which nobody says in the recording.
    """
    import pandas as pd

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
    return pd.DataFrame(rows, columns=["file_name", "transcript_file"], dtype=object)


def _tagged(stem: str, language: str) -> tuple[str, str]:
    """What a transcript's name is without its language, and that; Zoom writes "transcript" in its stead.

    >>> _tagged("talk [id].sv-SE", "sv"), _tagged("Recording.transcript", "sv"), _tagged("möte.del 2", "sv")
    (('talk [id]', 'sv'), ('Recording', 'sv'), ('möte.del 2', ''))
    """
    base, _, tag = stem.rpartition(".")
    code = tag.lower().split("-")[0]
    code = language if code == "transcript" else MISTAKEN.get(code, code)
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


def _text(value: Any) -> str:
    """A cell as text; an empty one, a null, a number that is none and a list are the empty text.

    >>> _text(17.0), _text(None), _text(["hej"])
    ('17', '', '')
    """
    import pandas as pd

    if not pd.api.types.is_scalar(value) or pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers beside an empty cell were made such, and 17.0 is no other speaker than 17
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()  # JSON can hold half a letter, which nothing can write
