"""The flow's overhead on a local disk and in a bucket: seconds, and bytes between a trial and the datastore.

    python tests/benchmarks/cloud.py [--settings sample|tiny] [--faults SHARE] [--latency SECONDS]

The profile runs once with its datastore on this disk and once in a bucket: an emulator behind a counting proxy, which
answers each request `--latency` seconds late. 0.03 is an assumption for a bucket in the machine's own region. Once is
enough: each run is held to the bars by itself, and the two are not compared. The emulator is slower than Google, serves
one request at a time and uses the same cores, so the cost of the bucket here is an upper bound.

*Wall* goes from the scheduler's "Task is starting." of a step's first task to "Task finished" of its last; the Client's
`finished_at` would leave out what a task does after its artifacts are written. *Work* is what the heavy call takes
(`shards.build_part`, `trial.fine_tune`, `evaluation.build_and_evaluate`; `sitecustomize` measures it) less the
time in it that the datastore and the live card take. *Own* is the rest: scheduling, processes, imports, artifacts,
cards, the datastore, and all of the steps without a heavy call. Where tasks of a step run side by side, its wall is
divided in proportion to their seconds. The columns after it are what was subtracted from the heavy calls of all tasks.

A run whose training takes an hour has as many own seconds as the measured one, except for checkpoints, which are scaled
to the hour, and live cards, which are scaled likewise, but at most to the number of times that a trial calls its card,
about sixty for any length.

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
from servers.proxy import Exchange, Proxy  # noqa: E402

HOUR = 3600
KINDS = ("store", "checkpoints", "first card", "cards")  # the parts of a heavy call's seconds other than work
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
MEASURE_CALLS = """
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
LATE = ("torch", "transformers", "datasets", "ctranslate2")  # imports of heavy calls are not their work
DRAW_SECONDS = 0.01  # a call soon after the last one returns without drawing
spent, active = Counter(), []

def timed(call, kind):
    def timed_call(*args, **kwargs):
        if kind == "heavy" and call.__module__ != "asr.corpus.shards":
            [__import__(name) for name in LATE]
        counts = active == ([] if kind == "heavy" else ["heavy"])
        active.append(kind)
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            active.pop()
            seconds = time.perf_counter() - began
            if counts and kind == "cards":
                spent["calls"] += 1
                spent["draws"] += seconds > DRAW_SECONDS
            if counts:  # the first card imports what draws; that is done once, however long the trial
                spent["first card" if kind == "cards" and not spent["first card"] else kind] += seconds
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
                *classes, attribute = called.split(".")
                owner = getattr(module, classes[0]) if classes else module
                setattr(owner, attribute, timed(getattr(owner, attribute), kind))

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder)
"""
READ_RUN = """
import json
from metaflow import Flow, namespace
namespace(None)
run = Flow("WhisperFlow").latest_run
end = run["end"].task.data
end.leaderboard.drop(columns="seconds").to_pickle("board.pickle")
shards = run["collect"].task.data.shards
print(json.dumps({
    "model": 4 * end.report["parameters"],
    "shards": sum(shard["size"] for shard in shards if shard["split"] in ("train", "validation")),
    "trials": len(end.leaderboard),
}))
"""
TASK = re.compile(r"^(\S+ \S+) \[\d+/(\w+)/(\d+) \(pid (\d+)\)\] Task (is starting|finished successfully)\.")


@dataclass
class Task:
    """Seconds of one task; `spent` holds those of its heavy call, by kind."""

    began: float  # since the epoch
    ended: float
    spent: dict[str, float]

    @property
    def heavy(self) -> float:
        return self.spent.get("heavy", 0.0)

    @property
    def time_dependent(self) -> float:
        return self.spent.get("cards", 0.0) + self.spent.get("checkpoints", 0.0)

    @property
    def work(self) -> float:
        return self.heavy - sum(self.spent.get(kind, 0.0) for kind in KINDS)

    @property
    def growth(self) -> float:
        """`time_dependent` in an hour of training."""
        ratio = HOUR / self.heavy
        draws = max(1.0, self.spent.get("draws", 0.0) - 1)
        calls_per_draw = self.spent.get("calls", 0.0) / draws
        return self.spent.get("checkpoints", 0.0) * ratio + self.spent.get("cards", 0.0) * min(ratio, calls_per_draw)


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

    def wall_share(self, seconds: str) -> float:
        """The part of the step's wall that its tasks spend on `work` or `time_dependent`."""
        busy = sum(task.ended - task.began for task in self.tasks)
        return (self.ended - self.began) * sum(getattr(task, seconds) for task in self.tasks) / busy


@dataclass(frozen=True)
class FlowRun:
    """A run that succeeded."""

    seconds: float  # of the command
    steps: list[Step]
    client_data: dict[str, Any]  # read with the Client
    leaderboard: Any

    @property
    def own(self) -> float:
        return self.seconds - sum(step.wall_share("work") for step in self.steps)

    @property
    def percent_of_an_hour(self) -> float:
        """Own seconds of a run that trains for an hour."""
        return 100 * (self.fixed + self.growth) / HOUR

    @property
    def fixed(self) -> float:
        """Own seconds that do not depend on how long training takes."""
        return self.own - self.train.wall_share("time_dependent")

    @property
    def growth(self) -> float:
        """Own seconds in an hour of training that do; trials run side by side."""
        return sum(task.growth for task in self.train.tasks) / len(self.train.tasks)

    @property
    def train(self) -> Step:
        return next(step for step in self.steps if step.name == "train")


def run(profile: str, folder: Path, *options: str, env: dict[str, str]) -> FlowRun:
    """Run the flow in its own folder; ends the benchmark if the run fails."""
    import pandas as pd

    (folder / "watch").mkdir(parents=True)
    (folder / "watch" / "sitecustomize.py").write_text(MEASURE_CALLS)
    (folder / "profile.toml").write_text(profile)
    path = os.pathsep.join(filter(None, [str(folder / "watch"), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, "WATCHED": str(folder / "watch"), **env}
    command = [sys.executable, str(FLOW), "--config", "profile", "profile.toml", *options, "run"]
    began = time.perf_counter()
    process = subprocess.run(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(process.stdout)
    reader = subprocess.run([sys.executable, "-c", READ_RUN], cwd=folder, env=env, text=True, capture_output=True)
    if reader.returncode:
        sys.exit(reader.stderr)
    leaderboard = pd.read_pickle(folder / "board.pickle")
    return FlowRun(
        seconds, _steps(process.stdout, folder / "watch"), json.loads(reader.stdout.splitlines()[-1]), leaderboard
    )


def _steps(log: str, folder: Path) -> list[Step]:
    """The steps, from the scheduler's lines. A retried task counts from its first attempt to its last."""
    tasks: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    for line in log.splitlines():
        if match := TASK.match(line):
            at, step, number, pid, _ = match.groups()
            now = datetime.fromisoformat(at).timestamp()  # the scheduler writes local time, as `datetime` reads it
            task = tasks[step].setdefault(number, Task(now, now, {}))
            task.ended = now
            if (file := folder / pid).exists():
                task.spent = json.loads(file.read_text())
    return [Step(name, list(step_tasks.values())) for name, step_tasks in tasks.items()]


def requests_in(proxy: Proxy, step: Step) -> list[Exchange]:
    """The requests during a step."""
    return [request for request in proxy.exchanges if step.began <= request.began < step.ended]


def print_table(flow_run: FlowRun, proxy: Proxy | None) -> None:
    heads = ["step", "tasks", "wall", "work", "own", *KINDS, *(("requests", "up", "down") if proxy else ())]
    print(f"{heads[0]:10s}", *(f"{head:>11s}" for head in heads[1:]))
    rows: list[tuple[str, list[float]]] = []
    for step in flow_run.steps:
        wall, work = step.ended - step.began, step.wall_share("work")
        seconds = [sum(task.spent.get(kind, 0.0) for task in step.tasks) for kind in KINDS]
        requests = requests_in(proxy, step) if proxy else []
        traffic_figures = [
            len(requests),
            sum(request.up for request in requests) / 1e6,
            sum(request.down for request in requests) / 1e6,
        ]
        rows.append(
            (step.name, [len(step.tasks), wall, work, wall - work, *seconds, *(traffic_figures if proxy else [])])
        )
    sums = [sum(column) for column in zip(*(figures for _, figures in rows), strict=True)]
    between = flow_run.seconds - sums[1]  # before, between and after the steps
    rows += [
        ("between", [0, between, 0.0, between]),
        ("all", [sums[0], flow_run.seconds, sums[2], flow_run.own, *sums[4:]]),
    ]
    for name, figures in rows:
        print(f"{name:10s}", *(f"{figure:11d}" if isinstance(figure, int) else f"{figure:11.2f}" for figure in figures))
    print(
        f"a run that trains for an hour: {flow_run.fixed:.0f} own seconds, and {flow_run.growth:.0f} of checkpoints "
        f"and cards that come with time: {flow_run.percent_of_an_hour:.2f} %\n",
        flush=True,
    )


def traffic(flow_run: FlowRun, proxy: Proxy) -> dict[str, float]:
    """Bytes per trial: all, and those of checkpoints."""
    requests = requests_in(proxy, flow_run.train)
    checkpoints = [request for request in requests if "/named/trials/" in request.name]
    kinds = {"all": requests, "checkpoints": checkpoints}
    return {
        name: sum(request.up + request.down for request in chosen) / flow_run.client_data["trials"]
        for name, chosen in kinds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", choices=PROFILES, default="sample")
    parser.add_argument("--faults", type=float, default=0.0, help="share of the bucket's requests that fail")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds")
    arguments = parser.parse_args()
    if all(os.environ.get(name) in (None, "", "root") for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")):
        os.environ["METAFLOW_USER"] = "benchmark"  # the Client needs a user name, like the flow
    profile = PROFILES[arguments.settings]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = run(profile, scratch / "here", env={})
        print("on this disk, seconds")
        print_table(local, None)
        bucket = stack.enter_context(Bucket(scratch, "artifacts"))
        proxy = stack.enter_context(Proxy(bucket.endpoint, arguments.faults, latency=arguments.latency))
        root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
        cloud = run(profile, scratch / "there", "--datastore", "gs", env={**bucket.settings, **proxy.settings, **root})
        faults = f", faults {dict(proxy.faults)}" if arguments.faults else ""
        print(f"in a bucket {1000 * arguments.latency:.0f} ms away{faults}, seconds and MB")
        print_table(cloud, proxy)
        bytes_moved, model, shards = traffic(cloud, proxy), cloud.client_data["model"], cloud.client_data["shards"]
    ratio = bytes_moved["all"] / (model + shards)
    megabytes = {name: moved / 1e6 for name, moved in bytes_moved.items()}
    print(f"a trial moves {megabytes['all']:.1f} MB, of which {megabytes['checkpoints']:.1f} are checkpoints")
    print(f"the model is {model / 1e6:.1f} MB, one read of the shards {shards / 1e6:.1f} MB: {ratio:.2f} times both")
    result = {
        "overhead_percent_of_an_hour": round(cloud.percent_of_an_hour, 2),
        "overhead_percent_of_an_hour_local": round(local.percent_of_an_hour, 2),
        "checkpoints_and_cards_percent": round(100 * cloud.growth / HOUR, 2),
        "traffic_ratio": round(ratio, 2),
        "traffic_ratio_without_checkpoints": round(
            (bytes_moved["all"] - bytes_moved["checkpoints"]) / (model + shards), 2
        ),
        "checkpoints_in_models": round(bytes_moved["checkpoints"] / model, 1),
        "seconds_local": round(local.seconds, 1),
        "seconds_gs": round(cloud.seconds, 1),
        "own_seconds_local": round(local.own, 1),
        "own_seconds_gs": round(cloud.own, 1),
        "requests": len(proxy.exchanges),
        "faults": proxy.faults.total(),
        "same_leaderboard": local.leaderboard.equals(cloud.leaderboard),
        "bars_met": cloud.percent_of_an_hour < OWN_BAR and ratio < TRAFFIC_BAR,
    }
    machine.print_result(result)


if __name__ == "__main__":
    main()
