"""Hostile and honest clients at a Space together: `drill.py --minutes`. Not a command.

Two of three clients are honest: they send the sample's clips to OpenAI's API one after the other, and retry when the
server asks them to. The others send the cases of the tests: invalid calls, odd audio files, unknown routes, and uploads
that they abort. Memory is measured every minute; the server's log, temporary files and threads are checked at the end.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), *(str(ROOT / "tests" / name) for name in ("space", "bad_files"))]

import api  # noqa: E402
import httpx  # noqa: E402
import machine  # noqa: E402
import psutil  # noqa: E402

BUSY_STATUSES = ("429", "503")  # with Retry-After
SETTLING_MINUTES = 3  # after them every part has been used once


def attack(url: str, seed: int, until: float, responses: Counter[str]) -> None:
    """Send hostile requests one after the other."""
    import odd_audio
    import test_openai_api
    import test_security

    random_choice = random.Random(seed).choice
    [routes] = test_security.test_unneeded_routes_are_not_found.pytestmark  # type: ignore[attr-defined]

    def body(http: httpx.Client) -> int:
        path = random_choice(["call/transcribe", "call/v2/transcribe", "queue/join", "cancel", "reset"])
        return http.post(f"/gradio_api/{path}", content=random_choice(test_security.HOSTILE)).status_code

    def sound(http: httpx.Client) -> int:
        file = random_choice(odd_audio.ODD)
        return http.post(api.ROUTE, files={"file": (file.name, file.content)}).status_code

    def route(http: httpx.Client) -> int:
        return http.request(*random_choice(routes.args[1])).status_code

    def aborted_upload(_: httpx.Client) -> int:
        caller = test_security.Caller(url, "/gradio_api/upload", test_openai_api.FORM)
        caller.send(test_security.FILE, bytes(200_000))
        caller.close()
        return 0

    with httpx.Client(base_url=url, timeout=120) as http:
        while time.monotonic() < until:
            request = random_choice([body, sound, route, aborted_upload])
            try:
                responses[f"{request.__name__} {request(http)}"] += 1
            except (httpx.HTTPError, OSError) as error:
                responses[f"{request.__name__} {type(error).__name__}"] += 1
            time.sleep(0.1)


def hostile(url: str, clients: int, seconds: float, results: multiprocessing.Queue[Counter[str]]) -> None:
    responses, until = Counter[str](), time.monotonic() + seconds
    threads = [threading.Thread(target=attack, args=(url, seed, until, responses)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(responses)


def honest(*arguments: Any) -> None:
    """`api.run_clients`, in a module that a spawned process can import."""
    api.run_clients(*arguments)


def main(release: Path, minutes: float, clients: int) -> None:
    from browser import serve

    context = multiprocessing.get_context("spawn")
    honest_queue, hostile_queue = context.Queue(), context.Queue()
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        log, temporary = Path(scratch, "log"), Path(scratch, "temporary")
        temporary.mkdir()
        with serve(release.resolve(), log, GRADIO_TEMP_DIR=str(temporary), TEACH_FOLDER=f"{scratch}/taught") as url:
            server = next(child for child in psutil.Process().children() if "app.py" in " ".join(child.cmdline()))
            hostile_clients = clients // 3
            processes = [
                context.Process(target=honest, args=(url, clients - hostile_clients, 60 * minutes, honest_queue)),
                context.Process(target=hostile, args=(url, hostile_clients, 60 * minutes, hostile_queue)),
            ]
            for process in processes:
                process.start()
            memory, began = list[float](), time.monotonic()
            for minute in itertools.count(1):
                if minute > minutes:
                    break
                time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
                memory.append(server.memory_info().rss / 2**20)
                print(f"minute {minute}: {memory[-1]:.0f} MB, {server.num_threads()} threads", flush=True)
            responses, latencies = honest_queue.get(timeout=300)
            hostile_responses = hostile_queue.get(timeout=300)
            for process in processes:
                process.join(timeout=10)
            time.sleep(5)
            threads = server.num_threads()
            with suppress(OSError):
                files = len([path for path in temporary.rglob("*") if path.is_file()])
        tracebacks = log.read_text(errors="replace").count("Traceback")
    for name, count in (responses + hostile_responses).most_common():
        print(f"{name:40s} {count:8,}")
    failed_count = sum(count for name, count in responses.items() if name not in ("200", *BUSY_STATUSES))
    server_errors = sum(count for name, count in hostile_responses.items() if name.endswith((" 500", " 502")))
    settled_memory = memory[min(SETTLING_MINUTES, len(memory)) - 1]
    print(f"median answer {sorted(latencies)[len(latencies) // 2] if latencies else 0:.2f} s")
    machine.print_result({
        "answered": responses["200"], "busy": sum(responses[status] for status in BUSY_STATUSES),
        "honest_failed": failed_count,
        "hostile": hostile_responses.total(), "failed_inside": server_errors, "tracebacks": tracebacks,
        "files_left": files, "threads": threads,
        "memory_growth_percent": round(100 * (memory[-1] / settled_memory - 1), 1),
    })  # fmt: skip
