"""A running flow, which a test reads, signals and waits for."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

FLOW = Path(__file__).parents[1] / "flows" / "whisper_flow.py"


def edit_profile(text: str, changes: Mapping[str, str]) -> str:
    """The profile with these parts replaced, each of which it must have."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class FlowProcess:
    """A flow in its own process group, with the lines that it has printed so far."""

    def __init__(self, *arguments: str, cwd: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(FLOW), *arguments], cwd=cwd, env=env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[str] = []

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the lines printed so far or later."""
        for line in itertools.chain(list(self.lines), self._next_lines()):
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"not printed: {pattern}:\n{''.join(self.lines)}")

    def _next_lines(self) -> Iterator[str]:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            yield line

    @property
    def tasks(self) -> set[int]:
        """The processes of its tasks, as printed."""
        return {int(pid) for pid in re.findall(r"\(pid (\d+)\)", "".join(self.lines))}

    def stop(self, number: signal.Signals, group: bool = False) -> int:
        """Send a signal to the scheduler alone or to all processes; the exit code. No task may run a minute longer."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        code = self.process.wait(timeout=90)
        until = time.monotonic() + 60
        while (remaining := [pid for pid in self.tasks if _is_flow_process(pid)]) and time.monotonic() < until:
            time.sleep(0.1)
        assert not remaining, f"{remaining} outlived the run"
        assert self.process.stdout
        self.lines += self.process.stdout.readlines()
        return code

    @property
    def id(self) -> str:
        """The run's id."""
        match = re.search(r"run-id (\d+)", "".join(self.lines))
        assert match, self.lines
        return match[1]

    @property
    def resume_arguments(self) -> list[str]:
        """The arguments of the command that an interrupted flow prints at its end."""
        assert "To resume after the finished steps" in self.lines[-1], "".join(self.lines)
        _, flow_file, *arguments = shlex.split(self.lines[-1].rpartition(":  ")[2])
        assert Path(flow_file).name == FLOW.name
        return arguments

    def finish(self) -> str:
        """The whole output of a run that succeeds."""
        assert self.process.stdout
        self.lines += self.process.stdout.readlines()
        assert self.process.wait(timeout=60) == 0, "".join(self.lines)
        return "".join(self.lines)


def _is_flow_process(pid: int) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "whisper_flow.py" in " ".join(process.cmdline())
    return False
