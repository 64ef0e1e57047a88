"""Common Voice as Mozilla ships it: a `.tar.gz`, or what it unpacks to, `cv-corpus-*/sv-SE`.

`train.tsv`, `dev.tsv`, `test.tsv` and others list clips of `clips/` with their sentence; `client_id` is the speaker.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from asr import Refused
from asr.corpus import archives, collective
from asr.corpus.files import Away, Here, below
from asr.corpus.folder import inside
from asr.corpus.rows import SPLITS, Row
from asr.settings import Source

LISTS = {"train": "train", "validation": "dev", "test": "test"}


def rows(source: Source, language: str) -> list[Row]:
    """Every clip of the lists that make up the splits; a clip of two lists is only in the later split's.

    So `splits = {train = "validated"}` trains on everything that was validated but the clips of dev and test.

    Raises `Refused` where there is no release, the language is not in it, or a list lacks a column.
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
    raise Refused(f'[corpus] path: no Common Voice lists for "{language}" in {files.root}; it holds {has}')


def _listed(files: Here | Away, name: str, split: str) -> list[Row]:
    if not files.has(f"{name}.tsv"):
        raise Refused(f"[corpus] splits: {files.root} has no list {name}.tsv")
    if files.place(f"{name}.tsv") is None:
        raise Refused(f"[corpus] path: {files.root}/{name}.tsv is a link that leads out of the folder")
    # Sentences hold quotation marks that quote nothing, so this is no CSV.
    text = files.read(f"{name}.tsv").decode("utf-8-sig", "replace")
    columns, *lines = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()] or [[]]
    if missing := {"path", "sentence", "client_id"} - set(columns):
        raise Refused(f"[corpus] path: {files.root}/{name}.tsv has no column {', '.join(sorted(missing))}")
    return [_row(files, dict(zip(columns, line, strict=False)), len(line) - len(columns), split) for line in lines]


def _row(files: Here | Away, line: dict[str, str], too_many: int, split: str) -> Row:
    file = line.get("path", "")
    clip = inside("clips", file if "." in file else f"{file}.mp3")  # old releases leave the suffix out
    row = Row(clip or file, split, line.get("sentence", ""), line.get("client_id") or None, None)
    if clip is None or (place := files.place(clip)) is None:
        return replace(row, problem="outside the folder")
    if not files.has(clip):
        return replace(row, problem="missing file")
    if too_many > 0:  # a tab within the sentence cut it short
        return replace(row, problem="more values than columns")
    return replace(row, audio=place, version=files.version(clip))
