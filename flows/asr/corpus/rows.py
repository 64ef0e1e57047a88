"""A row of a corpus: one clip as its source lists it, before its audio is decoded."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from asr.corpus.transcripts import Segment

CONTRIBUTED_FILE = re.compile(r"[0-9a-f]{12}\.wav")  # a clip from a visitor of the Space; also the code to withdraw it


@dataclass(frozen=True)
class Row:
    """What a source says about a clip."""

    clip: str  # unique in its source: its path there
    split: str
    text: str
    speaker: str | None
    audio: Path | str | bytes | None  # a local file, a `gs://` URL, or the file's own bytes; None: missing
    source: str = ""
    start: float = 0.0  # seconds, if the clip is cut out of a recording
    end: float | None = None
    segments: tuple[Segment, ...] = ()  # with times from the clip's start, if known
    problem: str | None = None  # why the clip is rejected, if that is known already
    version: str | None = None  # of a remote file: changes with its content

    @property
    def names(self) -> set[str]:
        """The names by which `exclude` may list the clip: its own, its recording's or its speaker's, with or without
        the source; for a clip contributed to the Space also its code."""
        recording = self.clip if self.end is None else self.clip.rpartition("#")[0]
        names = {name.removeprefix(f"{self.source}/") for name in (self.clip, recording, self.speaker or self.clip)}
        file = self.clip.rpartition("/")[2]
        code = {file} if CONTRIBUTED_FILE.fullmatch(file) else set()
        return {
            unicodedata.normalize("NFC", name) for name in names | {f"{self.source}/{name}" for name in names} | code
        }


def reason_kind(reason: str) -> str:
    """Why a clip was rejected, without the details that only one recording has.

    >>> reason_kind("unreadable transcript: line 7 is no time of a caption: '0 -->'")
    'unreadable transcript'
    """
    return reason.partition(":")[0]
