"""What visitors give: clips with their corrected text, as the audiofolder that the flow reads as a source.

    taught/train/metadata.csv       file_name,transcription
    taught/train/3f2a....wav        16 kHz, mono, 16 bits
    taught/train/3f2a....consent    when its giver agreed, and to what; no reader of audiofolders looks at it

Each file is written beside its place and then moved there: on a full disk there is a clip with all of these or none.
In TEACH_FOLDER (default: taught/ here), and, where TEACH_REPO names a data set of the Hub, committed to it every few
minutes. `[corpus] path = "taught"`, or the data set's id, makes a run train on it.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import shutil
import threading
import time
import unicodedata
import uuid
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
LONGEST = 30.0  # seconds: what Whisper hears at once
LETTERS = 1_000  # beyond any half minute of speech
CLIPS = 10_000
EACH = 1_000  # of a visitor in a day
BYTES = 5_000_000_000  # of all clips
SPARE = 500_000_000  # bytes that stay free on the disk
DAY = 86_400  # seconds
FORMULA = "=+-@ "  # a table's programs take what begins so for one, but for a number with its sign
MINUTES = 5  # between two commits
HEADER = ["file_name", "transcription"]


class Lessons:
    """Where what is given is kept."""

    def __init__(self, folder: Path, repo: str | None = None, scheduler: Any = None) -> None:
        self.folder, self.repo, self._scheduler = folder, repo, scheduler
        # The scheduler holds its lock while it uploads: half a row is never committed.
        self._lock: AbstractContextManager[Any] = scheduler.lock if scheduler else threading.Lock()
        self._today, self._given = 0.0, Counter[str]()  # the day, and the clips that each visitor gave in it

    def keep(self, sound: np.ndarray, text: str, agreed: str = "", visitor: str = "") -> str:
        """Write a clip, (samples,) float32 at 16 kHz, its text, and what was `agreed` to; returns the clip's name.

        Raises OSError where there is no room for it, in all or from one `visitor`. Nothing of it is there then.
        """
        train, table = self._places
        name = f"{uuid.uuid4().hex[:12]}.wav"
        consent = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "agreed": agreed}
        train.mkdir(parents=True, exist_ok=True)
        with self._lock, _alone(train):
            self._check(train, visitor)
            made = [train / name, (train / name).with_suffix(".consent")]
            try:
                _write(made[0], _wav(sound))
                _write(made[1], json.dumps(consent, ensure_ascii=False).encode())
                _write(table, _csv([*(_rows(table) or [HEADER]), [name, said(text)]]))
            except OSError:
                for path in made:
                    path.unlink(missing_ok=True)
                raise
            self._given[visitor] += 1
        return name

    def _check(self, train: Path, visitor: str) -> None:
        """Raise OSError where no more is to be kept."""
        sizes = [path.stat().st_size for path in train.glob("*.wav")]
        if (today := time.time() // DAY) != self._today:
            self._today = today
            self._given.clear()
        if len(sizes) >= CLIPS or sum(sizes) >= BYTES or (visitor and self._given[visitor] >= EACH):
            raise OSError("enough clips are kept here")
        if shutil.disk_usage(train).free < SPARE:
            raise OSError("the disk is nearly full")

    def take_back(self, code: str) -> bool:
        """Delete the clip of that name, with or without its suffix, and its text; whether there was one.

        On the Hub it is deleted from the newest version; earlier ones are the owner's to clear.
        """
        train, table = self._places
        name = f"{code.strip().removesuffix('.wav')}.wav"
        if not table.exists():
            return False
        with self._lock, _alone(train):
            rows = _rows(table)
            left = [row for row in rows if row[:1] != [name]]
            if len(left) == len(rows):
                return False
            _write(table, _csv(left))
            gone = [(train / name).with_suffix(".consent"), train / name]
            for path in gone:
                path.unlink(missing_ok=True)
        if self._scheduler:
            from huggingface_hub.errors import EntryNotFoundError

            for path in gone:
                with suppress(EntryNotFoundError):  # it was not committed yet
                    self._scheduler.api.delete_file(f"train/{path.name}", self._scheduler.repo_id, repo_type="dataset")
        return True

    @property
    def _places(self) -> tuple[Path, Path]:
        """The folder of the clips, and their table."""
        train = self.folder / "train"
        return train, train / "metadata.csv"


@contextmanager
def _alone(train: Path) -> Iterator[None]:
    """Nobody else writes in the folder, no other server either; what one began to write that was killed is gone."""
    lock = os.open(train, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in train.glob(".*.new"):
            path.unlink()
        yield
    finally:
        os.close(lock)


def _rows(table: Path) -> list[list[str]]:
    return list(csv.reader(table.read_text(encoding="utf-8").splitlines())) if table.exists() else []


def _csv(rows: list[list[str]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def _wav(sound: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    """The whole file or, by an OSError, none and the one that was there before."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def plain(text: str) -> str:
    """One line without what no one can say.

    >>> plain(" Hej\\x00 du,\\nglada  värld ")
    'Hej du, glada värld'
    """
    letters = (letter for letter in unicodedata.normalize("NFC", text) if letter.isspace() or letter.isprintable())
    return " ".join("".join(letters).split())


def said(text: str) -> str:
    """The text of a clip.

    >>> said("=cmd|' /C calc'!A0"), said("- Hej!"), said("-5 grader"), said("-5+cmd|x")
    ("cmd|' /C calc'!A0", 'Hej!', '-5 grader', '5+cmd|x')
    """
    text = plain(text)
    return text if re.fullmatch(r"[+-]\d[\w .,?!:%°-]*", text) else text.lstrip(FORMULA)


def lessons() -> Lessons | None:
    """As the environment says.

    None on a Space without a data set, whose disk is emptied whenever it sleeps, and where nothing can be written.
    """
    repo, named = os.environ.get("TEACH_REPO"), os.environ.get("TEACH_FOLDER")
    if not repo and not named and (os.environ.get("SPACE_ID") or not os.access(Path.cwd(), os.W_OK)):
        return None
    folder = Path(named or "taught").absolute()
    if not repo:
        return Lessons(folder)
    from huggingface_hub import CommitScheduler

    try:
        scheduler = CommitScheduler(
            repo_id=repo, repo_type="dataset", private=True, folder_path=folder, every=MINUTES, squash_history=False
        )
        if not scheduler.api.repo_info(scheduler.repo_id, repo_type="dataset").private:
            scheduler.stop()
            raise ValueError("it is public, and voices are not to be published")
        _fetch(scheduler.repo_id, folder / "train" / "metadata.csv")
    except Exception as error:  # of the Hub, the network, a token that may not write
        raise ValueError(f"TEACH_REPO={repo} cannot be used: {str(error).strip().splitlines()[0]}") from None
    return Lessons(folder, repo, scheduler)


def _fetch(repo: str, table: Path) -> None:
    """The table as the Hub has it, for a Space that starts anew: else its first row would replace all earlier ones."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if table.exists():
        return
    try:
        there = hf_hub_download(repo, "train/metadata.csv", repo_type="dataset")
    except EntryNotFoundError:
        return
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(Path(there).read_bytes())
