"""What the flow costs beside its work, here and in a bucket: seconds, and bytes between a trial and the datastore.

    python tests/benchmarks/cloud.py [--settings sample|tiny] [--faults SHARE] [--latency SECONDS]

The profile runs once with its datastore on this disk and once in a bucket: an emulator behind a counting proxy, which
answers each request `--latency` seconds late. 0.03 is assumed of a bucket in the machine's own region, not measured.
Once is enough: the bars are judged in each run by itself, and the two are not compared. The emulator is slower than
Google, one request at a time, and takes its time from the same cores: what the bucket costs here is an upper bound.

*Wall* goes from the scheduler's "Task is starting." of a step's first task to "Task finished" of its last; the Client's
`finished_at` would leave out what a task does after its artifacts are written. *Work* is what the heavy call takes
(`shards.build_part`, `trial.fine_tune`, `evaluation.build_and_evaluate`; `sitecustomize` measures it) less the
time in it that goes to the datastore and the live card. *Own* is the rest: scheduling, processes, imports, artifacts,
cards, the datastore, and the steps without a heavy call, whole. Where tasks of a step run side by side, its
wall is shared out as their seconds are. The columns after it tell what was taken off the heavy calls, tasks together.

A run whose training takes an hour has as many own seconds as the one measured, but for checkpoints, which are scaled to
the hour, and live cards, scaled likewise up to the looks that a trial takes at itself, about sixty however long it is.

A trial's traffic: all bytes that pass from the first trial's start to the last one's end, the scheduler's too, over the
trials. The ratio is to the float32 model plus one read of the shards that training reads. Bodies count, not headers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FLOW = ROOT / "flows" / "whisper_flow.py"
sys.path.insert(0, str(ROOT / "tests"))

import machine  # noqa: E402
from servers.bucket import Bucket  # noqa: E402
from servers.proxy import Passed, Proxy  # noqa: E402

HOUR = 3600
KINDS = ("store", "checkpoints", "first card", "cards")  # what a heavy call's seconds are told apart into, beside work
OWN_BAR, TRAFFIC_BAR = 5.0, 3.0  # percent of an hour; times the model and one read of the shards
PROFILES = {
    "sample": "",  # all defaults
    "tiny": """
name = "tiny"
[corpus]
limit_clips = 20
[model]
width = 32
heads = 2
encoder_layers = 1
vocabulary = 300
[training]
steps = 80
[search]
trials = 2
[release]
max_served_gap = 1000.0
""",
}
WATCH = """
import importlib.machinery, json, os, sys, time
from collections import Counter

CALLS = {
    "asr.corpus.shards": {"build_part": "heavy"},
    "asr.training.trial": {"fine_tune": "heavy"},
    "asr.release.evaluation": {"build_and_evaluate": "heavy"},
    "asr.cards.page": {"Live.__call__": "cards"},
    "asr.store": {
        **{f"Store.{name}": "store" for name in ("put", "fetch", "has", "get_object", "recall_all", "load_file")},
        **{f"Store.{name}": "checkpoints" for name in ("remember", "save_files")},
    },
}
LATE = ("torch", "transformers", "datasets", "ctranslate2")  # what heavy calls may import themselves is no work
DRAWN = 0.01  # seconds: a call that is too soon after the last drawing returns at once
spent, doing = Counter(), []

def timed(call, kind):
    def timed_call(*given, **named):
        if kind == "heavy" and call.__module__ != "asr.corpus.shards":
            [__import__(name) for name in LATE]
        counts = doing == ([] if kind == "heavy" else ["heavy"])
        doing.append(kind)
        began = time.perf_counter()
        try:
            return call(*given, **named)
        finally:
            doing.pop()
            took = time.perf_counter() - began
            if counts and kind == "cards":
                spent["looks"] += 1
                spent["drawings"] += took > DRAWN
            if counts:  # the first card imports what draws; that is done once, however long the trial
                spent["first card" if kind == "cards" and not spent["first card"] else kind] += took
            if kind == "heavy":
                with open(os.path.join(os.environ["WATCHED"], str(os.getpid())), "w") as file:
                    json.dump(spent, file)
    return timed_call

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in CALLS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            for called, kind in CALLS[name].items():
                *of, attribute = called.split(".")
                place = getattr(module, of[0]) if of else module
                setattr(place, attribute, timed(getattr(place, attribute), kind))

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder)
"""
LOOK = """
import json
from metaflow import Flow, namespace
namespace(None)
run = Flow("WhisperFlow").latest_run
end = run["end"].task.data
end.leaderboard.drop(columns="seconds").to_pickle("board.pickle")
print(json.dumps({
    "model": 4 * end.report["parameters"],
    "shards": sum(one["size"] for one in run["collect"].task.data.shards if one["split"] in ("train", "validation")),
    "trials": len(end.leaderboard),
}))
"""
TASK = re.compile(r"^(\S+ \S+) \[\d+/(\w+)/(\d+) \(pid (\d+)\)\] Task (is starting|finished successfully)\.")


@dataclass
class Task:
    """Seconds of one task; those that its heavy call spent, by kind, stand in `spent`."""

    began: float  # since the epoch
    ended: float
    spent: dict[str, float]

    @property
    def heavy(self) -> float:
        return self.spent.get("heavy", 0.0)

    @property
    def grows(self) -> float:
        return self.spent.get("cards", 0.0) + self.spent.get("checkpoints", 0.0)

    @property
    def work(self) -> float:
        return self.heavy - sum(self.spent.get(kind, 0.0) for kind in KINDS)

    @property
    def growth(self) -> float:
        """What `grows` would be in an hour of training."""
        longer = HOUR / self.heavy
        drawings = max(1.0, self.spent.get("drawings", 0.0) - 1)
        most = self.spent.get("looks", 0.0) / drawings
        return self.spent.get("checkpoints", 0.0) * longer + self.spent.get("cards", 0.0) * min(longer, most)


@dataclass(frozen=True)
class Step:
    name: str
    tasks: list[Task]

    @property
    def began(self) -> float:
        return min(task.began for task in self.tasks)

    @property
    def ended(self) -> float:
        return max(task.ended for task in self.tasks)

    def shared(self, seconds: str) -> float:
        """The part of the step's wall that its tasks spend on work, or on what grows."""
        busy = sum(task.ended - task.began for task in self.tasks)
        return (self.ended - self.began) * sum(getattr(task, seconds) for task in self.tasks) / busy


@dataclass(frozen=True)
class Ran:
    """A run that ended well."""

    seconds: float  # of the command
    steps: list[Step]
    told: dict[str, Any]  # by the Client
    board: Any

    @property
    def own(self) -> float:
        return self.seconds - sum(step.shared("work") for step in self.steps)

    @property
    def percent_of_an_hour(self) -> float:
        """Own seconds of a run that trains for an hour."""
        return 100 * (self.fixed + self.growth) / HOUR

    @property
    def fixed(self) -> float:
        """Own seconds that do not depend on how long training takes."""
        return self.own - self.train.shared("grows")

    @property
    def growth(self) -> float:
        """Those in an hour of training that do; trials go side by side."""
        return sum(task.growth for task in self.train.tasks) / len(self.train.tasks)

    @property
    def train(self) -> Step:
        return next(step for step in self.steps if step.name == "train")


def run(profile: str, place: Path, *options: str, env: dict[str, str]) -> Ran:
    """The flow in a folder of its own; ends the benchmark where the run fails."""
    import pandas as pd

    (place / "watch").mkdir(parents=True)
    (place / "watch" / "sitecustomize.py").write_text(WATCH)
    (place / "profile.toml").write_text(profile)
    path = os.pathsep.join(filter(None, [str(place / "watch"), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, "WATCHED": str(place / "watch"), **env}
    command = [sys.executable, str(FLOW), "--config", "profile", "profile.toml", *options, "run"]
    began = time.perf_counter()
    ran = subprocess.run(command, cwd=place, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.perf_counter() - began
    if ran.returncode:
        sys.exit(ran.stdout)
    look = subprocess.run([sys.executable, "-c", LOOK], cwd=place, env=env, text=True, capture_output=True)
    if look.returncode:
        sys.exit(look.stderr)
    board = pd.read_pickle(place / "board.pickle")
    return Ran(seconds, _steps(ran.stdout, place / "watch"), json.loads(look.stdout.splitlines()[-1]), board)


def _steps(log: str, watched: Path) -> list[Step]:
    """The steps by the scheduler's lines. A task that was tried again counts from its first try to its last."""
    tasks: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    for line in log.splitlines():
        if found := TASK.match(line):
            at, step, number, pid, _ = found.groups()
            now = datetime.fromisoformat(at).timestamp()  # the scheduler writes local time, as `datetime` reads it
            task = tasks[step].setdefault(number, Task(now, now, {}))
            task.ended = now
            if (told := watched / pid).exists():
                task.spent = json.loads(told.read_text())
    return [Step(name, list(of.values())) for name, of in tasks.items()]


def passed(proxy: Proxy, step: Step) -> list[Passed]:
    """What passed while a step ran."""
    return [one for one in proxy.passed if step.began <= one.began < step.ended]


def table(ran: Ran, proxy: Proxy | None) -> None:
    heads = ["step", "tasks", "wall", "work", "own", *KINDS, *(("requests", "up", "down") if proxy else ())]
    print(f"{heads[0]:10s}", *(f"{head:>11s}" for head in heads[1:]))
    rows: list[tuple[str, list[float]]] = []
    for step in ran.steps:
        wall, work = step.ended - step.began, step.shared("work")
        inside = [sum(task.spent.get(kind, 0.0) for task in step.tasks) for kind in KINDS]
        requests = passed(proxy, step) if proxy else []
        moved = [len(requests), sum(one.up for one in requests) / 1e6, sum(one.down for one in requests) / 1e6]
        rows.append((step.name, [len(step.tasks), wall, work, wall - work, *inside, *(moved if proxy else [])]))
    sums = [sum(column) for column in zip(*(figures for _, figures in rows), strict=True)]
    between = ran.seconds - sums[1]  # before, between and after the steps
    rows += [("between", [0, between, 0.0, between]), ("all", [sums[0], ran.seconds, sums[2], ran.own, *sums[4:]])]
    for name, figures in rows:
        print(f"{name:10s}", *(f"{one:11d}" if isinstance(one, int) else f"{one:11.2f}" for one in figures))
    print(
        f"a run that trains for an hour: {ran.fixed:.0f} own seconds, and {ran.growth:.0f} of checkpoints and cards",
        end="",
    )
    print(f" that come with time: {ran.percent_of_an_hour:.2f} %\n", flush=True)


def traffic(ran: Ran, proxy: Proxy) -> dict[str, float]:
    """Bytes a trial, and what of them are checkpoints."""
    requests = passed(proxy, ran.train)
    checkpoints = [one for one in requests if "/named/trials/" in one.name]
    told = {"all": requests, "checkpoints": checkpoints}
    return {name: sum(one.up + one.down for one in of) / ran.told["trials"] for name, of in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", choices=PROFILES, default="sample")
    parser.add_argument("--faults", type=float, default=0.0, help="share of the bucket's requests that fail")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds")
    asked = parser.parse_args()
    if all(os.environ.get(name) in (None, "", "root") for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")):
        os.environ["METAFLOW_USER"] = "benchmark"  # the Client wants one as the flow does
    profile = PROFILES[asked.settings]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here = run(profile, scratch / "here", env={})
        print("on this disk, seconds")
        table(here, None)
        bucket = stack.enter_context(Bucket(scratch, "artifacts"))
        proxy = stack.enter_context(Proxy(bucket.endpoint, asked.faults, latency=asked.latency))
        root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
        there = run(profile, scratch / "there", "--datastore", "gs", env={**bucket.settings, **proxy.settings, **root})
        faults = f", faults {dict(proxy.faults)}" if asked.faults else ""
        print(f"in a bucket {1000 * asked.latency:.0f} ms away{faults}, seconds and MB")
        table(there, proxy)
        moved, model, shards = traffic(there, proxy), there.told["model"], there.told["shards"]
    ratio = moved["all"] / (model + shards)
    print(f"a trial moves {moved['all'] / 1e6:.1f} MB, of which {moved['checkpoints'] / 1e6:.1f} are checkpoints")
    print(f"the model is {model / 1e6:.1f} MB, one read of the shards {shards / 1e6:.1f} MB: {ratio:.2f} times both")
    told = {
        "overhead_percent_of_an_hour": round(there.percent_of_an_hour, 2),
        "overhead_percent_of_an_hour_local": round(here.percent_of_an_hour, 2),
        "checkpoints_and_cards_percent": round(100 * there.growth / HOUR, 2),
        "traffic_ratio": round(ratio, 2),
        "traffic_ratio_without_checkpoints": round((moved["all"] - moved["checkpoints"]) / (model + shards), 2),
        "checkpoints_in_models": round(moved["checkpoints"] / model, 1),
        "seconds_local": round(here.seconds, 1),
        "seconds_gs": round(there.seconds, 1),
        "own_seconds_local": round(here.own, 1),
        "own_seconds_gs": round(there.own, 1),
        "requests": len(proxy.passed),
        "faults": proxy.faults.total(),
        "same_leaderboard": here.board.equals(there.board),
        "bars_met": there.percent_of_an_hour < OWN_BAR and ratio < TRAFFIC_BAR,
    }
    machine.print_result(told)


if __name__ == "__main__":
    main()
