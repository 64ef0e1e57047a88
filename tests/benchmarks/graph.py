"""What the graph costs as it grows: the scheduler's time and memory per task, and the Client's for reading them.

    python tests/benchmarks/graph.py [TASKS ...] [--trials TRIALS ...] [--service]

A corpus of TASKS clips of a second (10, 200 and 2,000) is cut into parts of one clip, so that `preprocess` has a task
for each, and `collect` joins them; the run is ended there. A search of TRIALS trials (10 and 200) of two steps each
runs to its end. With --service the metadata go over HTTP to the tests' metadata service, and requests are counted;
otherwise they go into files.

Each task would start with two seconds of imports, which are not to be measured. So tasks, and the processes that draw
their cards, are forked from a process that has imported everything; the scheduler is its own process, as usual.
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
# The scheduler runs this instead of Python: it passes a task's arguments, environment and streams on, and waits.
CLIENT = """#!/usr/bin/env -S {python} -SEs
import json, os, socket, sys
if {flow!r} not in sys.argv:  # a decoder
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [1, 2])
    server.sendall(request)
    sys.exit(int(server.recv(16) or b"1"))
"""
# The server that it passes them to: the flow, imported once and forked for each task.
SERVER = """
import json, os, runpy, signal, socket, sys, traceback
address, python, flow, training = sys.argv[1:]
sys.argv = [flow]
module = runpy.run_path(flow, run_name="flow")
import asr.corpus.manifest, asr.corpus.shards, asr.store, pandas, pyarrow.parquet, soundfile
if training:
    import asr.training.models, asr.training.estimate, asr.training.trial, vl_convert
from metaflow.plugins.cards import card_creator

def serve(client):
    head, streams, *_ = socket.recv_fds(client, 4, 2)
    size, request = int.from_bytes(head, "big"), b""
    while len(request) < size:
        request += client.recv(size - len(request))
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        client.sendall(str(os.waitstatus_to_exitcode(status) & 255).encode())
        os._exit(0)
    arguments, folder, environment = json.loads(request)
    os.dup2(streams[0], 1), os.dup2(streams[1], 2)
    os.chdir(folder)
    os.environ.clear(), os.environ.update(environment)
    sys.argv, sys.executable, code = [word for word in arguments if word != "-u"], python, 0
    try:
        module["cli"].main(module["WhisperFlow"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

with socket.socket(socket.AF_UNIX) as server:
    server.bind(address)
    server.listen(100)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        client, _ = server.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            serve(client)
        client.close()
"""
SCHEDULER = """
import runpy, sys
sys.executable, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Reads the run with the Client; prints the seconds and the requests of each part.
READ_RUN = """
import json, sys, time
import requests
from metaflow import Run, namespace
path, step, artifact, last, *names = sys.argv[1:]
sent, send = [], requests.Session.send
requests.Session.send = lambda *args, **kwargs: sent.append(1) or send(*args, **kwargs)
namespace(None)
parts = {}

def timed(name, read):
    sent.clear()
    began = time.perf_counter()
    value = read()
    parts[name] = [time.perf_counter() - began, len(sent)]
    return value

run = timed("run", lambda: Run(path))
timed("steps", lambda: list(run))
tasks = timed("list", lambda: list(run[step]))
timed("read", lambda: [getattr(task.data, artifact) for task in tasks])
data = timed("last", lambda: run[last].task.data)
for name in names:
    timed(name, lambda: getattr(data, name))
print(json.dumps([len(tasks), parts]))
"""
PREPROCESS = ("preprocess", "packed", "collect", "shards")
TRAIN = ("train", "outcome", "end", "shards", "leaderboard_rows", "report")


def write_corpus(folder: Path, clips: int) -> None:
    """Write a corpus of clips of noise, no two of them the same."""
    noise = np.random.default_rng(0)
    for split, count in {"validation": 1, "test": 1, "train": clips - 2}.items():
        (folder / split).mkdir(parents=True)
        lines = ["file_name,transcription"]
        for number in range(count):
            soundfile.write(folder / split / f"{number}.wav", 0.1 * noise.standard_normal(RATE), RATE, subtype="PCM_16")
            lines.append(f"{number}.wav,Hej på dig")
        (folder / split / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(tasks: int, service: bool, search: bool) -> dict[str, float]:
    """The seconds and megabytes of one run's graph, and of reading it."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        if not search:
            write_corpus(folder / "speech", tasks)
        profile = SEARCH.format(trials=tasks, model=MODEL) if search else PROFILE
        (folder / "graph.toml").write_text(profile, encoding="utf-8")
        env = {**os.environ, "METAFLOW_USER": "benchmark", "HF_HUB_OFFLINE": "1"}
        metadata = stack.enter_context(Metadata()) if service else None
        env |= metadata.settings if metadata else {}
        address, client = str(folder / "socket"), folder / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=address, flow=str(FLOW)), encoding="utf-8")
        client.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, address, str(client), str(FLOW), "training" if search else ""],
            cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, 9)
        assert server.stdout and server.stdout.readline() == "ready\n"
        run_id, figures = _schedule(folder, client, env, search)
        if metadata:
            figures["run_requests"] = len(metadata.requests)
        reader = subprocess.run(
            [sys.executable, "-c", READ_RUN, f"WhisperFlow/{run_id}", *(TRAIN if search else PREPROCESS)],
            cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        count, parts = json.loads(reader.stdout.splitlines()[-1])
        assert count == tasks
        for name, (seconds, requests) in parts.items():
            figures[f"client_{name}_seconds"] = seconds
            if metadata:
                figures[f"client_{name}_requests"] = requests
        return figures


def _schedule(folder: Path, client: Path, env: dict[str, str], search: bool) -> tuple[str, dict[str, float]]:
    """Run the flow, up to the end of `collect` if it is no search; returns the run, and the scheduler's figures.

    They are those of the time when its last task started.
    """
    command = [str(client), str(FLOW), "--config", "profile", "graph.toml", "run"]
    scheduler = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER, *command], cwd=folder, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    process, began, run_id, lines = psutil.Process(scheduler.pid), 0.0, "", list[str]()
    join_step, last_step = ("select", "end") if search else ("collect", "search")
    figures, started = dict[str, float](), 0.0
    assert scheduler.stdout
    for line in scheduler.stdout:
        lines.append(line)
        if match := re.search(r"run-id (\d+)", line):
            run_id, began, at = match[1], _cpu(process), time.monotonic()
        elif match := re.search(r"/(\w+)/\d+ \(pid \d+\)\] Task (is starting|finished)", line):
            if match[1] == join_step and match[2] == "finished":
                figures["join_seconds"] = time.monotonic() - started
            elif match[1] == join_step:
                started = time.monotonic()
            elif match[1] == last_step:
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{scheduler.pid}/status").read_text())
                figures["scheduler_seconds"] = _cpu(process) - began
                figures["scheduler_mb"] = int(peak[1]) / 1024  # type: ignore[index]
                figures["wall_seconds"] = time.monotonic() - at
                break
    else:
        raise SystemExit("".join(lines[-30:]))
    if search:
        scheduler.communicate()
    else:
        os.killpg(scheduler.pid, 9)
    assert scheduler.wait() == (0 if search else -9), "".join(lines[-30:])
    return run_id, figures


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def print_table(sizes: list[int], service: bool, search: bool) -> dict[str, dict[str, float]]:
    """Print a line for each size; returns each figure by size."""
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
    arguments = parser.parse_args()
    task_figures = print_table(arguments.tasks, arguments.service, False)
    search_figures = print_table(arguments.trials, arguments.service, True)
    machine.print_result(
        {**task_figures, "search": search_figures, "metadata": "service" if arguments.service else "local"}
    )


if __name__ == "__main__":
    main()
