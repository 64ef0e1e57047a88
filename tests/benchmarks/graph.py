"""What the graph itself costs as it grows: the scheduler's time and memory for each task, a Client's for reading them.

    python tests/benchmarks/graph.py [TASKS ...] [--trials TRIALS ...] [--service]

A corpus of as many clips of a second as there are to be TASKS (10, 200 and 2,000) is cut into parts of one clip, so
that `preprocess` has a task each, and `collect` joins them; there the run is ended. A search of so many TRIALS (10 and
200) of two steps each is run to its end. With --service their metadata go over HTTP to the tests' metadata service, and
requests are counted, else into files.

Each task would begin with two seconds of imports, which are not what is measured. So tasks, and the processes that draw
their cards, are forked from one that has them; the scheduler is a process of its own, as it always is.
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
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parents[2]
FLOW = ROOT / "flows" / "whisper_flow.py"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "flows")]

import machine  # noqa: E402
from interrupted import MODEL  # noqa: E402
from servers.metadata import Metadata  # noqa: E402

RATE = 8_000
PROFILE = """
name = "graph"
[corpus]
source = "folder"
path = "speech"
shard_clips = 1
"""
SEARCH = """
name = "search"
[corpus]
limit_clips = 4
{model}
[training]
steps = 2
batch_size = 2
evaluations = 1
[search]
trials = {trials}
sampler = "random"
learning_rate = {{ low = 1e-4, high = 1e-3, log = true }}
[release]
max_served_gap = 1000.0
"""
# What takes the place of Python in the scheduler: it hands a task's arguments, environment and streams on, and waits.
CLIENT = """#!/usr/bin/env -S {python} -SEs
import json, os, socket, sys
if {flow!r} not in sys.argv:  # a decoder
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as there:
    there.connect({address!r})
    told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(there, [len(told).to_bytes(4, "big")], [1, 2])
    there.sendall(told)
    sys.exit(int(there.recv(16) or b"1"))
"""
# What it hands them to: the flow, imported once and forked for each.
SERVER = """
import json, os, runpy, signal, socket, sys, traceback
address, python, flow, training = sys.argv[1:]
sys.argv = [flow]
made = runpy.run_path(flow, run_name="flow")
import asr.corpus.manifest, asr.corpus.shards, asr.store, pandas, pyarrow.parquet, soundfile
if training:
    import asr.training.models, asr.training.estimate, asr.training.trial, vl_convert
from metaflow.plugins.cards import card_creator

def serve(to):
    head, streams, *_ = socket.recv_fds(to, 4, 2)
    size, told = int.from_bytes(head, "big"), b""
    while len(told) < size:
        told += to.recv(size - len(told))
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        to.sendall(str(os.waitstatus_to_exitcode(status) & 255).encode())
        os._exit(0)
    arguments, folder, environment = json.loads(told)
    os.dup2(streams[0], 1), os.dup2(streams[1], 2)
    os.chdir(folder)
    os.environ.clear(), os.environ.update(environment)
    sys.argv, sys.executable, code = [word for word in arguments if word != "-u"], python, 0
    try:
        made["ends"].main(made["WhisperFlow"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

with socket.socket(socket.AF_UNIX) as here:
    here.bind(address)
    here.listen(100)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        to, _ = here.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            here.close()
            serve(to)
        to.close()
"""
SCHEDULER = """
import runpy, sys
sys.executable, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Reads the run as anybody would; of each part its seconds, and the requests that it made.
READ = """
import json, sys, time
import requests
from metaflow import Run, namespace
path, step, artifact, last, *names = sys.argv[1:]
sent, send = [], requests.Session.send
requests.Session.send = lambda *given, **named: sent.append(1) or send(*given, **named)
namespace(None)
told = {}

def timed(name, read):
    sent.clear()
    began = time.perf_counter()
    found = read()
    told[name] = [time.perf_counter() - began, len(sent)]
    return found

run = timed("run", lambda: Run(path))
timed("steps", lambda: list(run))
tasks = timed("list", lambda: list(run[step]))
timed("read", lambda: [getattr(task.data, artifact) for task in tasks])
held = timed("last", lambda: run[last].task.data)
for name in names:
    timed(name, lambda: getattr(held, name))
print(json.dumps([len(tasks), told]))
"""
PREPROCESS = ("preprocess", "packed", "collect", "shards")
TRAIN = ("train", "outcome", "end", "shards", "leaderboard_rows", "report")


def lay_out(folder: Path, clips: int) -> None:
    """A corpus of so many clips, of which no two sound the same: noise."""
    noise = np.random.default_rng(0)
    for split, count in {"validation": 1, "test": 1, "train": clips - 2}.items():
        (folder / split).mkdir(parents=True)
        lines = ["file_name,transcription"]
        for number in range(count):
            soundfile.write(folder / split / f"{number}.wav", 0.1 * noise.standard_normal(RATE), RATE, subtype="PCM_16")
            lines.append(f"{number}.wav,Hej på dig")
        (folder / split / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(tasks: int, service: bool, search: bool) -> dict[str, float]:
    """Seconds and megabytes of one run's graph, and of reading it."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        place = Path(scratch)
        if not search:
            lay_out(place / "speech", tasks)
        profile = SEARCH.format(trials=tasks, model=MODEL) if search else PROFILE
        (place / "graph.toml").write_text(profile, encoding="utf-8")
        env = {**os.environ, "METAFLOW_USER": "benchmark", "HF_HUB_OFFLINE": "1"}
        metadata = stack.enter_context(Metadata()) if service else None
        env |= metadata.settings if metadata else {}
        address, client = str(place / "socket"), place / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=address, flow=str(FLOW)), encoding="utf-8")
        client.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, address, str(client), str(FLOW), "training" if search else ""],
            cwd=place, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, 9)
        assert server.stdout and server.stdout.readline() == "ready\n"
        run_id, told = _schedule(place, client, env, search)
        if metadata:
            told["run_requests"] = len(metadata.requests)
        read = subprocess.run(
            [sys.executable, "-c", READ, f"WhisperFlow/{run_id}", *(TRAIN if search else PREPROCESS)],
            cwd=place, env=env, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        count, parts = json.loads(read.stdout.splitlines()[-1])
        assert count == tasks
        for name, (seconds, requests) in parts.items():
            told[f"client_{name}_seconds"] = seconds
            if metadata:
                told[f"client_{name}_requests"] = requests
        return told


def _schedule(place: Path, client: Path, env: dict[str, str], search: bool) -> tuple[str, dict[str, float]]:
    """Run the flow, up to the end of `collect` where it is no search; the run, and what the scheduler and a join took.

    The scheduler's figures are those when its last task started.
    """
    words = [str(client), str(FLOW), "--config", "profile", "graph.toml", "run"]
    ran = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER, *words], cwd=place, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    process, began, run_id, said, join = (
        psutil.Process(ran.pid),
        0.0,
        "",
        list[str](),
        "select" if search else "collect",
    )
    told, started, last = dict[str, float](), 0.0, "end" if search else "search"
    assert ran.stdout
    for line in ran.stdout:
        said.append(line)
        if found := re.search(r"run-id (\d+)", line):
            run_id, began, at = found[1], _cpu(process), time.monotonic()
        elif found := re.search(r"/(\w+)/\d+ \(pid \d+\)\] Task (is starting|finished)", line):
            if found[1] == join and found[2] == "finished":
                told["join_seconds"] = time.monotonic() - started
            elif found[1] == join:
                started = time.monotonic()
            elif found[1] == last:
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{ran.pid}/status").read_text())
                told["scheduler_seconds"], told["scheduler_mb"] = _cpu(process) - began, int(peak[1]) / 1024  # type: ignore[index]
                told["wall_seconds"] = time.monotonic() - at
                break
    else:
        raise SystemExit("".join(said[-30:]))
    if search:
        ran.communicate()
    else:
        os.killpg(ran.pid, 9)
    assert ran.wait() == (0 if search else -9), "".join(said[-30:])
    return run_id, told


def _cpu(process: psutil.Process) -> float:
    """Seconds that a process computed, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def table(sizes: list[int], service: bool, search: bool) -> dict[str, dict[str, float]]:
    """Print a line for each size; each figure by the sizes."""
    kind = "trials" if search else "tasks"
    heads = f"{kind:>6} {'ms each':>8} {'MB':>6} {'wall s':>7} {'join s':>7} {'Client: list, read s':>22}"
    print(heads + f" {'requests: run, Client':>23}" * service)
    figures: dict[str, dict[str, float]] = {}
    for size in sizes:
        row = measure(size, service, search)
        row["scheduler_seconds_per_task"] = row["scheduler_seconds"] / size
        line = (
            f"{size:6,} {1000 * row['scheduler_seconds_per_task']:8.1f} {row['scheduler_mb']:6.0f} "
            f"{row['wall_seconds']:7.0f} {row['join_seconds']:7.1f} "
            f"{row['client_list_seconds']:12.2f} {row['client_read_seconds']:9.2f}"
        )
        if service:
            row["client_requests"] = sum(row[name] for name in row if re.fullmatch("client_.*_requests", name))
            line += f" {row['run_requests']:14,.0f} {row['client_requests']:8,.0f}"
        print(line, flush=True)
        for name, value in row.items():
            figures.setdefault(name, {})[str(size)] = round(value, 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", type=int, nargs="*", default=[10, 200, 2000])
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 200])
    parser.add_argument("--service", action="store_true", help="metadata over HTTP")
    given = parser.parse_args()
    tasks, search = table(given.tasks, given.service, False), table(given.trials, given.service, True)
    machine.print_result({**tasks, "search": search, "metadata": "service" if given.service else "local"})


if __name__ == "__main__":
    main()
