"""Common Voice as Mozilla ships it: a `.tar.gz`, or what it unpacks to, `cv-corpus-*/sv-SE`.

`train.tsv`, `dev.tsv`, `test.tsv` and others list clips of `clips/` with their sentence; `client_id` is the speaker.
A line is a row: one that a line feed within a sentence broke, or a tab, is set aside.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from asr import InputError
from asr.corpus import archives, collective, tables
from asr.corpus.files import Away, Here, below
from asr.corpus.folder import RECORDINGS, inside
from asr.corpus.rows import SPLITS, Row
from asr.settings import Source

LISTS = {"train": "train", "validation": "dev", "test": "test"}


def rows(source: Source, language: str) -> list[Row]:
    """Every clip of the lists that make up the splits; a clip of two lists is only in the later split's.

    So `splits = {train = "validated"}` trains on everything that was validated but the clips of dev and test.

    Raises `InputError` where there is no release, the language is not in it, or a list lacks a column.
    """
    files = _release(source, language)
    chosen = {**LISTS, **{split: name for split, name in source.splits.model_dump().items() if name}}
    found: list[Row] = []
    for split in SPLITS:
        listed = _listed(files, chosen[split], split)
        clips = {row.clip for row in listed}
        found = [row for row in found if row.clip not in clips] + listed
    return found


def _release(source: Source, language: str) -> Here | Away:
    """The folder with the lists in it, in the place that the profile names or below it."""
    place = source.path or str(collective.fetched(str(source.id)))
    if not place.startswith("gs://") and Path(place).is_file():
        place = str(archives.unpacked(Path(place)))
    files = below(place)
    for _ in range(3):  # where it is, in a release, in an archive's folder
        if files.has("train.tsv") or files.has("validated.tsv"):
            return files
        locales = [name for name in files.names() if name.split("-")[0] == language]
        releases = [name for name in files.names() if name.startswith("cv-corpus")]
        if len(locales or releases) != 1:
            break
        files = below(f"{files.root}/{(locales or releases)[0]}")
    has = ", ".join(files.names()[:8]) or "nothing"
    raise InputError(f'[corpus] path: no Common Voice lists for "{language}" in {files.root}; it holds {has}')


def _listed(files: Here | Away, name: str, split: str) -> list[Row]:
    if not files.has(f"{name}.tsv"):
        raise InputError(f"[corpus] splits: {files.root} has no list {name}.tsv")
    if files.place(f"{name}.tsv") is None:
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv is a link that leads out of the folder")
    # Sentences hold quotation marks that quote nothing, so this is no CSV.
    try:
        text = tables.unix(files.read(f"{name}.tsv").decode("utf-8-sig", "replace"))
    except ValueError as error:
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv cannot be read: {error}") from None
    table = tables.table(tables.tabbed(text), "path", partial(_is_clip, files))
    if missing := {"path", "sentence", "client_id"} - set(table.columns):
        raise InputError(f"[corpus] path: {files.root}/{name}.tsv has no column {', '.join(sorted(missing))}")
    return [_row(files, cells, problem, split) for cells, problem in table.rows]


def _clip(file: str) -> str | None:
    return inside("clips", file if "." in file else f"{file}.mp3")  # old releases leave the suffix out


def _is_clip(files: Here | Away, cell: str) -> bool:
    """Whether a cell reads like the name of a clip, or is one's."""
    clip = _clip(cell)
    return cell.lower().endswith(RECORDINGS) or (clip is not None and files.has(clip))


def _row(files: Here | Away, cells: dict[str, str], problem: str | None, split: str) -> Row:
    file = cells.get("path", "")
    clip = _clip(file)
    row = Row(clip or file, split, cells.get("sentence", ""), cells.get("client_id") or None, None)
    if problem:
        return replace(row, problem=problem)
    if clip is None or (place := files.place(clip)) is None:
        return replace(row, problem="outside the folder")
    if not files.has(clip):
        return replace(row, problem="missing file")
    return replace(row, audio=place, version=files.version(clip))
