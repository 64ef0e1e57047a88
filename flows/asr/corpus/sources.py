"""Where speech comes from: every source becomes parts, and a part is what one `preprocess` task reads.

What can be listed (folders, Common Voice) is listed once and cut into parts of `shard_clips` rows of one split;
a data set of the Hub is read file by file as a stream, so that it is nowhere whole.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr import InputError
from asr.corpus import common_voice, files, folder, hub
from asr.corpus.rows import SPLITS, Row
from asr.settings import Corpus, Source

SAMPLE = Path(__file__).parents[2] / "sample"


@dataclass(frozen=True)
class Part:
    """Rows that were listed, or a stretch of a stream that holds them."""

    source: str  # its name
    rows: tuple[Row, ...] = ()
    stretch: hub.Stretch | None = None
    prefix: str = ""  # before the names of a stretch's clips and speakers
    most_seconds: float | None = None  # of speech to keep

    def may_hold(self, split: str) -> bool:
        return self.stretch.may_hold(split) if self.stretch else self.rows[0].split == split


def parts(corpus: Corpus, splits: Sequence[str] = SPLITS) -> list[Part]:
    """The whole corpus in parts, or what may hold clips of some splits.

    Retained speech that is never drawn is not prepared for training. Raises `InputError` where a source is not there or
    not what it should be, or a split is empty; of a retained language only that of validation may not be.
    """
    several = len(corpus.all_sources) > 1
    found, retained = list[Part](), corpus.retained
    for source in corpus.all_sources:
        wanted = [split for split in splits if split != "train" or source.weight or source.display_name not in retained]
        parts = _parts(source, corpus, f"{source.display_name}/" if several else "")
        found += [part for part in parts if any(part.may_hold(split) for split in wanted)]
    needed = [(corpus.language, split) for split in splits]
    needed += [(language, "validation") for language in sorted(set(retained.values())) if "validation" in splits]
    for language, split in needed:
        if not any(part.may_hold(split) for part in found if corpus.language_of(part.source) == language):
            of = [source for source in corpus.all_sources if corpus.language_of(source.display_name) == language]
            told = ", ".join(source.path or source.display_name for source in of)
            raise InputError(f"[corpus] path: {told} lists no clip for {split}")
    return found


def _parts(source: Source, corpus: Corpus, prefix: str) -> Iterator[Part]:
    where, language = source.path, corpus.language_of(source.display_name)
    if source.source == "hub":
        place = hub.place(source)
        stretches = hub.stretches(source, place, corpus.shard_clips)
        yield from (Part(source.display_name, (), stretch, prefix, stretch.most_seconds) for stretch in stretches)
        if stretches:
            return
        where = place.root  # no Parquet: an audiofolder
    if source.source == "common_voice":
        listed = common_voice.rows(source, language)
    else:
        listed = folder.rows(where or SAMPLE, corpus.max_seconds, language)
    named = list(_named(_once(listed), source.display_name, prefix))
    for split in SPLITS:
        rows = [row for row in named if row.split == split][: source.limit_clips]
        for at in range(0, len(rows), corpus.shard_clips):
            part = tuple(rows[at : at + corpus.shard_clips])
            most = source.limit_hours and source.limit_hours * 3600 * len(part) / len(rows)
            yield Part(source.display_name, part, most_seconds=most)


def _once(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, those marked whose name was there before."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.clip] += 1
        yield row if seen[row.clip] == 1 or row.problem else replace(row, audio=None, problem="listed twice")


def _named(rows: Iterable[Row], source: str, prefix: str) -> Iterator[Row]:
    """The rows with their source; where there are several, its name keeps their clips and speakers apart."""
    for row in rows:
        speaker = row.speaker and prefix + unicodedata.normalize("NFC", row.speaker)  # macOS writes å in two letters
        yield replace(row, source=source, clip=prefix + row.clip, speaker=speaker)


def read(part: Part) -> Iterator[Row]:
    """The part's rows, with audio that is within reach."""
    if part.stretch:
        return _named(hub.rows(part.stretch), part.source, part.prefix)
    return files.fetched(part.rows)
