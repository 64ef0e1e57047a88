"""A row: one clip before it is looked at."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from asr.corpus.transcripts import Segment

SPLITS = ("train", "validation", "test")
ALIASES = {  # as the Hub knows them, https://huggingface.co/docs/hub/datasets-file-names-and-splits
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}

GIVEN = re.compile(r"[0-9a-f]{12}\.wav")  # the file of a clip that a visitor gave, and the code to take it back by


@dataclass(frozen=True)
class Row:
    """What a source tells of a clip."""

    clip: str  # unique in its source: its path there
    split: str
    text: str
    speaker: str | None
    audio: Path | str | bytes | None  # a file here, a `gs://` URL, the file's own bytes; None: there is none
    source: str = ""
    start: float = 0.0  # seconds, where the clip is cut out of a recording
    end: float | None = None
    segments: tuple[Segment, ...] = ()  # with times from the clip's start, where they are known
    problem: str | None = None  # what is wrong with it already
    version: str | None = None  # of a file that is elsewhere: changes with its content

    @property
    def names(self) -> set[str]:
        """What `exclude` may call the clip: itself, its recording or its speaker, with or without the source; one that
        was given to the Space also its code."""
        recording = self.clip if self.end is None else self.clip.rpartition("#")[0]
        bare = {name.removeprefix(f"{self.source}/") for name in (self.clip, recording, self.speaker or self.clip)}
        file = self.clip.rpartition("/")[2]
        code = {file} if GIVEN.fullmatch(file) else set()
        return {unicodedata.normalize("NFC", name) for name in bare | {f"{self.source}/{name}" for name in bare} | code}


def kind(reason: str) -> str:
    """Why a clip was set aside, without the particulars that only one recording has.

    >>> kind("unreadable transcript: line 7 is no time of a caption: '0 -->'")
    'unreadable transcript'
    """
    return reason.partition(":")[0]


def split_of(name: str) -> str | None:
    """The split that goes by this name.

    >>> split_of("dev"), split_of("other")
    ('validation', None)
    """
    return next((split for split, names in ALIASES.items() if name in names), None)


def carve(who: str) -> str:
    """A split for a corpus that has none: a tenth of the speakers each for validation and test, by hash.

    A speaker stands whole on one side, and stays there as the corpus grows.
    """
    name = unicodedata.normalize("NFC", who).encode("utf-8", "replace")
    part = int.from_bytes(hashlib.sha256(name).digest()[:4], "big") % 10
    return {0: "validation", 1: "test"}.get(part, "train")
