"""Bad days of a run, each in a namespace with disks of its own: what `drill.py` plays. Not a command.

A day begins with a finished run's folder and `resume STEP`. It gives what fell, each with the promise that it broke;
nothing, where a last `resume` comes to the same leaderboard and the same release as the run that nobody disturbed.
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
LOOK = """
import json, sys
from metaflow import Flow, namespace
namespace(None)
end = Flow("WhisperFlow").latest_successful_run.end_task.data
board = end.leaderboard.drop(columns="seconds") if hasattr(end, "leaderboard") else None
print(json.dumps([board.to_json(), end.corpus, end.report["test_wer"], end.report["served_wer"]]))
"""
SHIFT = """
import os, random, time
real, shift = time.time, random.Random(os.getpid()).uniform(-30, 30) * 3600
time.time = lambda: real() + shift
"""
TROUBLE = r"is full|cannot be|may not be written|memory|bad_alloc|unpack artifact|damaged|gone|No access|Full disk"


class Day(NamedTuple):
    kind: str
    name: str
    play: Callable[[Place], None]


class Place:
    """The folder of a day's run, and what fell in it."""

    def __init__(self, folder: Path, origin: str, number: int) -> None:
        self.folder, self.origin, self.chance = folder, origin, random.Random(number)
        self.temporary, self.fell, self.peak = folder.parent / "tmp", list[tuple[str, str]](), 0
        os.environ.update(METAFLOW_USER="benchmark", TMPDIR=str(self.temporary), OMP_NUM_THREADS="1")
        self.flows: list[Flow] = []

    def fall(self, promise: str, what: str) -> None:
        self.fell.append((promise, what))

    def start(self, *arguments: str, before: Iterable[str] = ()) -> Flow:
        flow = Flow(self.folder, *arguments, before=before)
        threading.Thread(target=self._watch, args=(flow.process.pid,), daemon=True).start()
        self.flows.append(flow)
        return flow

    def _watch(self, pid: int) -> None:
        with suppress(psutil.Error):
            top = psutil.Process(pid)
            while top.is_running() and top.status() != psutil.STATUS_ZOMBIE:
                held = 0
                for one in [top, *top.children(recursive=True)]:
                    with suppress(psutil.Error):
                        held += one.memory_info().rss
                self.peak = max(self.peak, held)
                time.sleep(0.25)

    def end(self, flow: Flow) -> int:
        """Wait until it ends; what it said and left is judged."""
        try:
            code = flow.process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(flow.process.pid, signal.SIGKILL)
            code = flow.process.wait()
            self.fall("hangs", f"{' '.join(flow.process.args[2:5])} did not end")  # type: ignore[index]
        left = flow.orphans()
        flow.reader.join(timeout=10)
        if left:
            self.fall("left over", f"{left} processes")
        if "Traceback" in flow.text:
            lines = [line for line in flow.text.splitlines() if re.search(r"\w+(Error|Interrupt)\b", line)]
            self.fall("tracebacks", (lines or ["Traceback"])[-1][-150:])
        return code

    def run(self, *arguments: str, before: Iterable[str] = ()) -> tuple[int, str]:
        flow = self.start(*arguments, before=before)
        code = self.end(flow)
        return code, flow.text

    def resume(self, step: str) -> list[str]:
        return ["resume", step, "--origin-run-id", self.origin]

    def told(self, code: int, said: str) -> bool:
        """Whether it failed in a line that names the trouble; one that went on all the same is no fall."""
        if code and not re.search(TROUBLE, said, re.IGNORECASE):
            self.fall("not told", said.strip().splitlines()[-1][-150:] if said.strip() else f"exit code {code}")
        return bool(code)

    def goes_on(self, flow: Flow | None, step: str) -> None:
        """Resume the run as far as it came, and compare with the undisturbed one."""
        told = re.findall(r"resume(?: \w+)? --origin-run-id \d+", flow.text) if flow else []
        code, said = self.run(*(told[-1].split() if told else self.resume(step)))
        if code and "there is no run" in said:  # it was killed before there was anything of it
            code, said = self.run(*self.resume(step))
        if code:
            self.fall("lost", f"resume ended with {code}: {' / '.join(said.strip().splitlines()[-4:])[-250:]}")
        else:
            self.is_whole()

    def is_whole(self) -> None:
        if look(self.folder) != json.loads((self.folder / "undisturbed.json").read_text()):
            self.fall("lost", "another leaderboard, corpus or report")
        latest = self.folder / "released" / "latest"
        for name in ("model.safetensors", "ct2-int8/model.bin"):
            if (latest / name).read_bytes() != (self.folder / "undisturbed" / name).read_bytes():
                self.fall("lost", f"released/latest has another {name}")
        json.loads((latest / "release.json").read_text())

    def is_clear(self) -> None:
        """Nothing is left in TMPDIR."""
        if left := sorted(path.name for path in self.temporary.iterdir()):
            self.fall("left over", ", ".join(left)[:150])


def look(folder: Path) -> Any:
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=folder, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr[-300:]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _strike(flow: Flow, pattern: str, delay: float) -> None:
    """Wait for a line, or its end, and then so long."""
    until = time.monotonic() + LIMIT
    while flow.process.poll() is None and time.monotonic() < until and not re.search(pattern, flow.text):
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        flow.process.wait(timeout=delay)


def power_lost(step: str) -> Callable[[Place], None]:
    def play(at: Place) -> None:
        flow = at.start(*at.resume(step))
        _strike(flow, "Task is starting", at.chance.uniform(0.0, 14.0))
        with suppress(ProcessLookupError):
            os.killpg(flow.process.pid, signal.SIGKILL)
        flow.process.wait()
        time.sleep(0.5)
        at.goes_on(flow, step)

    return play


def interrupted(pattern: str, latest: float, group: bool) -> Callable[[Place], None]:
    def play(at: Place) -> None:
        flow = at.start(*at.resume("train"))
        _strike(flow, pattern, at.chance.uniform(0.0, latest))
        if flow.process.poll() is None:
            (os.killpg if group else os.kill)(flow.process.pid, signal.SIGINT)
        code = at.end(flow)
        if code not in (0, 130):
            at.fall("not told", f"exit code {code}")
        at.is_clear()
        steps = {one[0]: int(one[1]) for one in re.findall(r"trial (\d+)  step +(\d+)/", flow.text)}
        at.goes_on(flow, "train")
        again = at.flows[-1].text
        for trial, step in steps.items():
            on = re.search(rf"trial {trial}  goes on from step (\d+)", again)
            anew = re.search(rf"trial {trial}  step +1/", again)
            if anew or (on and int(on[1]) < step):
                at.fall("lost", f"trial {trial} had come to step {step}, and went on from {on[1] if on else 0}")

    return play


def full(which: str, kilobytes: int, step: str) -> Callable[[Place], None]:
    """A disk with so many kilobytes left: of the datastore, of temporary files or of releases."""

    def play(at: Place) -> None:
        disk = {"datastore": at.folder, "TMPDIR": at.temporary, "released": at.folder / "released"}[which]
        now = os.statvfs(disk)
        used = (now.f_blocks - now.f_bfree) * now.f_frsize // 1024
        mount("-o", f"remount,size={used + kilobytes}k", str(disk))
        flow = at.start(*at.resume(step))
        code = at.end(flow)
        mount("-o", "remount,size=2g", str(disk))
        if at.told(code, flow.text):
            at.is_clear()
        at.goes_on(flow if code else None, step)

    return play


def read_only(which: str, step: str) -> Callable[[Place], None]:
    def play(at: Place) -> None:
        disk = {"datastore": at.folder, "TMPDIR": at.temporary, "released": at.folder / "released"}[which]
        mount("-o", "remount,ro", str(disk))
        flow = at.start(*at.resume(step))
        code = at.end(flow)
        mount("-o", "remount,rw", str(disk))
        if not at.told(code, flow.text) and which != "TMPDIR":  # for which Python finds another folder
            at.fall("not told", "it ended as if it had written")
        at.goes_on(flow, step)

    return play


def memory(megabytes: int, step: str) -> Callable[[Place], None]:
    def play(at: Place) -> None:
        flow = at.start(*at.resume(step), before=["prlimit", f"--as={megabytes << 20}"])
        code = at.end(flow)
        at.told(code, flow.text)
        at.goes_on(flow if code else None, step)

    return play


def flipped(what: str, step: str) -> Callable[[Place], None]:
    """Bits of one kind of file flipped; then it is told, or was not needed."""

    def play(at: Place) -> None:
        data = at.folder / ".metaflow" / "WhisperFlow" / "data"
        blobs = sorted((path for path in data.glob("??/*") if not path.name.endswith("_meta")),
                       key=lambda path: path.stat().st_size)  # fmt: skip
        chosen = {
            "large blobs": blobs[-6:],
            "small blobs": at.chance.sample(blobs[: len(blobs) // 2], 12),
            "blobs": blobs,
            "records": sorted((at.folder / ".metaflow" / "WhisperFlow" / at.origin).glob("*/*/*data.json")),
        }[what]
        kept = {path: path.read_bytes() for path in chosen}
        for path, content in kept.items():
            changed = bytearray(content)
            for _ in range(max(1, len(content) // 5000)):
                changed[at.chance.randrange(len(changed))] ^= 1 << at.chance.randrange(8)
            path.write_bytes(changed)
        before = os.readlink(at.folder / "released" / "latest")
        flow = at.start(*at.resume(step))
        code = at.end(flow)
        if at.told(code, flow.text) and os.readlink(at.folder / "released" / "latest") != before:
            at.fall("lost", "released, though damaged")
        if code:
            for path, content in kept.items():
                path.write_bytes(content)
        at.goes_on(flow if code and "run-id" in flow.text else None, step)

    return play


def clock(step: str) -> Callable[[Place], None]:
    """Every process has another time, by up to thirty hours."""

    def play(at: Place) -> None:
        (at.temporary / "clock").mkdir()
        (at.temporary / "clock" / "sitecustomize.py").write_text(SHIFT)
        os.environ["PYTHONPATH"] = str(at.temporary / "clock")
        flow = at.start(*at.resume(step))
        if code := at.end(flow):
            at.fall("not told", f"exit code {code}: {flow.text.strip().splitlines()[-1][-150:]}")
        del os.environ["PYTHONPATH"]
        at.goes_on(flow, step)

    return play


def two_runs(step: str) -> Callable[[Place], None]:
    """Both from one run. From its trials on, the one that took a trial up last goes on with it; the other says so."""

    def play(at: Place) -> None:
        both = [at.start(*at.resume(step)) for _ in range(2)]
        failed = [flow for flow in both if at.end(flow)]
        for flow in failed:
            if step != "train" or "continues this trial" not in flow.text:
                at.fall("not told", f"one of them ended: {flow.text.strip().splitlines()[-1][-150:]}")
        if len(failed) == 2:
            at.goes_on(failed[0], step)
        at.is_whole()
        at.is_clear()
        there = [path.name for path in (at.folder / "released").iterdir() if path.name != "latest"]
        if len(there) != 1 + max(1, 2 - len(failed)):
            at.fall("lost", f"of 3 releases there are {', '.join(there)}")

    return play


def beside_each_other(program: str, what: str) -> Callable[[Place], None]:
    """Two processes of one program on one place."""

    def play(at: Place) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(FLOW.parents[1] / one) for one in ("flows", "space"))}
        command = [sys.executable, "-c", program]
        both = [
            subprocess.Popen([*command, number], cwd=at.folder, env=env, stderr=subprocess.PIPE, text=True)
            for number in "01"
        ]
        for one in both:
            _, said = one.communicate(timeout=LIMIT)
            if one.returncode:
                at.fall("lost", f"{what}: {said.strip().splitlines()[-1][-150:]}")

    return play


RELEASES = """
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
LESSONS = """
import csv, sys, threading
from pathlib import Path
import numpy, teaching
teaching.SPARE = 0
lessons, kept = teaching.Lessons(Path("taught")), []
for turn in range(40):
    kept.append(lessons.keep(numpy.zeros(1000, numpy.float32), f"ett {sys.argv[1]}", "ja"))
    if turn % 4 == 3:
        assert lessons.take_back(kept.pop())
rows = [row[0] for row in csv.reader(Path("taught/train/metadata.csv").open())]
assert set(kept) <= set(rows) and all(Path("taught/train", name).stat().st_size == 2044 for name in kept)
"""


PUSH = """
import sys
from pathlib import Path
from asr import InputError
from asr.release import hub
from asr.settings import Release
try:
    hub.push_release(Path(sys.argv[1]), Release(repo_id="me/svenska"), lambda there: "")
except InputError:
    pass
"""


def two_pushes(at: Place) -> None:
    """Two releases to one repository of the Hub: it holds one of them whole, in a commit on top of the other."""
    import faults
    from servers.writable_hub import User, WritableHub

    with WritableHub(at.temporary / "hub", {faults.TOKEN: User("me")}) as server:
        ready = [faults.release(at.temporary, number) for number in ("17", "18")]
        env = {**os.environ, **server.env(at.temporary / "home", faults.TOKEN), "PYTHONPATH": str(FLOW.parent)}
        both = [subprocess.Popen([sys.executable, "-c", PUSH, str(one)], env=env, stderr=subprocess.PIPE, text=True)
                for one in ready]  # fmt: skip
        for one in both:
            _, said = one.communicate(timeout=LIMIT)
            if one.returncode:
                at.fall("tracebacks", said.strip().splitlines()[-1][-150:])
        there = server.repo(faults.REPO).files()
        there.pop(".gitattributes", None)
        if there not in [faults.files(one) for one in ready]:
            at.fall("lost", "the repository holds neither of them whole")


DAYS = [
    *(Day("power lost", f"{step} {number}", power_lost(step))
      for number in range(4) for step in ("preprocess", "train", "train", "evaluate", "push")),
    *(Day("Ctrl-C", f"{'group' if group else 'alone'} at {pattern}", interrupted(pattern, latest, group))
      for group in (True, False)
      for pattern, latest in [("/train.*Task is starting", 1.0), ("/train.*Task is starting", 5.0),
                              ("trial 0  step +1/", 0.5), ("trial 0  step +1/", 8.0), ("/evaluate.*starting", 3.0)]),
    *(Day("full disk", f"{which} {kilobytes} kB {step}", full(which, kilobytes, step))
      for which, sizes, steps in [("datastore", (8, 60, 400), ("preprocess", "train", "evaluate")),
                                  ("TMPDIR", (4, 200), ("preprocess", "train", "evaluate", "push")),
                                  ("released", (8, 1000), ("push",))]
      for kilobytes in sizes for step in steps),
    *(Day("read-only", f"{which} {step}", read_only(which, step))
      for which, step in [("datastore", "train"), ("datastore", "push"), ("released", "push"), ("TMPDIR", "evaluate")]),
    *(Day("memory ends", f"{megabytes} MB {step}", memory(megabytes, step))
      for megabytes, step in [(150, "train"), (600, "preprocess"), (900, "train"), (1500, "train"), (2000, "evaluate"),
                              (600, "push")]),
    *(Day("bits flipped", f"{what} {step}", flipped(what, step))
      for what, step in [("large blobs", "train"), ("large blobs", "push"), ("large blobs", "evaluate"),
                         ("small blobs", "select"), ("blobs", "evaluate"), ("records", "train")]),
    *(Day("clock", step, clock(step)) for step in ("preprocess", "train", "push")),
    *(Day("two at once", f"runs from {step}", two_runs(step)) for step in ("preprocess", "train", "push")),
    *(Day("two at once", f"pushes to one repository, {turn}", two_pushes) for turn in ("once", "again")),
    Day("two at once", "releases in one folder", beside_each_other(RELEASES, "release")),
    Day("two at once", "Spaces on one folder", beside_each_other(LESSONS, "clip")),
]  # fmt: skip
