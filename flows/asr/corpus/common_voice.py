"""Common Voice as Mozilla ships it: a `.tar.gz`, or its unpacked folder, `cv-corpus-*/sv-SE`.

`train.tsv`, `dev.tsv`, `test.tsv` and others list clips of `clips/` with their sentence; `client_id` is the speaker.
A line is a row; a row broken by a line feed or a tab within its sentence is rejected.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from asr import InputError
from asr.corpus import archives, data_collective, tables
from asr.corpus.files import LocalFolder, RemoteFolder, open_folder
from asr.corpus.folder import AUDIO_SUFFIXES, resolve_path
from asr.corpus.rows import Row
from asr.corpus.splits import SPLITS
from asr.settings import Source

LISTS = {"train": "train", "validation": "dev", "test": "test"}


def list_rows(source: Source, language: str) -> list[Row]:
    """Every clip of the lists that make up the splits; a clip in two lists belongs to the later split only.

    So `splits = {train = "validated"}` trains on all validated clips except those of dev and test.

    Raises:
        InputError: there is no release, it lacks the language, or a list lacks a column.
    """
    files = _find_release(source, language)
    list_names = {**LISTS, **{split: name for split, name in source.splits.model_dump().items() if name}}
    rows: list[Row] = []
    for split in SPLITS:
        new_rows = _read_list(files, list_names[split], split)
        new_clips = {row.clip for row in new_rows}
        rows = [row for row in rows if row.clip not in new_clips] + new_rows
    return rows


def _find_release(source: Source, language: str) -> LocalFolder | RemoteFolder:
    """The folder with the lists: the profile's folder, or a folder below it."""
    path = source.path or str(data_collective.download_archive(str(source.id)))
    if not path.startswith("gs://") and Path(path).is_file():
        path = str(archives.unpack_archive(Path(path)))
    files = open_folder(path)
    for _ in range(3):  # the lists may be in the folder, in a locale of it, or in a release's locale
        if files.exists("train.tsv") or files.exists("validated.tsv"):
            return files
        locales = [name for name in files.list_names() if name.split("-")[0] == language]
        releases = [name for name in files.list_names() if name.startswith("cv-corpus")]
        if len(locales or releases) != 1:
            break
        files = open_folder(f"{files.root}/{(locales or releases)[0]}")
    has = ", ".join(files.list_names()[:8]) or "nothing"
    raise InputError(f'[corpus] path: no Common Voice lists for "{language}" in {files.root}; it holds {has}')


def _read_list(files: LocalFolder | RemoteFolder, name: str, split: str) -> list[Row]:
    if not files.exists(f"{name}.tsv"):
        raise InputError(f"[corpus] splits: {files.root} has no list {name}.tsv")
    if files.locate(f"{name}.tsv") is None:
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv is a link that leads out of the folder")
    # Not CSV: quotation marks in sentences do not quote.
    try:
        text = tables.normalize_newlines(files.read(f"{name}.tsv").decode("utf-8-sig", "replace"))
    except ValueError as error:
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv cannot be read: {error}") from None
    table = tables.build_table(tables.split_tabs(text), "path", partial(_names_clip, files))
    if missing := {"path", "sentence", "client_id"} - set(table.columns):
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv has no column {', '.join(sorted(missing))}")
    return [_build_row(files, cells, problem, split) for cells, problem in table.rows]


def _clip_path(file: str) -> str | None:
    return resolve_path("clips", file if "." in file else f"{file}.mp3")  # old releases omit the suffix


def _names_clip(files: LocalFolder | RemoteFolder, cell: str) -> bool:
    """Whether a cell looks like the name of a clip, or is the name of an existing one."""
    clip = _clip_path(cell)
    return cell.lower().endswith(AUDIO_SUFFIXES) or (clip is not None and files.exists(clip))


def _build_row(files: LocalFolder | RemoteFolder, cells: dict[str, str], problem: str | None, split: str) -> Row:
    file = cells.get("path", "")
    clip = _clip_path(file)
    row = Row(clip or file, split, cells.get("sentence", ""), cells.get("client_id") or None, None)
    if problem:
        return replace(row, problem=problem)
    if clip is None or (path := files.locate(clip)) is None:
        return replace(row, problem="outside the folder")
    if not files.exists(clip):
        return replace(row, problem="missing file")
    return replace(row, audio=path, version=files.version(clip))
