"""Clips with corrected text that visitors contribute, as an audiofolder that the training flow reads as a source.

    taught/train/metadata.csv       file_name,transcription
    taught/train/3f2a....wav        16 kHz, mono, 16 bits
    taught/train/3f2a....consent    when the contributor agreed, and to what; readers of audiofolders ignore it

Every file is written under a temporary name and then renamed, so a full disk leaves a whole clip or none.
The folder is TEACH_FOLDER (default: taught/ here). If TEACH_REPO names a dataset on the Hub, the folder is committed to
it every few minutes. `[corpus] path = "taught"`, or the dataset's id, makes a run train on it.
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
import uuid
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from text import clean_text

RATE = 16_000  # Hz
MAX_SECONDS = 30.0  # of a clip: the window of Whisper's encoder
MAX_CHARACTERS = 1_000  # more than anybody says in 30 seconds
MAX_CLIPS = 10_000
MAX_CLIPS_PER_VISITOR = 1_000  # in a day
MAX_BYTES = 5_000_000_000  # of all clips
MIN_FREE_BYTES = 500_000_000  # of the disk
DAY = 86_400  # seconds
FORMULA_PREFIXES = "=+-@ "  # spreadsheets run a cell that starts so as a formula, unless it is a number
COMMIT_MINUTES = 5  # between two commits to the Hub
COLUMNS = ["file_name", "transcription"]


class ContributionStore:
    """A folder of contributed clips, perhaps committed to a dataset on the Hub."""

    def __init__(self, folder: Path, repo: str | None = None, scheduler: Any = None) -> None:
        self.folder, self.repo, self._scheduler = folder, repo, scheduler
        # The scheduler holds its lock while it uploads, so half a row is never committed.
        self._lock: AbstractContextManager[Any] = scheduler.lock if scheduler else threading.Lock()
        self._day, self._clips_today = 0.0, Counter[str]()  # the latest day, and each visitor's clips in it

    def add(self, sound: np.ndarray, text: str, consent: str = "", visitor: str = "") -> str:
        """Store a clip with its text and the wording that its contributor agreed to.

        Args:
            sound: (samples,) float32 at 16 kHz.
            text: the transcript.
            consent: the sentence that was agreed to.
            visitor: the visitor's address, for the limit of clips in a day.

        Returns:
            The clip's file name, which is the code to delete it with.

        Raises:
            OSError: if a limit is reached or the disk is full; then nothing of the clip is stored.
        """
        train, table = self._train, self._table
        name = f"{uuid.uuid4().hex[:12]}.wav"
        record = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "agreed": consent}
        train.mkdir(parents=True, exist_ok=True)
        with self._lock, _folder_lock(train):
            self._check_limits(train, visitor)
            paths = [train / name, (train / name).with_suffix(".consent")]
            try:
                _write_atomically(paths[0], _encode_wav(sound))
                _write_atomically(paths[1], json.dumps(record, ensure_ascii=False).encode())
                rows = _read_rows(table) or [COLUMNS]
                _write_atomically(table, _encode_csv([*rows, [name, clean_transcript(text)]]))
            except OSError:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise
            self._clips_today[visitor] += 1
        return name

    def _check_limits(self, train: Path, visitor: str) -> None:
        """Raise OSError if no more clips may be stored."""
        sizes = [path.stat().st_size for path in train.glob("*.wav")]
        if (day := time.time() // DAY) != self._day:
            self._day = day
            self._clips_today.clear()
        is_visitor_done = bool(visitor) and self._clips_today[visitor] >= MAX_CLIPS_PER_VISITOR
        if len(sizes) >= MAX_CLIPS or sum(sizes) >= MAX_BYTES or is_visitor_done:
            raise OSError("enough clips are stored here")
        if shutil.disk_usage(train).free < MIN_FREE_BYTES:
            raise OSError("the disk is nearly full")

    def delete(self, code: str) -> bool:
        """Delete a clip, its text and its consent; `code` is its name with or without suffix. False if none has it.

        On the Hub it is deleted from the latest version; earlier versions are the owner's to remove.
        """
        train, table = self._train, self._table
        name = f"{code.strip().removesuffix('.wav')}.wav"
        if not table.exists():
            return False
        with self._lock, _folder_lock(train):
            rows = _read_rows(table)
            remaining = [row for row in rows if row[:1] != [name]]
            if len(remaining) == len(rows):
                return False
            _write_atomically(table, _encode_csv(remaining))
            paths = [(train / name).with_suffix(".consent"), train / name]
            for path in paths:
                path.unlink(missing_ok=True)
        if self._scheduler:
            from huggingface_hub.errors import EntryNotFoundError

            for path in paths:
                with suppress(EntryNotFoundError):  # not committed yet
                    self._scheduler.api.delete_file(f"train/{path.name}", self._scheduler.repo_id, repo_type="dataset")
        return True

    @property
    def _train(self) -> Path:
        return self.folder / "train"

    @property
    def _table(self) -> Path:
        return self._train / "metadata.csv"


@contextmanager
def _folder_lock(train: Path) -> Iterator[None]:
    """Lock the folder against other servers, and delete temporary files of a server that was killed."""
    lock = os.open(train, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in train.glob(".*.new"):
            path.unlink()
        yield
    finally:
        os.close(lock)


def _read_rows(table: Path) -> list[list[str]]:
    return list(csv.reader(table.read_text(encoding="utf-8").splitlines())) if table.exists() else []


def _encode_csv(rows: list[list[str]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def _encode_wav(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the previous one in place and raise OSError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def clean_transcript(text: str) -> str:
    """The text of a clip on one line, without a prefix that spreadsheets take for a formula.

    >>> clean_transcript("=cmd|' /C calc'!A0"), clean_transcript("- Hej!")
    ("cmd|' /C calc'!A0", 'Hej!')
    >>> clean_transcript("-5 grader"), clean_transcript("-5+cmd|x")
    ('-5 grader', '5+cmd|x')
    """
    text = clean_text(text)
    is_number = re.fullmatch(r"[+-]\d[\w .,?!:%°-]*", text)
    return text if is_number else text.lstrip(FORMULA_PREFIXES)


def open_store() -> ContributionStore | None:
    """The store that the environment configures. Raises ValueError if TEACH_REPO cannot be used.

    None where nothing can be written, and on a Space without a dataset: its disk is emptied whenever it sleeps.
    """
    repo, folder_name = os.environ.get("TEACH_REPO"), os.environ.get("TEACH_FOLDER")
    if not repo and not folder_name and (os.environ.get("SPACE_ID") or not os.access(Path.cwd(), os.W_OK)):
        return None
    folder = Path(folder_name or "taught").absolute()
    if not repo:
        return ContributionStore(folder)
    from huggingface_hub import CommitScheduler

    try:
        scheduler = CommitScheduler(
            repo_id=repo, repo_type="dataset", private=True, folder_path=folder, every=COMMIT_MINUTES,
            squash_history=False,
        )  # fmt: skip
        if not scheduler.api.repo_info(scheduler.repo_id, repo_type="dataset").private:
            scheduler.stop()
            raise ValueError("it is public, and voices must not be published")
        _download_table(scheduler.repo_id, folder / "train" / "metadata.csv")
    except Exception as error:  # of the Hub, the network, or a token without write access
        raise ValueError(f"TEACH_REPO={repo} cannot be used: {str(error).strip().splitlines()[0]}") from None
    return ContributionStore(folder, repo, scheduler)


def _download_table(repo: str, table: Path) -> None:
    """Fetch the table from the Hub for a Space that starts with an empty disk; else new rows would replace the old."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if table.exists():
        return
    try:
        downloaded = hf_hub_download(repo, "train/metadata.csv", repo_type="dataset")
    except EntryNotFoundError:
        return
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(Path(downloaded).read_bytes())
