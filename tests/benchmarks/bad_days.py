"""The bad days of a run that `drill.py` simulates, each in a namespace with its own disks. Not a command.

A day starts with the folder of a finished run and `resume STEP`. It records its failures with their categories: none if
a last `resume` gives the same leaderboard and the same release as the undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from interrupted import FLOW, Flow

LIMIT = 500.0  # seconds for a command
READ_RESULT = """
import json, sys
from metaflow import Flow, namespace
namespace(None)
end = Flow("WhisperFlow").latest_successful_run.end_task.data
leaderboard = end.leaderboard.drop(columns="seconds") if hasattr(end, "leaderboard") else None
print(json.dumps([leaderboard.to_json(), end.corpus, end.report["test_wer"], end.report["served_wer"]]))
"""
SHIFT_CLOCK = """
import os, random, time
real, shift = time.time, random.Random(os.getpid()).uniform(-30, 30) * 3600
time.time = lambda: real() + shift
"""
KNOWN_CAUSES = r"is full|cannot be|may not be written|memory|bad_alloc|unpack artifact|damaged|gone|No access|Full disk"


class Day(NamedTuple):
    kind: str
    name: str
    simulate: Callable[[Sandbox], None]


class Sandbox:
    """The folder of a day's run, and its failures."""

    def __init__(self, folder: Path, origin: str, number: int) -> None:
        self.folder, self.origin, self.random = folder, origin, random.Random(number)
        self.temporary, self.failures, self.peak = folder.parent / "tmp", list[tuple[str, str]](), 0
        os.environ.update(METAFLOW_USER="benchmark", TMPDIR=str(self.temporary), OMP_NUM_THREADS="1")
        self.flows: list[Flow] = []

    def fail(self, category: str, detail: str) -> None:
        self.failures.append((category, detail))

    def start(self, *arguments: str, prefix: Iterable[str] = ()) -> Flow:
        flow = Flow(self.folder, *arguments, prefix=prefix)
        threading.Thread(target=self._watch_memory, args=(flow.process.pid,), daemon=True).start()
        self.flows.append(flow)
        return flow

    def _watch_memory(self, pid: int) -> None:
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
                total = 0
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        total += process.memory_info().rss
                self.peak = max(self.peak, total)
                time.sleep(0.25)

    def wait(self, flow: Flow) -> int:
        """Wait until it ends, and check its output and the remaining processes; returns the exit code."""
        try:
            code = flow.process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(flow.process.pid, signal.SIGKILL)
            code = flow.process.wait()
            self.fail("hangs", f"{' '.join(flow.process.args[2:5])} did not end")  # type: ignore[index]
        orphan_count = flow.orphans()
        flow.reader.join(timeout=10)
        if orphan_count:
            self.fail("left over", f"{orphan_count} processes")
        if "Traceback" in flow.output:
            lines = [line for line in flow.output.splitlines() if re.search(r"\w+(Error|Interrupt)\b", line)]
            self.fail("tracebacks", (lines or ["Traceback"])[-1][-150:])
        return code

    def run(self, *arguments: str, prefix: Iterable[str] = ()) -> tuple[int, str]:
        flow = self.start(*arguments, prefix=prefix)
        code = self.wait(flow)
        return code, flow.output

    def disk(self, place: str) -> Path:
        """The mount point of a disk: that of the datastore, of temporary files or of releases."""
        return {"datastore": self.folder, "TMPDIR": self.temporary, "released": self.folder / "released"}[place]

    def resume(self, step: str) -> list[str]:
        return ["resume", step, "--origin-run-id", self.origin]

    def check_error(self, code: int, output: str) -> bool:
        """Whether it failed, which is allowed if its message names a known cause."""
        if code and not re.search(KNOWN_CAUSES, output, re.IGNORECASE):
            self.fail("unreported", output.strip().splitlines()[-1][-150:] if output.strip() else f"exit code {code}")
        return bool(code)

    def resume_and_compare(self, flow: Flow | None, step: str) -> None:
        """Resume the run from where it ended, and compare it with the undisturbed one."""
        commands = re.findall(r"resume(?: \w+)? --origin-run-id \d+", flow.output) if flow else []
        code, output = self.run(*(commands[-1].split() if commands else self.resume(step)))
        if code and "there is no run" in output:  # it was killed before it stored anything
            code, output = self.run(*self.resume(step))
        if code:
            self.fail("lost", f"resume ended with {code}: {' / '.join(output.strip().splitlines()[-4:])[-250:]}")
        else:
            self.check_result()

    def check_result(self) -> None:
        if read_result(self.folder) != json.loads((self.folder / "undisturbed.json").read_text()):
            self.fail("lost", "another leaderboard, corpus or report")
        latest = self.folder / "released" / "latest"
        for name in ("model.safetensors", "ct2-int8/model.bin"):
            if (latest / name).read_bytes() != (self.folder / "undisturbed" / name).read_bytes():
                self.fail("lost", f"released/latest has another {name}")
        json.loads((latest / "release.json").read_text())

    def check_temporary_folder(self) -> None:
        """Check that TMPDIR is empty."""
        if remaining := sorted(path.name for path in self.temporary.iterdir()):
            self.fail("left over", ", ".join(remaining)[:150])


def read_result(folder: Path) -> Any:
    process = subprocess.run(
        [sys.executable, "-c", READ_RESULT], cwd=folder, capture_output=True, text=True, check=False
    )
    return json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else process.stderr[-300:]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _wait_for_line(flow: Flow, pattern: str, delay: float) -> None:
    """Wait for a line or the end of the flow, and then `delay` seconds more."""
    until = time.monotonic() + LIMIT
    while flow.process.poll() is None and time.monotonic() < until and not re.search(pattern, flow.output):
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        flow.process.wait(timeout=delay)


def power_lost(step: str) -> Callable[[Sandbox], None]:
    def simulate(sandbox: Sandbox) -> None:
        flow = sandbox.start(*sandbox.resume(step))
        _wait_for_line(flow, "Task is starting", sandbox.random.uniform(0.0, 14.0))
        with suppress(ProcessLookupError):
            os.killpg(flow.process.pid, signal.SIGKILL)
        flow.process.wait()
        time.sleep(0.5)
        sandbox.resume_and_compare(flow, step)

    return simulate


def interrupted(pattern: str, latest: float, group: bool) -> Callable[[Sandbox], None]:
    def simulate(sandbox: Sandbox) -> None:
        flow = sandbox.start(*sandbox.resume("train"))
        _wait_for_line(flow, pattern, sandbox.random.uniform(0.0, latest))
        if flow.process.poll() is None:
            (os.killpg if group else os.kill)(flow.process.pid, signal.SIGINT)
        code = sandbox.wait(flow)
        if code not in (0, 130):
            sandbox.fail("unreported", f"exit code {code}")
        sandbox.check_temporary_folder()
        steps = {match[0]: int(match[1]) for match in re.findall(r"trial (\d+)  step +(\d+)/", flow.output)}
        sandbox.resume_and_compare(flow, "train")
        resumed_output = sandbox.flows[-1].output
        for trial, step in steps.items():
            resumed = re.search(rf"trial {trial}  resumed at step (\d+)", resumed_output)
            restarted = re.search(rf"trial {trial}  step +1/", resumed_output)
            if restarted or (resumed and int(resumed[1]) < step):
                continued_from = resumed[1] if resumed else 0
                sandbox.fail("lost", f"trial {trial} had come to step {step}, and went on from {continued_from}")

    return simulate


def full(place: str, kilobytes: int, step: str) -> Callable[[Sandbox], None]:
    """A disk with few kilobytes left: that of the datastore, of temporary files or of releases."""

    def simulate(sandbox: Sandbox) -> None:
        disk = sandbox.disk(place)
        now = os.statvfs(disk)
        used = (now.f_blocks - now.f_bfree) * now.f_frsize // 1024
        mount("-o", f"remount,size={used + kilobytes}k", str(disk))
        flow = sandbox.start(*sandbox.resume(step))
        code = sandbox.wait(flow)
        mount("-o", "remount,size=2g", str(disk))
        if sandbox.check_error(code, flow.output):
            sandbox.check_temporary_folder()
        sandbox.resume_and_compare(flow if code else None, step)

    return simulate


def read_only(place: str, step: str) -> Callable[[Sandbox], None]:
    def simulate(sandbox: Sandbox) -> None:
        disk = sandbox.disk(place)
        mount("-o", "remount,ro", str(disk))
        flow = sandbox.start(*sandbox.resume(step))
        code = sandbox.wait(flow)
        mount("-o", "remount,rw", str(disk))
        if not sandbox.check_error(code, flow.output) and place != "TMPDIR":  # Python finds another temporary folder
            sandbox.fail("unreported", "it ended as if it had written")
        sandbox.resume_and_compare(flow, step)

    return simulate


def memory(megabytes: int, step: str) -> Callable[[Sandbox], None]:
    def simulate(sandbox: Sandbox) -> None:
        flow = sandbox.start(*sandbox.resume(step), prefix=["prlimit", f"--as={megabytes << 20}"])
        code = sandbox.wait(flow)
        sandbox.check_error(code, flow.output)
        sandbox.resume_and_compare(flow if code else None, step)

    return simulate


def flipped(kind: str, step: str) -> Callable[[Sandbox], None]:
    """Flip bits in files of one kind; the run reports it, or does not use the files."""

    def simulate(sandbox: Sandbox) -> None:
        data = sandbox.folder / ".metaflow" / "WhisperFlow" / "data"
        blobs = sorted((path for path in data.glob("??/*") if not path.name.endswith("_meta")),
                       key=lambda path: path.stat().st_size)  # fmt: skip
        files = {
            "large blobs": blobs[-6:],
            "small blobs": sandbox.random.sample(blobs[: len(blobs) // 2], 12),
            "blobs": blobs,
            "records": sorted((sandbox.folder / ".metaflow" / "WhisperFlow" / sandbox.origin).glob("*/*/*data.json")),
        }[kind]
        originals = {path: path.read_bytes() for path in files}
        for path, content in originals.items():
            damaged = bytearray(content)
            for _ in range(max(1, len(content) // 5000)):
                damaged[sandbox.random.randrange(len(damaged))] ^= 1 << sandbox.random.randrange(8)
            path.write_bytes(damaged)
        latest_before = os.readlink(sandbox.folder / "released" / "latest")
        flow = sandbox.start(*sandbox.resume(step))
        code = sandbox.wait(flow)
        has_failed = sandbox.check_error(code, flow.output)
        if has_failed and os.readlink(sandbox.folder / "released" / "latest") != latest_before:
            sandbox.fail("lost", "released, though damaged")
        if code:
            for path, content in originals.items():
                path.write_bytes(content)
        sandbox.resume_and_compare(flow if code and "run-id" in flow.output else None, step)

    return simulate


def clock(step: str) -> Callable[[Sandbox], None]:
    """The clock of every process is wrong by up to thirty hours."""

    def simulate(sandbox: Sandbox) -> None:
        (sandbox.temporary / "clock").mkdir()
        (sandbox.temporary / "clock" / "sitecustomize.py").write_text(SHIFT_CLOCK)
        os.environ["PYTHONPATH"] = str(sandbox.temporary / "clock")
        flow = sandbox.start(*sandbox.resume(step))
        if code := sandbox.wait(flow):
            sandbox.fail("unreported", f"exit code {code}: {flow.output.strip().splitlines()[-1][-150:]}")
        del os.environ["PYTHONPATH"]
        sandbox.resume_and_compare(flow, step)

    return simulate


def two_runs(step: str) -> Callable[[Sandbox], None]:
    """Both resume one run. The one that starts a trial last continues it; the other ends with a message."""

    def simulate(sandbox: Sandbox) -> None:
        flows = [sandbox.start(*sandbox.resume(step)) for _ in range(2)]
        failed = [flow for flow in flows if sandbox.wait(flow)]
        for flow in failed:
            if step != "train" or "continues this trial" not in flow.output:
                sandbox.fail("unreported", f"one of them ended: {flow.output.strip().splitlines()[-1][-150:]}")
        if len(failed) == 2:
            sandbox.resume_and_compare(failed[0], step)
        sandbox.check_result()
        sandbox.check_temporary_folder()
        releases = [path.name for path in (sandbox.folder / "released").iterdir() if path.name != "latest"]
        if len(releases) != 1 + max(1, 2 - len(failed)):
            sandbox.fail("lost", f"of 3 releases there are {', '.join(releases)}")

    return simulate


def two_processes(program: str, label: str) -> Callable[[Sandbox], None]:
    """Two processes of one program in one folder."""

    def simulate(sandbox: Sandbox) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(FLOW.parents[1] / name) for name in ("flows", "space"))}
        command = [sys.executable, "-c", program]
        processes = [
            subprocess.Popen([*command, number], cwd=sandbox.folder, env=env, stderr=subprocess.PIPE, text=True)
            for number in "01"
        ]
        for process in processes:
            _, stderr = process.communicate(timeout=LIMIT)
            if process.returncode:
                sandbox.fail("lost", f"{label}: {stderr.strip().splitlines()[-1][-150:]}")

    return simulate


PUBLISH_RELEASES = """
import shutil, sys, tempfile
from pathlib import Path
from asr.release import folder
number = int(sys.argv[1])
for turn in range(10):
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch, "ready")
        shutil.copytree("undisturbed", ready)
        folder.publish_folder(ready, Path("released"), f"tiny-{10 * turn + number}", newest=True)
        folder.prune_releases(Path("released"), "tiny", 3)
    latest = Path("released/latest").resolve()
    assert not latest.exists() or (latest / "release.json").is_file() and (latest / "model.safetensors").is_file()
assert (Path("released/latest") / "release.json").is_file()
"""
STORE_CLIPS = """
import csv, sys
from pathlib import Path
import contributions, numpy
contributions.MIN_FREE_BYTES = 0
store, names = contributions.ContributionStore(Path("taught")), []
for turn in range(40):
    names.append(store.add(numpy.zeros(1000, numpy.float32), f"ett {sys.argv[1]}", "ja"))
    if turn % 4 == 3:
        assert store.delete(names.pop())
listed = [row[0] for row in csv.reader(Path("taught/train/metadata.csv").open())]
assert set(names) <= set(listed) and all(Path("taught/train", name).stat().st_size == 2044 for name in names)
"""


PUSH_RELEASE = """
import sys
from pathlib import Path
from asr import InputError
from asr.release import hub
from asr.settings import Release
try:
    hub.push_release(Path(sys.argv[1]), Release(repo_id="me/svenska"), lambda head: "")
except InputError:
    pass
"""


def two_pushes(sandbox: Sandbox) -> None:
    """Push two releases to one repository of the Hub: it holds one complete release, in a commit after the other."""
    import faults
    from servers.writable_hub import User, WritableHub

    with WritableHub(sandbox.temporary / "hub", {faults.TOKEN: User("me")}) as server:
        ready = [faults.release(sandbox.temporary, number) for number in ("17", "18")]
        env = {**os.environ, **server.env(sandbox.temporary / "home", faults.TOKEN), "PYTHONPATH": str(FLOW.parent)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PUSH_RELEASE, str(release)], env=env, stderr=subprocess.PIPE, text=True
            )
            for release in ready
        ]
        for process in processes:
            _, stderr = process.communicate(timeout=LIMIT)
            if process.returncode:
                sandbox.fail("tracebacks", stderr.strip().splitlines()[-1][-150:])
        files = server.repo(faults.REPO).files()
        files.pop(".gitattributes", None)
        if files not in [faults.files(release) for release in ready]:
            sandbox.fail("lost", "the repository holds neither of them whole")


DAYS = [
    *(Day("power lost", f"{step} {number}", power_lost(step))
      for number in range(4) for step in ("preprocess", "train", "train", "evaluate", "push")),
    *(Day("Ctrl-C", f"{'group' if group else 'alone'} at {pattern}", interrupted(pattern, latest, group))
      for group in (True, False)
      for pattern, latest in [("/train.*Task is starting", 1.0), ("/train.*Task is starting", 5.0),
                              ("trial 0  step +1/", 0.5), ("trial 0  step +1/", 8.0), ("/evaluate.*starting", 3.0)]),
    *(Day("full disk", f"{place} {kilobytes} kB {step}", full(place, kilobytes, step))
      for place, sizes, steps in [("datastore", (8, 60, 400), ("preprocess", "train", "evaluate")),
                                  ("TMPDIR", (4, 200), ("preprocess", "train", "evaluate", "push")),
                                  ("released", (8, 1000), ("push",))]
      for kilobytes in sizes for step in steps),
    *(Day("read-only", f"{place} {step}", read_only(place, step))
      for place, step in [("datastore", "train"), ("datastore", "push"), ("released", "push"), ("TMPDIR", "evaluate")]),
    *(Day("memory ends", f"{megabytes} MB {step}", memory(megabytes, step))
      for megabytes, step in [(150, "train"), (600, "preprocess"), (900, "train"), (1500, "train"), (2000, "evaluate"),
                              (600, "push")]),
    *(Day("bits flipped", f"{kind} {step}", flipped(kind, step))
      for kind, step in [("large blobs", "train"), ("large blobs", "push"), ("large blobs", "evaluate"),
                         ("small blobs", "select"), ("blobs", "evaluate"), ("records", "train")]),
    *(Day("clock", step, clock(step)) for step in ("preprocess", "train", "push")),
    *(Day("two at once", f"runs from {step}", two_runs(step)) for step in ("preprocess", "train", "push")),
    *(Day("two at once", f"pushes to one repository, {turn}", two_pushes) for turn in ("once", "again")),
    Day("two at once", "releases in one folder", two_processes(PUBLISH_RELEASES, "release")),
    Day("two at once", "Spaces on one folder", two_processes(STORE_CLIPS, "clip")),
]  # fmt: skip
