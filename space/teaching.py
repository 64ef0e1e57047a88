"""What visitors give: clips with their corrected text, as the audiofolder that the flow reads as a source.

    taught/train/metadata.csv       file_name,transcription
    taught/train/3f2a....wav        16 kHz, mono, 16 bits

In TEACH_FOLDER (default: taught/ here), and, where TEACH_REPO names a data set of the Hub, committed to it every few
minutes. `[corpus] path = "taught"`, or the data set's id, makes a run train on it.
"""

from __future__ import annotations

import csv
import os
import threading
import unicodedata
import uuid
import wave
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
LONGEST = 30.0  # seconds: what Whisper hears at once
LETTERS = 1_000  # beyond any half minute of speech
CLIPS = 10_000  # about 5 GB at most; a stranger cannot fill the disk
MINUTES = 5  # between two commits
HEADER = ["file_name", "transcription"]


class Lessons:
    """Where what is given is kept."""

    def __init__(self, folder: Path, repo: str | None = None, scheduler: Any = None) -> None:
        self.folder, self.repo, self._scheduler = folder, repo, scheduler
        # The scheduler holds its lock while it uploads: half a row is never committed.
        self._lock: AbstractContextManager[Any] = scheduler.lock if scheduler else threading.Lock()

    def keep(self, sound: np.ndarray, text: str) -> str:
        """Write a clip, (samples,) float32 at 16 kHz, and its text; returns its name. OSError where it is full."""
        train, table = self._places
        name = f"{uuid.uuid4().hex[:12]}.wav"
        with self._lock:
            train.mkdir(parents=True, exist_ok=True)
            if sum(1 for _ in train.glob("*.wav")) >= CLIPS:
                raise OSError("enough clips are kept here")
            with wave.open(str(train / name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
            new = not table.exists()
            with table.open("a", encoding="utf-8", newline="") as rows:
                writer = csv.writer(rows)
                writer.writerows([HEADER] * new + [[name, plain(text)]])
        return name

    def take_back(self, code: str) -> bool:
        """Delete the clip of that name, with or without its suffix, and its text; whether there was one.

        On the Hub it is deleted from the newest version; earlier ones are the owner's to clear.
        """
        train, table = self._places
        name = f"{code.strip().removesuffix('.wav')}.wav"
        with self._lock:
            rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines())) if table.exists() else []
            left = [row for row in rows if row[:1] != [name]]
            if len(left) == len(rows):
                return False
            new = table.with_suffix(".new")
            with new.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(left)
            new.replace(table)
            (train / name).unlink(missing_ok=True)
        if self._scheduler:
            from huggingface_hub.errors import EntryNotFoundError

            with suppress(EntryNotFoundError):  # it was not committed yet
                self._scheduler.api.delete_file(f"train/{name}", self._scheduler.repo_id, repo_type="dataset")
        return True

    @property
    def _places(self) -> tuple[Path, Path]:
        """The folder of the clips, and their table."""
        train = self.folder / "train"
        return train, train / "metadata.csv"


def plain(text: str) -> str:
    """One line without what no one can say.

    >>> plain(" Hej\\x00 du,\\nglada  värld ")
    'Hej du, glada värld'
    """
    letters = (letter for letter in unicodedata.normalize("NFC", text) if letter.isspace() or letter.isprintable())
    return " ".join("".join(letters).split())


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
