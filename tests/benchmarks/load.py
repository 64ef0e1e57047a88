"""The Space under load: fifty concurrent clients.

    python tests/benchmarks/load.py [--clients 50] [--seconds 120] [--release released/latest]

The Space runs in its own process as a user starts it. Each client is a `gradio_client` that sends the sample's test
clips one after the other, and waits a second after the answer "queue full". `failed` counts every other answer that is
not a text. The clients share a process, and another requests `/health` five times a second. `memory_growth_mb` is the
server's memory at the end less that after the first quarter, when every part has been used once.
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
QUEUE_FULL = re.compile("queue.*full|full.*queue|kö|many", re.I)


def memory(pid: int) -> float:
    """A process's memory in megabytes."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1000 if match else 0.0


def client(url: str, number: int, until: float, responses: Counter[str], latencies: list[float]) -> None:
    from gradio_client import Client, handle_file

    sounds = sorted(SAMPLE.glob("*.ogg"))
    caller = Client(url, verbose=False)
    index = number
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            caller.predict(handle_file(sounds[index % len(sounds)]), api_name="/transcribe")
            responses["answered"] += 1
            latencies.append(time.monotonic() - began)
        except Exception as error:
            if QUEUE_FULL.search(str(error)):
                responses["queue full"] += 1
                time.sleep(1)
            else:
                responses["failed"] += 1
                responses[f"failed: {str(error)[:80]}"] += 1
        index += 1


def run_clients(url: str, clients: int, seconds: float, queue: Any) -> None:
    """Run concurrent clients, in their own process; their results go to the queue."""
    responses: Counter[str] = Counter()
    latencies, until = list[float](), time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(url, number, until, responses, latencies), daemon=True)
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=seconds + 60)
    queue.put((responses, latencies))


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
    queue = context.Queue()
    process = context.Process(target=run_clients, args=(url, arguments.clients, arguments.seconds, queue))
    waits, failed, memory_mb = list[float](), 0, list[float]()
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
                if server.poll() is not None:
                    sys.exit("the Space ended")
        process.start()
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < arguments.seconds:
            started = time.monotonic()
            try:
                urllib.request.urlopen(f"{url}/health", timeout=10).read()
                waits.append(time.monotonic() - started)
            except OSError:
                failed += 1
            if elapsed >= len(memory_mb) * arguments.seconds / 8:
                memory_mb.append(memory(server.pid))
            time.sleep(max(0.0, 0.2 - (time.monotonic() - started)))
        responses, latencies = queue.get(timeout=120)
        process.join(timeout=10)
        memory_mb.append(memory(server.pid))
    finally:
        server.terminate()
        server.wait(timeout=20)
    for name, count in responses.most_common():
        print(f"{name:40s} {count:8,}")
    print(f"{'seconds for an answer, median':40s} {statistics.median(latencies) if latencies else 0:8.2f}")
    p99 = 1000 * sorted(waits)[int(0.99 * len(waits))]
    print(f"{'/health, 99th percentile, ms':40s} {p99:8.0f} ({len(waits)} asked, {failed} failed)")
    print(f"{'megabytes held, by eighths':40s} {', '.join(f'{value:.0f}' for value in memory_mb)}")
    machine.print_result({
        "failed": responses["failed"] + failed, "health_p99_ms": round(p99),
        "memory_growth_mb": round(memory_mb[-1] - memory_mb[2], 1),
        "answered": responses["answered"], "queue_full": responses["queue full"],
    })  # fmt: skip


if __name__ == "__main__":
    main()
