"""Where speech comes from: every source becomes rows of (audio, text, speaker, split).

The layout is the Hugging Face audiofolder's: a `metadata.csv`, `.jsonl` or `.parquet` beside the
audio with `file_name` and `transcription` (or `sentence`, `text`) and optionally `speaker_id`;
either one below each of `train/`, `validation/` and `test/`, or a single one at the top.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr import Refused
from asr.settings import Corpus

SAMPLE = Path(__file__).parents[2] / "sample"
SPLITS = ("train", "validation", "test")
TEXTS = ("transcription", "sentence", "text")


@dataclass(frozen=True)
class Row:
    """One clip before it is looked at."""

    clip: str  # unique: its path inside the corpus
    audio: Path
    text: str
    speaker: str | None
    split: str


def rows(corpus: Corpus) -> list[Row]:
    """Every row of the corpus, in the order of its metadata.

    Raises `Refused` where the folder, its metadata or a column is missing, or a split is empty.
    """
    folder = SAMPLE if corpus.source == "sample" else corpus.path
    assert folder is not None  # the profile was checked
    if not folder.is_dir():
        raise Refused(f"[corpus] path: there is no folder {folder}")
    parts = [split for split in SPLITS if (folder / split).is_dir()]
    if parts:
        found = [row for split in parts for row in _read(folder, folder / split, split)]
    else:
        found = _read(folder, folder, None)
    counts = Counter(row.split for row in found)
    for split in SPLITS:
        if not counts[split]:
            raise Refused(f"[corpus] path: {folder} lists no clip for {split}")
    twice = [clip for clip, times in Counter(row.clip for row in found).items() if times > 1]
    if twice:
        raise Refused(f"[corpus] path: {folder} lists {twice[0]} more than once")
    if corpus.limit_clips:
        found = [row for split in SPLITS for row in [r for r in found if r.split == split][: corpus.limit_clips]]
    return found


def _read(root: Path, folder: Path, split: str | None) -> list[Row]:
    import pandas as pd

    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        "metadata.csv": lambda file: pd.read_csv(
            file, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
        ),
        "metadata.jsonl": lambda file: pd.read_json(file, lines=True, dtype=False, encoding="utf-8-sig"),
        "metadata.parquet": pd.read_parquet,
    }
    path = next((folder / name for name in readers if (folder / name).is_file()), None)
    if path is None:
        raise Refused(f"[corpus] path: {folder} holds none of {', '.join(readers)}")
    try:
        table = readers[path.name](path)
    except pd.errors.EmptyDataError:
        raise Refused(f"[corpus] path: {path} is empty") from None
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parsers raise these
        raise Refused(f"[corpus] path: {path} cannot be read: {str(error).splitlines()[0]}") from None
    text = next((column for column in TEXTS if column in table), None)
    if "file_name" not in table or text is None:
        has = ", ".join(map(str, table))
        raise Refused(f"[corpus] path: {path} needs the columns file_name and {' or '.join(TEXTS)}; it has {has}")
    speakers = table["speaker_id"] if "speaker_id" in table else [None] * len(table)
    found = []
    for name, words, who in zip(table["file_name"], table[text], speakers, strict=True):
        audio = Path(os.path.normpath(folder / str(name)))
        if not (audio.is_relative_to(folder) and audio.resolve().is_relative_to(root.resolve())):
            raise Refused(f"[corpus] path: {path} names {name}, outside its folder")
        clip = audio.relative_to(root).as_posix()
        speaker = None if who is None or pd.isna(who) else str(who).strip() or None
        words_ = "" if pd.isna(words) else str(words)
        found.append(Row(clip, audio, words_, speaker, split or _carve(speaker or clip)))
    return found


def _carve(who: str) -> str:
    """A split for a corpus that has none: a tenth of the speakers each for validation and test, by hash.

    A speaker stands whole on one side, and stays there as the corpus grows.
    """
    part = int.from_bytes(hashlib.sha256(who.encode()).digest()[:4], "big") % 10
    return {0: "validation", 1: "test"}.get(part, "train")
