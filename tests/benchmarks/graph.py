"""What the graph itself costs as it grows: the scheduler's time and memory for each task, a Client's for reading them.

    python tests/benchmarks/graph.py [TASKS ...] [--service]

A corpus of as many clips of a second as there are to be TASKS (10, 200 and 2,000) is cut into parts of one clip, so
that `preprocess` has a task each, and `collect` joins them; there the run is ended. With --service its metadata go over
HTTP to the tests' metadata service, else into files.

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
from typing import Any

import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parents[2]
FLOW = ROOT / "flows" / "whisper_flow.py"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "flows")]

import machine  # noqa: E402
from servers.metadata import Metadata  # noqa: E402

RATE = 8_000
PROFILE = """
name = "graph"
[corpus]
source = "folder"
path = "speech"
shard_clips = 1
"""
# What takes the place of Python in the scheduler: it hands its arguments, environment and streams on, and waits.
CLIENT = """#!/usr/bin/env -S {python} -SEs
import json, os, socket, sys
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
address, python, flow = sys.argv[1:]
sys.argv = [flow]
made = runpy.run_path(flow, run_name="flow")
import asr.corpus.joining, asr.corpus.shards, asr.store, pandas, pyarrow.parquet, soundfile
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
READ = """
import json, sys, time
from metaflow import Run, namespace
namespace(None)
began = time.perf_counter()
tasks = list(Run(sys.argv[1])["preprocess"])
listed = time.perf_counter()
found = sum(len(task.data.packed["shards"]) for task in tasks)
print(json.dumps([len(tasks), found, listed - began, time.perf_counter() - listed]))
"""


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


def measure(tasks: int, service: bool) -> dict[str, Any]:
    """Seconds and megabytes of one run's graph, and of reading it."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        place = Path(scratch)
        lay_out(place / "speech", tasks)
        (place / "graph.toml").write_text(PROFILE, encoding="utf-8")
        env = {**os.environ, "METAFLOW_USER": "benchmark", "HF_HUB_OFFLINE": "1"}
        if service:
            env |= stack.enter_context(Metadata()).settings
        address, client = str(place / "socket"), place / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
        client.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, address, str(client), str(FLOW)],
            cwd=place, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, 9)
        assert server.stdout and server.stdout.readline() == "ready\n"
        run_id, told = _schedule(place, client, env)
        read = subprocess.run(
            [sys.executable, "-c", READ, f"WhisperFlow/{run_id}"],
            cwd=place, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        count, shards, listing, reading = json.loads(read.stdout.splitlines()[-1])
        assert count == shards == tasks
        return {**told, "client_list_seconds": listing, "client_read_seconds": reading}


def _schedule(place: Path, client: Path, env: dict[str, str]) -> tuple[str, dict[str, float]]:
    """Run the flow up to the end of `collect`; the run, and what the scheduler took."""
    words = [str(client), str(FLOW), "--config", "profile", "graph.toml", "run"]
    ran = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER, *words], cwd=place, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    process, began, run_id, said = psutil.Process(ran.pid), 0.0, "", []
    assert ran.stdout
    for line in ran.stdout:
        said.append(line)
        if found := re.search(r"run-id (\d+)", line):
            run_id, began, at = found[1], _cpu(process), time.monotonic()
        if "/search/" in line and "starting" in line:
            break
    else:
        raise SystemExit("".join(said[-30:]))
    took, wall = _cpu(process) - began, time.monotonic() - at
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{ran.pid}/status").read_text())[1]) / 1024  # type: ignore[index]
    os.killpg(ran.pid, 9)
    ran.wait()
    return run_id, {"scheduler_seconds": took, "scheduler_mb": peak, "wall_seconds": wall}


def _cpu(process: psutil.Process) -> float:
    """Seconds that a process computed, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", type=int, nargs="*", default=[10, 200, 2000])
    parser.add_argument("--service", action="store_true", help="metadata over HTTP")
    given = parser.parse_args()
    print(f"{'tasks':>6} {'ms a task':>10} {'MB':>6} {'wall s':>7} {'Client: list, read s':>22}")
    rows = {}
    for tasks in given.tasks:
        row = rows[tasks] = measure(tasks, given.service)
        row["scheduler_seconds_per_task"] = row["scheduler_seconds"] / tasks
        print(
            f"{tasks:6,} {1000 * row['scheduler_seconds_per_task']:10.1f} {row['scheduler_mb']:6.0f} "
            f"{row['wall_seconds']:7.0f} {row['client_list_seconds']:12.2f} {row['client_read_seconds']:9.2f}",
            flush=True,
        )
    names = ("scheduler_seconds_per_task", "scheduler_mb", "client_list_seconds", "client_read_seconds")
    figures = {name: {str(tasks): round(row[name], 4) for tasks, row in rows.items()} for name in names}
    machine.tell({**figures, "metadata": "service" if given.service else "local"})


if __name__ == "__main__":
    main()
