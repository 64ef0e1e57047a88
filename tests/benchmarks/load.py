"""The Space under load: fifty clients at once.

    python tests/benchmarks/load.py [--clients 50] [--seconds 120] [--release released/latest]

The Space runs in a process of its own as a user starts it. Each client is `gradio_client`, sends the sample's test
clips one after the other all the time, and takes "queue full" for an answer (and waits a second). `failed` counts every
other answer that is not a text. The clients are one process, and `/health` is asked five times a second from another;
`memory_growth_mb` is the server's memory at the end less that after the first quarter, when everything was used once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "flows" / "sample" / "test"
FULL = re.compile("queue.*full|full.*queue|kö|many", re.I)


def memory(pid: int) -> float:
    """A process's memory in megabytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def client(url: str, number: int, until: float, answers: Counter[str], took: list[float]) -> None:
    from gradio_client import Client, handle_file

    sounds = sorted(SAMPLE.glob("*.ogg"))
    caller = Client(url, verbose=False)
    at = number
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            caller.predict(handle_file(sounds[at % len(sounds)]), api_name="/transcribe")
            answers["answered"] += 1
            took.append(time.monotonic() - began)
        except Exception as error:
            if FULL.search(str(error)):
                answers["queue full"] += 1
                time.sleep(1)
            else:
                answers["failed"] += 1
                answers[f"failed: {str(error)[:80]}"] += 1
        at += 1


def crowd(url: str, clients: int, seconds: float, told: Any) -> None:
    """Run so many clients at once, in a process of their own; their results go to the queue."""
    answers: Counter[str] = Counter()
    took, until = list[float](), time.monotonic() + seconds
    people = [
        threading.Thread(target=client, args=(url, number, until, answers, took), daemon=True)
        for number in range(clients)
    ]
    for one in people:
        one.start()
    for one in people:
        one.join(timeout=seconds + 60)
    told.put((answers, took))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = os.environ | {
        "MODEL_ID": str(arguments.release.resolve()),
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
    }
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "space" / "app.py")], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    people = context.Process(target=crowd, args=(url, arguments.clients, arguments.seconds, told))
    waits, failed, held = list[float](), 0, list[float]()
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
                if server.poll() is not None:
                    sys.exit("the Space ended")
        people.start()
        began = time.monotonic()
        while (passed := time.monotonic() - began) < arguments.seconds:
            asked = time.monotonic()
            try:
                urllib.request.urlopen(f"{url}/health", timeout=10).read()
                waits.append(time.monotonic() - asked)
            except OSError:
                failed += 1
            if passed >= len(held) * arguments.seconds / 8:
                held.append(memory(server.pid))
            time.sleep(max(0.0, 0.2 - (time.monotonic() - asked)))
        answers, took = told.get(timeout=120)
        people.join(timeout=10)
        held.append(memory(server.pid))
    finally:
        server.terminate()
        server.wait(timeout=20)
    for name, count in answers.most_common():
        print(f"{name:40s} {count:8,}")
    print(f"{'seconds for an answer, median':40s} {statistics.median(took) if took else 0:8.2f}")
    p99 = 1000 * sorted(waits)[int(0.99 * len(waits))]
    print(f"{'/health, 99th percentile, ms':40s} {p99:8.0f} ({len(waits)} asked, {failed} failed)")
    print(f"{'megabytes held, by eighths':40s} {', '.join(f'{one:.0f}' for one in held)}")
    machine.print_result({
        "failed": answers["failed"] + failed, "health_p99_ms": round(p99),
        "memory_growth_mb": round(held[-1] - held[2], 1),
        "answered": answers["answered"], "queue_full": answers["queue full"],
    })  # fmt: skip


if __name__ == "__main__":
    main()
