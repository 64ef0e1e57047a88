"""A run that gets signals at random moments and is resumed after each: which processes remain, and how it ends.

    python tests/benchmarks/interrupted.py [--times N] [--seed N]

SIGINT, SIGTERM, SIGHUP and SIGKILL go to the run's own process, to a trial, or to both. A task that still runs ten
seconds after the end of its run is an orphan. A run that survives the signal, since a trial is retried, continues until
the next one. At the end the leaderboard is compared with that of an undisturbed run.
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
GRACE_SECONDS = 10.0  # that tasks may outlive their run
READ_LEADERBOARD = """
import sys
from metaflow import Flow, namespace
namespace(None)
leaderboard = Flow("WhisperFlow").latest_successful_run["select"].task.data.leaderboard
print("leaderboard", leaderboard.drop(columns="seconds").to_json())
"""


class Flow:
    """A command of the flow in its own session, and its output."""

    def __init__(self, folder: Path, *arguments: str, prefix: Iterable[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(FLOW), *arguments], cwd=folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines += iter(self.process.stdout.readline, "")

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def tasks(self, step: str = "") -> list[psutil.Process]:
        """Its running tasks, or those of one step."""
        running = []
        for pid in set(re.findall(rf"/{step}[^ ]* \(pid (\d+)\)", self.output)):
            with suppress(psutil.Error):
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE and FLOW.name in " ".join(process.cmdline()):
                    running.append(process)
        return running

    def orphans(self) -> int:
        """The number of tasks that still run some time after it has ended."""
        until = time.monotonic() + GRACE_SECONDS
        while self.tasks() and time.monotonic() < until:
            time.sleep(0.2)
        return len(self.tasks())


def leaderboard(folder: Path) -> str:
    process = subprocess.run(
        [sys.executable, "-c", READ_LEADERBOARD], cwd=folder, capture_output=True, text=True, check=True
    )
    return next(line for line in process.stdout.splitlines() if line.startswith("leaderboard "))


def start(folder: Path) -> Flow:
    (folder / "tiny.toml").write_text(PROFILE, encoding="utf-8")
    return Flow(folder, "--config", "profile", "tiny.toml", "run")


def send_random_signal(flow: Flow, random: random.Random) -> str:
    """Send a random signal at a random moment; returns which signal went where."""
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
    arguments = parser.parse_args()
    os.environ["METAFLOW_USER"] = "benchmark"
    generator, orphans, tracebacks = random.Random(arguments.seed), 0, 0
    with tempfile.TemporaryDirectory() as undisturbed_folder, tempfile.TemporaryDirectory() as interrupted_folder:
        undisturbed = start(Path(undisturbed_folder))
        undisturbed.process.wait()
        flow, started = start(Path(interrupted_folder)), True
        for _ in range(arguments.times):
            sent = send_random_signal(flow, generator)
            with suppress(subprocess.TimeoutExpired):
                flow.process.wait(timeout=3 if "trial" in sent else 90)
            if flow.process.poll() is None:
                print(f"{sent:20s} the run goes on", flush=True)
                continue
            remaining = flow.orphans()
            flow.reader.join(timeout=10)
            has_traceback = "Traceback" in flow.output
            orphans, tracebacks = orphans + remaining, tracebacks + has_traceback
            print(
                f"{sent:20s} exit code {flow.process.returncode:4d}, orphans {remaining}, traceback {has_traceback}",
                flush=True,
            )
            started = started and "Workflow starting" not in flow.output
            flow = start(Path(interrupted_folder)) if started else Flow(Path(interrupted_folder), "resume")
        while flow.process.wait() != 0:
            flow = Flow(Path(interrupted_folder), "resume")
        is_same = leaderboard(Path(undisturbed_folder)) == leaderboard(Path(interrupted_folder))
    print(f"the same leaderboard: {is_same}")
    machine.print_result(
        {"times": arguments.times, "orphans": orphans, "tracebacks": tracebacks, "same_leaderboard": is_same}
    )


if __name__ == "__main__":
    main()
