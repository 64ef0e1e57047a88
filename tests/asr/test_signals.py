"""What ends a task of a run on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import asr
import pytest

FLOWS = Path(asr.__file__).parents[1]

# A task in which SIGTERM arrives at a given place, while a temporary folder is open.
TASK = """
import os, signal, sys, tempfile, time, weakref
from asr import signals

class Clip:
    pass

def end():
    os.kill(os.getpid(), signal.SIGTERM)

def in_a_finalizer():
    Clip.__del__ = lambda self: end()
    Clip()

def in_a_weak_references_callback():
    clip = Clip()
    reference = weakref.ref(clip, lambda _: end())
    del clip

def in_a_finalizer_that_fails():
    def fail(self):
        raise ValueError

    def finalize(self):
        other = Other()
        try:
            end()
        finally:
            del other  # its error comes before SystemExit is ignored

    Other = type("Other", (), {"__del__": fail})
    Clip.__del__ = finalize
    Clip()

def in_two_finalizers():
    in_a_weak_references_callback()
    in_a_finalizer()

with signals.handled(), tempfile.TemporaryDirectory():
    PLACE()
    time.sleep(20)
print("ran to its end")
"""


def run_task(place: str, scheduler: int | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The ended task; its scheduler is this process unless another one is named."""
    env = {**os.environ, "PYTHONPATH": str(FLOWS), "WHISPER_FLOW_SCHEDULER": str(scheduler or os.getpid()), **env}
    command = [sys.executable, "-c", TASK.replace("PLACE", place), "step"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("place", ["end", "in_a_finalizer", "in_a_weak_references_callback", "in_two_finalizers"])
def test_sigterm_ends_a_task_quietly_wherever_it_arrives(place, tmp_path):
    process = run_task(place, TMPDIR=str(tmp_path))
    assert (process.returncode, process.stdout, process.stderr) == (143, "", "")
    assert not list(tmp_path.iterdir())


def test_sigterm_ends_a_task_although_another_finalizer_fails(tmp_path):
    process = run_task("in_a_finalizer_that_fails", TMPDIR=str(tmp_path))
    assert (process.returncode, process.stdout) == (143, "")
    assert "ValueError" in process.stderr and "SystemExit" not in process.stderr


def test_a_task_ends_after_its_scheduler():
    with subprocess.Popen(["sleep", "1"]) as scheduler:
        process = run_task("Clip", scheduler.pid)
    assert (process.returncode, process.stderr) == (143, "")
