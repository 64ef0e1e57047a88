"""The sources of speech: each is divided into parts, and one `preprocess` task reads a part.

Folders and Common Voice are listed once and divided into parts of `shard_clips` rows of one split; a dataset on the Hub
is streamed file by file, so that it is never stored as a whole.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from asr import InputError
from asr.corpus import SAMPLE, common_voice, files, folder, hub
from asr.corpus.rows import Row
from asr.corpus.splits import SPLITS
from asr.settings import Corpus, Source


@dataclass(frozen=True)
class Part:
    """Listed rows, or a Parquet file of rows."""

    source: str  # its name
    rows: tuple[Row, ...] = ()
    file: hub.ParquetFile | None = None
    prefix: str = ""  # before the names of the file's clips and speakers
    max_seconds: float | None = None  # of accepted speech

    def may_hold(self, split: str) -> bool:
        return self.file.may_hold(split) if self.file else self.rows[0].split == split


def list_parts(corpus: Corpus, splits: Sequence[str] = SPLITS) -> list[Part]:
    """The parts of the corpus that may hold clips of `splits`.

    Training clips of a retained language with weight 0 are left out.

    Raises:
        InputError: a source is missing or invalid, or a split is empty; a retained language needs validation only.
    """
    has_prefix = len(corpus.all_sources) > 1
    parts, retained = list[Part](), corpus.retained
    for source in corpus.all_sources:
        needed_splits = [
            split for split in splits if split != "train" or source.weight or source.display_name not in retained
        ]
        source_parts = _source_parts(source, corpus, f"{source.display_name}/" if has_prefix else "")
        parts += [part for part in source_parts if any(part.may_hold(split) for split in needed_splits)]
    needed = [(corpus.language, split) for split in splits]
    needed += [(language, "validation") for language in sorted(set(retained.values())) if "validation" in splits]
    for language, split in needed:
        if not any(part.may_hold(split) for part in parts if corpus.language_of(part.source) == language):
            sources = [source for source in corpus.all_sources if corpus.language_of(source.display_name) == language]
            names = ", ".join(source.path or source.display_name for source in sources)
            raise InputError(f"[corpus] path: {names} lists no clip for {split}")
    return parts


def _source_parts(source: Source, corpus: Corpus, prefix: str) -> Iterator[Part]:
    path, language = source.path, corpus.language_of(source.display_name)
    if source.source == "hub":
        dataset = hub.resolve_dataset(source)
        parquet_files = hub.list_files(source, dataset, corpus.shard_clips)
        yield from (Part(source.display_name, (), file, prefix, file.max_seconds) for file in parquet_files)
        if parquet_files:
            return
        path = dataset.root  # without Parquet it is an audiofolder
    if source.source == "common_voice":
        rows = common_voice.list_rows(source, language)
    else:
        rows = folder.list_rows(path or SAMPLE, corpus.max_seconds, language)
    rows = list(_add_source(_mark_repeated(rows), source.display_name, prefix))
    for split in SPLITS:
        split_rows = [row for row in rows if row.split == split][: source.limit_clips]
        for start in range(0, len(split_rows), corpus.shard_clips):
            part_rows = tuple(split_rows[start : start + corpus.shard_clips])
            max_seconds = source.limit_hours and source.limit_hours * 3600 * len(part_rows) / len(split_rows)
            yield Part(source.display_name, part_rows, max_seconds=max_seconds)


def _mark_repeated(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows; those with the name of an earlier row get a problem."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.clip] += 1
        yield row if seen[row.clip] == 1 or row.problem else replace(row, audio=None, problem="listed twice")


def _add_source(rows: Iterable[Row], source: str, prefix: str) -> Iterator[Row]:
    """The rows with their source; the prefix keeps the clips and speakers of several sources apart."""
    for row in rows:
        speaker = row.speaker and prefix + unicodedata.normalize("NFC", row.speaker)  # macOS decomposes å in names
        yield replace(row, source=source, clip=prefix + row.clip, speaker=speaker)


def read_part(part: Part) -> Iterator[Row]:
    """The part's rows, with their audio local or in memory."""
    if part.file:
        return _add_source(hub.read_rows(part.file), part.source, part.prefix)
    return files.download_audio(part.rows)
