"""A folder of recordings in the layout of Hugging Face's audiofolder.

A `metadata.csv`, `.jsonl`, `.parquet` or `.tsv` beside the audio has the columns `file_name` and `transcription` (or
`sentence`, `text`) and optionally `speaker_id`. There is either one in each of `train/`, `validation/` and `test/`, or
a single one at the top; as in `datasets`, the latter is ignored if any split's folder has its own. With one at the top,
a clip belongs to the split that a folder of its path is named after (`train/1.flac`, `audio/dev/2.flac`), and one in no
such folder is rejected; if no clip's path names a split, clips are split by speaker.

CSV quotes as usual. In a TSV every line is a row, and only quotation marks around a whole cell quote.

A long recording has a `transcript_file` instead, with the times of its sentences (SRT, VTT, TextGrid, or a table of
start, end, text), and is cut into clips by it. In a folder without metadata every recording is used with the transcript
of the same name: for `talk.webm` that is `talk.vtt`, `talk.webm.vtt` or, in the corpus' language, `talk.sv.vtt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from asr import InputError, first_line
from asr.corpus import segmentation, speaker_labels, transcripts
from asr.corpus.files import (
    AUDIO_SUFFIXES,
    LocalFolder,
    RemoteFolder,
    match_spelling,
    open_folder,
    resolve_path,
)
from asr.corpus.metadata import METADATA_NAMES, TEXT_COLUMNS, find_metadata, read_metadata
from asr.corpus.rows import Row
from asr.corpus.splits import assign_split, split_from_name
from asr.corpus.tables import Table, cell_text
from asr.settings import LANGUAGE_MISTAKES, LANGUAGES

MAX_TRANSCRIPT_BYTES = 1 << 26  # of a recording's transcript


def list_rows(root: str | Path, max_seconds: float, language: str = "sv") -> list[Row]:
    """Every row of the folder, in the order of its metadata; recordings are cut into clips of at most `max_seconds`.

    In a folder without metadata, transcripts are used whose name has `language` (Whisper's code) or no language.

    Raises:
        InputError: the folder, its metadata or a column is missing.
    """
    files = open_folder(root)
    folders = [name for name in files.list_names() if split_from_name(name) and files.list_names(name)]
    if find_metadata(files, "") and not any(find_metadata(files, name) for name in folders):
        folders = []
    return [
        row
        for name in folders or [""]
        for row in _read_split(files, name, split_from_name(name), max_seconds, language)
    ]


def _read_split(
    files: LocalFolder | RemoteFolder, folder: str, split: str | None, max_seconds: float, language: str
) -> Iterator[Row]:
    table = _read_table(files, folder, language)
    text_column = next((column for column in TEXT_COLUMNS if column in table.columns), TEXT_COLUMNS[0])
    names = [cell_text(cells.get("file_name")) for cells, _ in table.rows]
    clips = [match_spelling(files, resolve_path(folder, name)) for name in names]
    named_splits = [split or _split_of_path(clip or "") for clip in clips]
    has_splits = any(named_splits)
    for (cells, problem), name, clip, named_split in zip(table.rows, names, clips, named_splits, strict=True):
        transcript, speaker = (cell_text(cells.get(column)) for column in ("transcript_file", "speaker_id"))
        speaker_name = speaker.strip() or None
        default_split = "train" if has_splits else assign_split(speaker_name or clip or name)
        row = Row(clip or name, named_split or default_split, cell_text(cells.get(text_column)), speaker_name, None)
        if problem:
            yield replace(row, problem=problem)
        elif name and (clip is None or files.locate(clip) is None):
            yield replace(row, problem="outside the folder")
        elif clip is None or not files.exists(clip):
            yield replace(row, problem="missing file")
        elif has_splits and not named_split:
            yield replace(row, problem="in no split's folder")
        else:
            row = replace(row, audio=files.locate(clip), version=files.version(clip))
            yield from _cut_recording(row, files, folder, transcript, max_seconds) if transcript else [row]


def _read_table(files: LocalFolder | RemoteFolder, folder: str, language: str) -> Table:
    """A folder's metadata, or a table of its recordings and transcripts if it has none."""
    if name := find_metadata(files, folder):
        return read_metadata(files, folder, name)
    table = _match_transcripts(files.list_names(folder), language)
    if not table.rows:
        path = f"{files.root}/{folder}".rstrip("/")
        raise InputError(f"[corpus] path: {path} holds none of {', '.join(METADATA_NAMES)}, and no timed transcripts")
    return table


def _split_of_path(clip: str) -> str | None:
    """The split whose folder the clip is in, at any depth, as on the Hub.

    >>> _split_of_path("audio/dev/1.flac"), _split_of_path("clips/dev.flac")
    ('validation', None)
    """
    return next(filter(None, map(split_from_name, clip.split("/")[:-1])), None)


def _cut_recording(
    row: Row, files: LocalFolder | RemoteFolder, folder: str, transcript: str, max_seconds: float
) -> Iterator[Row]:
    """The clips of a recording."""
    name = match_spelling(files, resolve_path(folder, transcript))
    if name is None or files.locate(name) is None or not files.exists(name):
        yield replace(row, problem=f"missing transcript: {transcript!r:.80}")
        return
    try:
        segments = transcripts.parse_transcript(name, files.read(name, MAX_TRANSCRIPT_BYTES))
    except (ValueError, OSError) as error:
        message = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        yield replace(row, problem=f"unreadable transcript: {message:.120}")
        return
    for cut in segmentation.cut_transcript(segments, max_seconds):
        yield replace(
            row,
            clip=f"{row.clip}#{cut.start:.2f}-{cut.end:.2f}",
            text=cut.text,
            speaker=row.speaker or _speaker_name(cut.speaker, row.clip, name),
            start=cut.start,
            end=cut.end,
            segments=cut.segments,
            problem=cut.problem,
        )


def _speaker_name(speaker: str | None, clip: str, transcript: str) -> str | None:
    """The speaker's name; SPEAKER_00 in captions gets the clip's name, since it is another person in each recording.

    Tables and tiers may number the speakers of a whole corpus, so there a number is kept as a name.
    """
    is_caption = transcript.lower().endswith(transcripts.CAPTIONS)
    is_numbered = speaker and is_caption and speaker_labels.NUMBERED_SPEAKER.match(speaker)
    return f"{clip}#{speaker}" if is_numbered else speaker


def _match_transcripts(names: list[str], language: str) -> Table:
    """Recordings and timed transcripts of the same name; empty if there is no such pair.

    A recording without transcript, or the reverse, is listed too and later rejected. Of several transcripts a recording
    gets the file with its exact name, else that in the language with the shortest name ("sv" before "sv-orig"), and
    of several formats the first in `transcripts.SUFFIXES`. A transcript in another language is a translation.
    """
    suffixes = {name: Path(name).suffix.lower() for name in names}
    timed = [name for name in names if suffixes[name] in transcripts.SUFFIXES]
    recordings = {name: (name, Path(name).stem) for name in names if suffixes[name] in AUDIO_SUFFIXES}
    stems = {stem for both in recordings.values() for stem in both}  # a transcript may repeat the audio's suffix
    matched, unmatched = dict[tuple[str, str], str](), dict[str, str]()
    for name in sorted(
        timed, key=lambda name: (len(Path(name).stem), transcripts.SUFFIXES.index(suffixes[name]), name)
    ):
        stem = Path(name).stem
        base, code = (stem, "") if stem in stems else _split_language(stem, language)
        if base in stems:
            matched.setdefault((base, code), name)
        elif suffixes[name] not in (".tsv", ".csv", ".jsonl"):
            unmatched.setdefault(base, name)
    rows, bases = [], {base for base, _ in matched}
    for recording, both in recordings.items() if matched else ():
        paths = [matched[base, code] for code in ("", language) for base in both if (base, code) in matched]
        missing = f"{both[1]}.vtt" if bases.isdisjoint(both) else f"{both[1]}.{language}.vtt"
        rows.append((recording, paths[0] if paths else missing))
    rows += sorted(unmatched.items()) if matched else []
    columns = ("file_name", "transcript_file")
    return Table(columns, [(dict(zip(columns, row, strict=True)), None) for row in rows])


def _split_language(stem: str, language: str) -> tuple[str, str]:
    """A transcript's name without its language, and the language; Zoom writes "transcript" instead.

    >>> _split_language("talk [id].sv-SE", "sv"), _split_language("Recording.transcript", "sv")
    (('talk [id]', 'sv'), ('Recording', 'sv'))
    >>> _split_language("möte.del 2", "sv")
    ('möte.del 2', '')
    """
    base, _, tag = stem.rpartition(".")
    code = tag.lower().split("-")[0]
    code = language if code == "transcript" else LANGUAGE_MISTAKES.get(code, code)
    return (base, code) if base and code in LANGUAGES else (stem, "")
