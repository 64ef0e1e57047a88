"""Errors that a user can fix, as one line instead of Metaflow's traceback; and what an error means for a trial."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metaflow import current, user_step_decorator
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY, MetaflowException, MetaflowInternalError
from metaflow.plugins.datastores.local_storage import LocalStorage

from asr import InputError, TakenOver, Terminated, disk, environment, hardware, memory, network, remote_errors
from asr.redaction import redact_error, redact_text

NO_ACCESS = (errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(MetaflowException):
    """An error that the user can fix. Metaflow prints the headline and the line, and no traceback."""

    def __init__(self, headline: str, line: str) -> None:
        super().__init__(redact_text(line))
        self.headline = headline


@user_step_decorator
def handle_trial_errors(step_name: str, flow: Any, inputs: Any) -> Iterator[None]:
    """A terminated trial ends without a traceback; a trial with an input error fails and the others go on."""
    flow.refused = None
    try:
        yield
    except Terminated as termination:
        print(termination, file=sys.stderr)
        # A trial that another process continues is not tried again.
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if isinstance(termination, TakenOver) else 128 + signal.SIGTERM)
    except InputError as error:
        if hardware.in_pod():  # a retry runs on another node, and may succeed
            raise
        flow.refused = str(error)
        print(error, file=sys.stderr)
    except Exception as error:
        redact_error(error)  # the `crash` artifact keeps its message
        raise


def trial_failure(branch: Any) -> str:
    """Why a trial failed for good; empty where it did not."""
    refused, crash = getattr(branch, "refused", None), getattr(branch, "crash", None)
    return refused or (f"{crash.type.rpartition('.')[2]}: {crash.exception}" if crash else "")


def as_user_error(error: Exception) -> UserError | None:
    """The error as a `UserError`, or None where it is a bug or unknown."""
    if isinstance(error, InputError):
        return UserError("Bad input", str(error))
    if isinstance(error, MetaflowInternalError) and "terminal step" in error.message:
        return UserError("Step failure", "a task failed, see above; the tasks beside it ran to their ends")
    root = Path(LocalStorage.datastore_root or LocalStorage.DATASTORE_DIR).absolute()
    if line := disk.explain(error, root):
        return UserError("Full disk", line)
    if line := memory.explain(error):
        return UserError("Out of memory", line)
    if line := network.explain(error):
        return UserError("No network", line)
    if line := remote_errors.explain(error):
        return UserError("Out of reach", line)
    if isinstance(error, json.JSONDecodeError) and _raised_by_metaflow(error):
        line = f"Metaflow's record of a run in {root} cannot be read: {error}; run again"
        return UserError("Damaged record", line)
    if isinstance(error, UnicodeDecodeError) and not current.get("step_name"):
        return UserError("Bad input", f"profile: not a text in UTF-8: {error}")
    if isinstance(error, UnboundLocalError) and "param_ds" in str(error):  # Metaflow does not find the run
        run_id = environment.option(sys.argv, "--origin-run-id") or "(the latest)"
        return UserError("Bad input", f"there is no run {run_id} to resume in {root}; --origin-run-id names one")
    if isinstance(error, OSError) and error.errno in NO_ACCESS and error.filename is not None:
        file = Path(os.fsdecode(error.filename))
        return UserError("No access", f"{file} cannot be opened or made: {error.strerror}{_advice(file, root)}")
    return None


def _raised_by_metaflow(error: Exception) -> bool:
    """Whether Metaflow made the call that failed in the standard library."""
    callers = [frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in reversed(callers) if name not in sys.stdlib_module_names), "") == "metaflow"


def _advice(file: Path, root: Path) -> str:
    """What to do where Metaflow's folder cannot be written."""
    if not (file.is_relative_to(root) or root.is_relative_to(file)):
        return ""
    return (
        ". A run is stored in .metaflow in the folder that it is started in: start it in a folder that you can write "
        "to, or name another folder in METAFLOW_DATASTORE_SYSROOT_LOCAL"
    )
