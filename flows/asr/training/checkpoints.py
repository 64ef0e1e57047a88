"""What a trial keeps of itself while it trains, so that a killed one goes on where it was.

A checkpoint is a folder of files: weights, optimiser, schedule, random states, progress. It goes to the flow's
datastore under a name that holds the search, the trial and everything that shapes its training, so a trial finds its
own and no other's: `@retry` and `resume` alike. Two slots take turns and a slot's record is written last, so a kill or
a full disk in the middle of a save leaves the other slot whole; older checkpoints are overwritten.
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
MAX_TIME_SHARE = 0.02  # that saving may take: rarer where the datastore is slow or the model large
FORMAT = 3  # raised when older checkpoints can no longer be gone on from


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
    """Where a trial's checkpoints stand: other data or another setting is another place.

    `search` tells one search from another: the id of the run that planned it, which its resumed runs share.
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
    told = repr((FORMAT, trial, shaping, sorted(shard.key for shard in shards)))
    return f"trials/{search}/{trial.number}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


class Checkpoints:
    """The checkpoints of one trial, at most two.

    They belong to the last process that restored them: an earlier one, which lives on in a pod or as an orphan, finds
    that out at its next save.
    """

    def __init__(self, store: Store, place: str, training: Training, say: Callable[[str], None] = print) -> None:
        self.store, self.path, self.interval_seconds, self.say = store, place, 60 * training.checkpoint_minutes, say
        self._next, self._saved_at, self._save_seconds = 0, time.monotonic(), 0.0
        self._owner = Owner(secrets.token_hex(8), socket.gethostname(), os.getpid())

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved_at >= max(self.interval_seconds, self._save_seconds / MAX_TIME_SHARE)

    def save(self, folder: Path, step: int) -> bool:
        """Keep the folder's files as the trial's state at `step`. What fails is told, and leaves the last one good.

        Raises `TakenOver` where another process has restored the checkpoints since.
        """
        began, slot = time.monotonic(), f"{self.path}/{SLOTS[self._next]}"
        try:
            self._check_owner(step)
            files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
            self.store.remember(f"{slot}/record", None)
            self.store.save_files({f"{slot}/{name}": folder / name for name in files})
            self.store.remember(f"{slot}/record", Record(step, files))
            self._next, self._save_seconds = 1 - self._next, time.monotonic() - began
        except TakenOver:
            raise
        except Exception as error:  # a full disk, or whatever a cloud's client raises: training itself can go on
            self.say(
                f"the checkpoint at step {step} could not be kept ({describe_error(error)}); the one before it stands"
            )
            return False
        finally:
            self._saved_at = time.monotonic()
        return True

    def _check_owner(self, step: int) -> None:
        found = self.store.recall(f"{self.path}/owner")
        if isinstance(found, Owner) and found.token != self._owner.token:
            raise TakenOver(
                f"ended at step {step}: process {found.process} on {found.host} goes on with this trial, from the "
                "checkpoint before"
            )

    def restore(self, folder: Path) -> int:
        """Put the newest whole checkpoint's files into `folder`; its step, 0 where there is none.

        From here on the checkpoints belong to this process.
        """
        try:
            self.store.remember(f"{self.path}/owner", self._owner)
        except Exception as error:  # as in `save`
            self.say(f"the trial's checkpoints could not be taken over ({describe_error(error)})")
        records = self.store.recall_all([f"{self.path}/{slot}/record" for slot in SLOTS])
        found = {name.split("/")[-2]: record for name, record in records.items() if isinstance(record, Record)}
        for slot in sorted(found, key=lambda slot: -found[slot].step):
            try:
                whole = self._fetch(slot, found[slot], folder)
            except Exception as error:  # as above
                self.say(f"the checkpoint at step {found[slot].step} cannot be read ({describe_error(error)})")
                continue
            if whole:
                self._next = 1 - SLOTS.index(slot)
                return found[slot].step
            self.say(f"the checkpoint at step {found[slot].step} is damaged")
        return 0

    def _fetch(self, slot: str, record: Record, folder: Path) -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        return all(
            self.store.load_file(f"{self.path}/{slot}/{name}", folder / name) and _sha256(folder / name) == sha
            for name, sha in record.files.items()
        )

    def clear(self) -> None:
        """Leave nothing of them but empty files: datastores overwrite, and know no deletion."""
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
