"""What ends a run ends its tasks: a signal to the flow's own process reaches them, and none outlives it.

Metaflow forwards no signal. A terminal sends Ctrl-C to every process, but a scheduler or a container's stop reaches the
flow's process alone, and Metaflow kills what is still there 5 s after an interrupt: too soon for a trial to save.
So tasks are deaf to a terminal, and the flow's process tells them by SIGTERM and waits before Metaflow learns of it.
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

import psutil

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 60.0  # seconds for the tasks to save and end
LOOK_SECONDS = 0.1
SCHEDULER = "WHISPER_FLOW_SCHEDULER"  # in the environment of tasks: the process that started them
ORPHAN_SECONDS = 2.0  # between two looks whether it is still there


@contextmanager
def handled() -> Iterator[None]:
    """For the time of a command: pass signals on where it runs tasks, and end with the run where it is one."""
    if {"run", "resume"} & set(sys.argv):
        with _passed_on():
            yield
        return
    if is_task():
        signal.signal(signal.SIGTERM, _leave)
        threading.Thread(target=_follow, args=(int(os.environ[SCHEDULER]),), daemon=True).start()
    yield


def is_task() -> bool:
    """Whether this process is a task of a run here, and has its environment."""
    return "step" in sys.argv and SCHEDULER in os.environ


def deafen() -> None:
    """Let a task, and what it starts, not hear a terminal: in the seconds of its imports that would be a traceback."""
    if is_task():
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def finish() -> None:
    """Let a task come to its end, though it is asked to end before: what is left takes seconds, or is killed."""
    if SCHEDULER in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leave(number: int, _: FrameType | None) -> None:
    """End the task so that its temporary files go with it."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def _passed_on() -> Iterator[None]:
    """Let a signal end the tasks first, and then the run, with the exit code that says which signal it was."""
    asked: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if not asked:  # again: at once
            asked.append(number)
            _end_tasks(number)
        raise KeyboardInterrupt

    # What is ignored, as by `nohup`, stays ignored.
    heeded = [number for number in ASKED if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    os.environ[SCHEDULER] = str(os.getpid())
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # click makes the first the second
        if asked:
            sys.exit(128 + asked[0])
        raise
    finally:
        del os.environ[SCHEDULER]
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_tasks(number: int) -> None:
    """Send the tasks SIGTERM and wait until they have ended, without reaping them: Metaflow asks for their ends."""
    tasks = [child for child in psutil.Process().children() if child.is_running()]
    for task in tasks:
        with suppress(psutil.Error):
            task.terminate()
    if tasks:
        with suppress(OSError):  # the terminal may be gone
            print(
                f"{signal.Signals(number).name}: {len(tasks)} tasks save what they have and end; again: at once",
                file=sys.stderr,
                flush=True,
            )
    until = time.monotonic() + GRACE
    while any(map(_runs, tasks)) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _follow(scheduler: int) -> None:
    """End this task, as by SIGTERM, once the process that started it is gone: nobody is left to tell what it did."""
    try:
        parent = psutil.Process(scheduler)
    except psutil.NoSuchProcess:
        parent = None
    while parent and _runs(parent):
        time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
