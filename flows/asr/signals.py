"""Signals: one that ends a run also ends its tasks, after they have saved; and no task outlives the run.

Metaflow forwards no signals. A terminal sends Ctrl-C to every process; a scheduler or a container's stop reaches only
the flow's process, and Metaflow kills the tasks 5 s after an interrupt, too soon for a trial to save. So tasks ignore
the terminal's signals, and the flow's process sends them SIGTERM and waits before Metaflow sees the interrupt.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 60.0  # for the tasks to save and end
POLL_SECONDS = 0.1
SCHEDULER = "WHISPER_FLOW_SCHEDULER"  # environment variable of tasks: the id of the flow's process
ORPHAN_POLL_SECONDS = 2.0  # between checks that the flow's process still runs


@contextmanager
def handled() -> Iterator[None]:
    """During a command: forward signals to its tasks; a task instead ends when its run does."""
    if {"run", "resume"} & set(sys.argv):
        with _forwarding():
            yield
        return
    if is_task():
        import psutil  # noqa: F401  not in the thread: Python crashes where it ends during this import

        signal.signal(signal.SIGTERM, _exit)
        threading.Thread(target=_end_with, args=(int(os.environ[SCHEDULER]),), daemon=True).start()
    yield


def is_task() -> bool:
    """Whether this process is a task of a run on this machine."""
    return "step" in sys.argv and SCHEDULER in os.environ


def ignore_terminal() -> None:
    """Let a task and its children ignore a terminal's signals, which during its imports would give a traceback."""
    if is_task():
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def ignore_sigterm() -> None:
    """Let a task finish although it is asked to end: its last lines take seconds."""
    if SCHEDULER in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _exit(number: int, _: FrameType | None) -> None:
    """End the task by an exception, so that its temporary files are removed."""
    signal.signal(number, signal.SIG_IGN)
    sys.unraisablehook = _exit_after_finalizer
    sys.exit(128 + number)


def _exit_after_finalizer(unraisable: sys.UnraisableHookArgs) -> None:
    """End the task although a finalizer ignored the exception: `regex` runs thousands of them during imports."""
    if not isinstance(unraisable.exc_value, SystemExit):
        sys.__unraisablehook__(unraisable)
        return
    sys.unraisablehook = sys.__unraisablehook__
    signal.signal(signal.SIGTERM, _exit)
    with suppress(RuntimeError):  # Python 3.12, where the task is at its end
        threading.Timer(POLL_SECONDS, os.kill, (os.getpid(), signal.SIGTERM)).start()


@contextmanager
def _forwarding() -> Iterator[None]:
    """Let a signal end the tasks first and then the run, with the exit code of the signal."""
    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if not received:  # a second signal ends the run at once
            received.append(number)
            _end_tasks(number)
        raise KeyboardInterrupt

    # A signal that is ignored, as by `nohup`, stays ignored.
    handled_signals = [number for number in END_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, end) for number in handled_signals}
    os.environ[SCHEDULER] = str(os.getpid())
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # click turns the first into the second
        if received:
            sys.exit(128 + received[0])
        raise
    finally:
        del os.environ[SCHEDULER]
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end_tasks(number: int) -> None:
    """Send the tasks SIGTERM and wait for their end, without reaping them: Metaflow reads their exit codes."""
    import psutil

    tasks = [child for child in psutil.Process().children() if child.is_running()]
    for task in tasks:
        with suppress(psutil.Error):
            task.terminate()
    if tasks:
        with suppress(OSError):  # the terminal may be closed
            print(
                f"{signal.Signals(number).name}: {len(tasks)} tasks save what they have and end; again: at once",
                file=sys.stderr,
                flush=True,
            )
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(_is_running, tasks)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _is_running(process: psutil.Process) -> bool:
    import psutil  # not at the top: a task must ignore the terminal before it imports what takes long

    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _end_with(scheduler: int) -> None:
    """Send this task SIGTERM once the flow's process is gone."""
    import psutil

    try:
        parent = psutil.Process(scheduler)
    except psutil.NoSuchProcess:
        parent = None
    while parent and _is_running(parent):
        time.sleep(ORPHAN_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
