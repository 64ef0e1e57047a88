"""The Space's OpenAI API: its cost over the engine's, the delay of a stream's first words, fifty parallel clients.

    python tests/benchmarks/api.py [--release released/latest] [--rounds 5] [--clients 50] [--seconds 120]

The Space runs in its own process as a user starts it, on all cores. In turns, `--rounds` times: the engine in this
process and the server over HTTP transcribe the same files, one of 3 s (ten times) and one of 10 minutes, made of the
sample's test clips; the CPU seconds of both processes, as the kernel counts them, and the ratio of the medians. The
first event of a stream of the 10 minutes is timed from the request on, including the upload. Then the clients send the
sample's test clips one after the other, and retry after the seconds that the server asks for. `/health` is requested
five times a second, and the server's memory is read. `growth` is that of its last eighth over its second.

Not measured: a network in between, several servers, formats that take longer to decode than FLAC.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "space"), str(ROOT / "flows")]
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the Space sets it

import httpx  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import soundfile  # noqa: E402

SAMPLE = ROOT / "flows" / "sample" / "test"
RATE = 16_000
ROUTE = "/v1/audio/transcriptions"
SHORT_TIMES = 10


@contextmanager
def served(release: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The Space's URL and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MODEL_ID": str(release), "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / "space" / "app.py")]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/health", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
                if server.poll() is not None:
                    sys.exit("the Space ended")
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(timeout=20)


def flac(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="FLAC")
    return file.getvalue()


def files() -> dict[str, bytes]:
    """A clip of about 3 s, and 10 minutes of clips with half a second between them."""
    clips = [soundfile.read(file, dtype="float32")[0] for file in sorted(SAMPLE.glob("*.ogg"))]
    short = min(clips, key=lambda clip: abs(len(clip) - 3 * RATE))
    spaced = [part for clip in clips for part in (clip, np.zeros(RATE // 2, np.float32))]
    long = np.concatenate(spaced * 4)[: 600 * RATE]
    return {"3 s": flac(short), "10 min": flac(long)}


def cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children, one of which decodes."""
    times = [member.cpu_times() for member in (process, *process.children())]
    return float(sum(spent.user + spent.system for spent in times))


def cost(url: str, server: psutil.Process, release: Path, rounds: int) -> dict[str, float]:
    """The API's CPU seconds divided by the engine's, for each file."""
    import audio_files
    from transcriber import Transcriber

    engine, own_process = Transcriber(release), psutil.Process()
    ratios = {}
    for name, file in files().items():
        times = SHORT_TIMES if name == "3 s" else 1
        engine_times, api_times = list[float](), list[float]()
        for round_ in range(-1, rounds):  # the first round is not counted
            began = cpu(own_process)
            for _ in range(times):
                text = engine.transcribe(audio_files.read_open_file(io.BytesIO(file)).samples).text
            engine_seconds, began = cpu(own_process) - began, cpu(server)
            for _ in range(times):
                response = httpx.post(url + ROUTE, files={"file": file}, data={"response_format": "vtt"}, timeout=600)
            if round_ >= 0:
                engine_times.append(engine_seconds)
                api_times.append(cpu(server) - began)
            assert response.status_code == 200 and text
        engine_median, api_median = statistics.median(engine_times), statistics.median(api_times)
        ratios[name] = ratio = api_median / engine_median
        print(f"CPU seconds, {name:6s}  engine {engine_median:7.2f}  API {api_median:7.2f}"
              f"  ratio {ratio:.3f}", flush=True)  # fmt: skip
    return ratios


def first_words(url: str, rounds: int) -> float:
    """Seconds until the first words of a stream of ten minutes arrive."""
    file, waits = files()["10 min"], list[float]()
    for _ in range(rounds):
        began = time.monotonic()
        form = {"files": {"file": file}, "data": {"stream": "true"}, "timeout": 600}
        with httpx.stream("POST", url + ROUTE, **form) as response:  # type: ignore[arg-type]
            for line in response.iter_lines():
                if "delta" in line:
                    waits.append(time.monotonic() - began)
                    break
    print(f"first words of 10 min after {statistics.median(waits):.2f} s", flush=True)
    return statistics.median(waits)


def run_clients(url: str, clients: int, seconds: float, queue: Any) -> None:
    """Run concurrent clients, in their own process; their results go to the queue."""

    async def client(number: int, http: httpx.AsyncClient, clips: list[bytes]) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                response = await http.post(url + ROUTE, files={"file": clips[number % len(clips)]})
                responses[str(response.status_code)] += 1
                if response.status_code == 200:
                    latencies.append(time.monotonic() - began)
                elif "retry-after" in response.headers:
                    await asyncio.sleep(min(int(response.headers["retry-after"]), max(0.0, until - time.monotonic())))
            except httpx.HTTPError as error:
                responses[type(error).__name__] += 1
            number += 1

    async def run_all() -> None:
        clips = [file.read_bytes() for file in sorted(SAMPLE.glob("*.ogg"))]
        limits = httpx.Limits(max_connections=clients)
        async with httpx.AsyncClient(timeout=120, limits=limits) as http:
            await asyncio.gather(*(client(number, http, clips) for number in range(clients)))

    responses, latencies, until = Counter[str](), list[float](), time.monotonic() + seconds
    asyncio.run(run_all())
    queue.put((responses, latencies))


def load(url: str, server: psutil.Process, clients: int, seconds: float) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=run_clients, args=(url, clients, seconds, queue))
    process.start()
    waits, memory, began = list[float](), list[float](), time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        started = time.monotonic()
        httpx.get(f"{url}/health", timeout=30)
        waits.append(time.monotonic() - started)
        if elapsed >= len(memory) * seconds / 8:
            memory.append(server.memory_info().rss / 1e6)
        time.sleep(max(0.0, 0.2 - (time.monotonic() - started)))
    responses, latencies = queue.get(timeout=180)
    process.join(timeout=20)
    p99 = 1000 * sorted(waits)[int(0.99 * len(waits))]
    median = statistics.median(latencies) if latencies else float("nan")
    print(f"{clients} clients, {seconds:g} s: {dict(responses.most_common())}, median answer {median:.2f} s")
    print(f"/health, 99th percentile {p99:.0f} ms of {len(waits)}; megabytes held {[round(value) for value in memory]}")
    failed = sum(count for status, count in responses.items() if status not in ("200", "429"))
    return {
        "answered": responses["200"], "told_to_wait": responses["429"], "failed": failed, "health_p99_ms": round(p99),
        "growth": round(memory[-1] / memory[1] - 1, 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="The Space's OpenAI API.")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    release = arguments.release.resolve()
    with served(release) as (url, server):
        ratios = cost(url, server, release, arguments.rounds)
        result = {"cpu_ratio_3_s": round(ratios["3 s"], 3), "cpu_ratio_10_min": round(ratios["10 min"], 3)}
        result["first_words_s"] = round(first_words(url, arguments.rounds), 2)
        machine.print_result(result | load(url, server, arguments.clients, arguments.seconds))


if __name__ == "__main__":
    main()
