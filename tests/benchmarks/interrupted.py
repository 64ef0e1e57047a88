"""A run that gets signals at random moments, and is resumed after each: what is left running, and what it ends in.

    python tests/benchmarks/interrupted.py [--times N] [--seed N]

SIGINT, SIGTERM, SIGHUP and SIGKILL, to the run's own process, to a trial, or to both. After each signal the run is
given ten seconds past its end; a task that is still there then is an orphan. Where a run survives, for a trial is
tried again, it is left to go on until the next signal. In the end the leaderboard is held against that of a run that
nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import machine
import psutil

FLOW = Path(__file__).parents[2] / "flows" / "whisper_flow.py"
MODEL = """
[model]
width = 32
heads = 2
encoder_layers = 1
decoder_layers = 1
vocabulary = 300
"""
PROFILE = f"""
name = "tiny"
[[corpus.sources]]
limit_clips = 20
{MODEL}
[training]
steps = 400
batch_size = 4
evaluations = 2
checkpoint_minutes = 0.0
[search]
trials = 2
[release]
max_served_gap = 1000.0
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
LATEST_MOMENT = 25.0  # seconds after a run's start
PATIENCE = 10.0  # seconds that tasks may outlive their run
BOARD = """
import sys
from metaflow import Flow, namespace
namespace(None)
board = Flow("WhisperFlow").latest_successful_run["select"].task.data.leaderboard
print("board", board.drop(columns="seconds").to_json())
"""


class Flow:
    """A flow from the command line in a session of its own, and what it says."""

    def __init__(self, folder: Path, *arguments: str, before: Iterable[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, str(FLOW), *arguments], cwd=folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.said += iter(self.process.stdout.readline, "")

    @property
    def text(self) -> str:
        return "".join(self.said)

    def tasks(self, step: str = "") -> list[psutil.Process]:
        """Its tasks that run, or those of one step."""
        found = []
        for pid in set(re.findall(rf"/{step}[^ ]* \(pid (\d+)\)", self.text)):
            with suppress(psutil.Error):
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE and FLOW.name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def orphans(self) -> int:
        """Tasks that still run some time after it has ended."""
        until = time.monotonic() + PATIENCE
        while self.tasks() and time.monotonic() < until:
            time.sleep(0.2)
        return len(self.tasks())


def board(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", BOARD], cwd=folder, capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("board "))


def start(folder: Path) -> Flow:
    (folder / "tiny.toml").write_text(PROFILE, encoding="utf-8")
    return Flow(folder, "--config", "profile", "tiny.toml", "run")


def strike(flow: Flow, random: random.Random) -> str:
    """Wait for a random moment and send a random signal; who got which."""
    until = time.monotonic() + random.uniform(2.0, LATEST_MOMENT)
    while time.monotonic() < until and flow.process.poll() is None:
        time.sleep(0.05)
    number, target = random.choice(SIGNALS), random.choice(["run", "trial", "both"])
    trials = flow.tasks("train")
    for process in trials[:1] if target != "run" else []:
        with suppress(psutil.Error):
            process.send_signal(number)
    if (target != "trial" or not trials) and flow.process.poll() is None:
        flow.process.send_signal(number)
    return f"{number.name} to {target if trials else 'run'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ["METAFLOW_USER"] = "benchmark"
    chance, orphans, tracebacks = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as quiet, tempfile.TemporaryDirectory() as struck:
        undisturbed = start(Path(quiet))
        undisturbed.process.wait()
        flow, started = start(Path(struck)), True
        for _ in range(given.times):
            what = strike(flow, chance)
            with suppress(subprocess.TimeoutExpired):
                flow.process.wait(timeout=3 if "trial" in what else 90)
            if flow.process.poll() is None:
                print(f"{what:20s} the run goes on", flush=True)
                continue
            left = flow.orphans()
            flow.reader.join(timeout=10)
            broken = "Traceback" in flow.text
            orphans, tracebacks = orphans + left, tracebacks + broken
            print(f"{what:20s} exit code {flow.process.returncode:4d}, orphans {left}, traceback {broken}", flush=True)
            started = started and "Workflow starting" not in flow.text
            flow = start(Path(struck)) if started else Flow(Path(struck), "resume")
        while flow.process.wait() != 0:
            flow = Flow(Path(struck), "resume")
        same = board(Path(quiet)) == board(Path(struck))
    print(f"the same leaderboard: {same}")
    machine.tell({"times": given.times, "orphans": orphans, "tracebacks": tracebacks, "same_leaderboard": same})


if __name__ == "__main__":
    main()
