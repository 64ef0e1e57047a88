"""How a command of the flow ends: in one line where a user can mend what is wrong, and with the line that goes on.

Metaflow ends in a traceback wherever the error is not its own. Whatever ends a command passes here, a task's too: what
a step raises, and what Metaflow's own reading and writing does.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metaflow import current, user_step_decorator
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY, MetaflowException, MetaflowInternalError
from metaflow.parameters import flow_context
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.util import get_latest_run_id

from asr import (
    InputError,
    TakenOver,
    Terminated,
    compute,
    console,
    datastore,
    disk,
    launch,
    memory,
    network,
    scratch,
    services,
    settings,
)
from asr.redaction import redact, redacted

CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# Options that `resume` refuses, or that mean one run alone, and how many words follow them.
OF_ONE_RUN = {"--config": 2, "--config-value": 2, "--namespace": 1, "--origin-run-id": 1, "--runner-attribute-file": 1}


class Told(MetaflowException):
    """What a user can mend."""

    def __init__(self, headline: str, line: str) -> None:
        super().__init__(redacted(line))
        self.headline = headline


@user_step_decorator
def as_a_trial(step_name: str, flow: Any, inputs: Any) -> Iterator[None]:
    """Below this a step that is asked to end shows no traceback, and one that is refused is over: the others go on."""
    flow.refused = None
    try:
        yield
    except Terminated as asked:
        print(asked, file=sys.stderr)
        # An attempt that another one goes on from is not tried again.
        sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if isinstance(asked, TakenOver) else 128 + signal.SIGTERM)
    except InputError as mistake:
        if compute.in_pod():  # another one may be better off
            raise
        flow.refused = str(mistake)
        print(mistake, file=sys.stderr)
    except Exception as error:
        redact(error)  # `crash` keeps its words
        raise


def failure(branch: Any) -> str:
    """Why a trial failed for good; empty where it did not."""
    refused, crash = getattr(branch, "refused", None), getattr(branch, "crash", None)
    return refused or (f"{crash.type.rpartition('.')[2]}: {crash.exception}" if crash else "")


def main(flow: Callable[..., Any]) -> None:
    """Metaflow's command line for a flow."""
    console.silence_libraries()
    launch.prepare()
    with flow_context(flow):
        from metaflow import cli  # which reads the flow's options as it is imported

        datastore.mend()
        try:
            _check_profile(sys.argv)
            with scratch.of_run():
                cli.main(flow(use_cli=False), handle_exceptions=False)
        except Exception as error:
            end = told(error) or error
            if isinstance(end, MetaflowException):
                cli.print_metaflow_exception(end)
            else:
                redact(end)
                cli.print_unknown_exception(end)
            # A trial is tried again where it was killed. Here it would be told the same again; another pod may not be.
            told_again = isinstance(end, Told) and current.get("step_name") == "train" and not compute.in_pod()
            sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if told_again else 1)


def _check_profile(arguments: Sequence[str]) -> None:
    for at, word in enumerate(arguments):
        if word == "--config" and list(arguments[at + 1 : at + 2]) == ["profile"] and arguments[at + 2 :]:
            settings.check_file(arguments[at + 2])


def told(error: Exception) -> Told | None:
    """The error as a line, where it is one that a user can mend."""
    if isinstance(error, InputError):
        return Told("Bad input", str(error))
    if isinstance(error, MetaflowInternalError) and "terminal step" in error.message:
        return Told("Step failure", "a task failed, as it says above; those beside it went on to their ends")
    root = Path(LocalStorage.datastore_root or LocalStorage.DATASTORE_DIR).absolute()
    if line := disk.complaint(error, root):
        return Told("Full disk", line)
    if line := memory.complaint(error):
        return Told("Out of memory", line)
    if line := network.failure(error):
        return Told("No network", line)
    if line := services.complaint(error):
        return Told("Out of reach", line)
    if isinstance(error, json.JSONDecodeError) and _raised_by_metaflow(error):
        return Told("Damaged record", f"what Metaflow wrote down of a run in {root} cannot be read: {error}; run again")
    if isinstance(error, UnicodeDecodeError) and not current.get("step_name"):
        return Told("Bad input", f"profile: not a text in UTF-8: {error}")
    if isinstance(error, UnboundLocalError) and "param_ds" in str(error):  # Metaflow finds nothing of a run
        asked = option(sys.argv, "--origin-run-id") or "(the latest)"
        return Told("Bad input", f"there is no run {asked} to resume in {root}; --origin-run-id names one")
    if isinstance(error, OSError) and error.errno in CLOSED and error.filename is not None:
        file = Path(os.fsdecode(error.filename))
        return Told("No access", f"{file} cannot be opened or made: {error.strerror}{_instead(file, root)}")
    return None


def _raised_by_metaflow(error: Exception) -> bool:
    """Whether Metaflow asked for what failed in a module of Python's own."""
    callers = [frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in reversed(callers) if name not in sys.stdlib_module_names), "") == "metaflow"


def _instead(file: Path, root: Path) -> str:
    """What to do where a run's own folder is closed."""
    if not (file.is_relative_to(root) or root.is_relative_to(file)):
        return ""
    return (
        ". A run is kept in .metaflow in the folder that it is started in: start it where you may write, or name "
        "another folder in METAFLOW_DATASTORE_SYSROOT_LOCAL"
    )


@contextmanager
def resumable(flow: str) -> Iterator[None]:
    """Say how to go on where a run was interrupted or failed, and some of it is done."""
    try:
        yield
    except BaseException as end:
        failed = not isinstance(end, SystemExit) or end.code
        if failed and {"run", "resume"} & set(sys.argv) and (most := _most_done(flow)):
            line = console.format_command(sys.argv[0], *resuming(sys.argv[1:], *most))
            print(f"\nTo go on from the steps that are finished, with the same profile:  {line}", file=sys.stderr)
        raise


def _most_done(flow: str) -> tuple[str, str] | None:
    """This command's run, or the one that it resumes where more of that is done, and the step to begin from where it is
    not the first that is missing; None where nothing is done.

    Metaflow by itself resumes the last that was not resumed itself, whatever was done since; and trials that failed are
    done for it, though all of them did.
    """
    if not (this := current.get("run_id")):
        return None
    try:
        resumed = option(sys.argv, "--origin-run-id") or get_latest_run_id(print, flow)
        done = {run: datastore.finished(flow, run) for run in (resumed, this) if run}
    except Exception:  # whatever a cloud's client raises
        return str(this), ""
    run_id = max(done, key=lambda run: done[run].total())
    none_trained = done[run_id]["search"] and not done[run_id]["train"]
    return (run_id, "train" if none_trained else "") if done[run_id].total() else None


def resuming(arguments: Sequence[str], run_id: str, step: str = "") -> list[str]:
    """What the script is given to go on from a run: what it was given, but for what `resume` does not take.

    >>> resuming(["--branch", "b", "--config", "profile", "my.toml", "run", "--max-workers", "2"], "17")
    ['--branch', 'b', 'resume', '--max-workers', '2', '--origin-run-id', '17']
    """
    kept, left = list[str](), list(arguments)
    while left:
        name, equals, _ = (word := left.pop(0)).partition("=")
        if name in OF_ONE_RUN:
            del left[: OF_ONE_RUN[name] - len(equals)]
        else:
            kept.append(word)
    if "run" in kept:
        kept[kept.index("run")] = "resume"
    if step and step not in kept:
        kept.insert(kept.index("resume") + 1, step)
    return [*kept, "--origin-run-id", run_id]


def option(arguments: Sequence[str], name: str) -> str | None:
    """What was given for an option.

    >>> option(["resume", "--origin-run-id", "17"], "--origin-run-id"), option(["--a=b"], "--a"), option([], "--a")
    ('17', 'b', None)
    """
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{name}=")]
    values += [value for word, value in itertools.pairwise(arguments) if word == name]
    return values[0] if values else None
