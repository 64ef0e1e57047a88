"""Checkpoints of a trial in the flow's datastore, from which a killed trial continues.

A checkpoint is a folder of files: weights, optimiser, schedule, random states, progress. Its path has the search, the
trial and a hash of all settings that affect training, so that `@retry` and `resume` find a trial's own checkpoints. Two
slots alternate and a slot's record is written last: an interrupted save leaves the other slot complete.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from asr import TakenOver
from asr.corpus.archives import describe_error
from asr.corpus.shards import Shard
from asr.settings import Settings, Training
from asr.store import Store
from asr.training.search import Trial

SLOTS = ("a", "b")
MAX_TIME_SHARE = 0.02  # of the training time, at most, for saving
FORMAT = 3  # raised when older checkpoints cannot be restored


@dataclass(frozen=True)
class Record:
    """A finished checkpoint."""

    step: int
    files: dict[str, str]  # name: SHA-256


@dataclass(frozen=True)
class Owner:
    """The process that a trial's checkpoints belong to."""

    token: str
    host: str
    process: int


def checkpoint_path(search: str, trial: Trial, settings: Settings, shards: Sequence[Shard]) -> str:
    """The path of a trial's checkpoints; other data or settings give another path.

    `search` is the id of the search, which resumed runs share.
    """
    shaping = settings.model_dump_json(
        exclude={
            "name": True,
            "search": True,
            "release": True,
            "compute": True,
            "training": {"checkpoint_minutes", "micro_batch", "trackers"},
        }
    )
    identity = repr((FORMAT, trial, shaping, sorted(shard.key for shard in shards)))
    return f"trials/{search}/{trial.number}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


class Checkpoints:
    """The checkpoints of one trial, at most two.

    The last process that restored them owns them: an earlier process, in a pod or as an orphan, ends at its next save.
    """

    def __init__(self, store: Store, place: str, training: Training, log: Callable[[str], None] = print) -> None:
        self.store, self.path, self.print_line = store, place, log
        self.interval_seconds = 60 * training.checkpoint_minutes
        self._next, self._saved_at, self._save_seconds = 0, time.monotonic(), 0.0
        self._owner = Owner(secrets.token_hex(8), socket.gethostname(), os.getpid())

    @property
    def is_due(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._saved_at >= max(self.interval_seconds, self._save_seconds / MAX_TIME_SHARE)

    def save(self, folder: Path, step: int) -> bool:
        """Save the folder's files as the state at `step`; False where that failed, and the last checkpoint stays.

        Raises `TakenOver` where another process owns the checkpoints.
        """
        start, slot = time.monotonic(), f"{self.path}/{SLOTS[self._next]}"
        try:
            self._check_owner(step)
            files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
            self.store.remember(f"{slot}/record", None)
            self.store.save_files({f"{slot}/{name}": folder / name for name in files})
            self.store.remember(f"{slot}/record", Record(step, files))
            self._next, self._save_seconds = 1 - self._next, time.monotonic() - start
        except TakenOver:
            raise
        except Exception as error:  # a full disk or a cloud client's error: training continues
            self.print_line(
                f"the checkpoint at step {step} could not be saved ({describe_error(error)}); the one before it remains"
            )
            return False
        finally:
            self._saved_at = time.monotonic()
        return True

    def _check_owner(self, step: int) -> None:
        owner = self.store.recall(f"{self.path}/owner")
        if isinstance(owner, Owner) and owner.token != self._owner.token:
            raise TakenOver(
                f"ended at step {step}: process {owner.process} on {owner.host} continues this trial, from the "
                "checkpoint before"
            )

    def restore(self, folder: Path) -> int:
        """Copy the newest complete checkpoint into `folder`, and return its step; 0 where there is none.

        This process owns the checkpoints from then on.
        """
        try:
            self.store.remember(f"{self.path}/owner", self._owner)
        except Exception as error:  # as in `save`
            self.print_line(f"the trial's checkpoints could not be taken over ({describe_error(error)})")
        records = self.store.recall_all([f"{self.path}/{slot}/record" for slot in SLOTS])
        complete = {name.split("/")[-2]: record for name, record in records.items() if isinstance(record, Record)}
        for slot in sorted(complete, key=lambda slot: -complete[slot].step):
            try:
                is_intact = self._fetch(slot, complete[slot], folder)
            except Exception as error:  # as above
                self.print_line(
                    f"the checkpoint at step {complete[slot].step} cannot be read ({describe_error(error)})"
                )
                continue
            if is_intact:
                self._next = 1 - SLOTS.index(slot)
                return complete[slot].step
            self.print_line(f"the checkpoint at step {complete[slot].step} is damaged")
        return 0

    def _fetch(self, slot: str, record: Record, folder: Path) -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        return all(
            self.store.load_file(f"{self.path}/{slot}/{name}", folder / name) and _sha256(folder / name) == sha
            for name, sha in record.files.items()
        )

    def clear(self) -> None:
        """Replace the files by empty ones: Metaflow's datastores cannot delete."""
        records = self.store.recall_all([f"{self.path}/{slot}/record" for slot in SLOTS])
        with TemporaryDirectory() as scratch:
            (empty := Path(scratch, "empty")).touch()
            self.store.save_files({f"{self.path}/owner": empty})
            for name, record in records.items():
                slot, files = name.removesuffix("record"), record.files if record else ()
                self.store.save_files({f"{slot}{file}": empty for file in ("record", *files)})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
