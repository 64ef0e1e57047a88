"""Hostile and honest clients at a Space together: `drill.py --minutes`. Not a command.

Two of three clients are honest: they send the sample's clips to OpenAI's API one after the other, and come again when
they are told to. The others send what the tests' tables hold: bodies that are no call, odd sound files, routes that are
not there, and uploads that they leave in the middle. Memory is looked at once a minute; the server's log, its folder
of temporary files and its threads at the end.
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
sys.path[:0] = [str(Path(__file__).parent), *(str(ROOT / "tests" / one) for one in ("space", "field"))]

import api  # noqa: E402
import httpx  # noqa: E402
import machine  # noqa: E402
import psutil  # noqa: E402

BUSY = ("429", "503")  # with when to come again
SETTLED = 3  # minutes, when everything was used once


def attack(url: str, number: int, until: float, answers: Counter[str]) -> None:
    """Send one hostile thing after the other."""
    import odd
    import test_hostile
    import test_v1

    chance = random.Random(number)
    [routes] = test_hostile.test_what_the_page_does_not_need_is_not_there.pytestmark  # type: ignore[attr-defined]

    def body(http: httpx.Client) -> int:
        path = chance.choice(["call/transcribe", "call/v2/transcribe", "queue/join", "cancel", "reset"])
        return http.post(f"/gradio_api/{path}", content=chance.choice(test_hostile.HOSTILE)).status_code

    def sound(http: httpx.Client) -> int:
        one = chance.choice(odd.ODD)
        return http.post(api.ROUTE, files={"file": (one.name, one.content)}).status_code

    def route(http: httpx.Client) -> int:
        return http.request(*chance.choice(routes.args[1])).status_code

    def torn(_: httpx.Client) -> int:
        caller = test_hostile.Caller(url, "/gradio_api/upload", test_v1.FORM)
        caller.send(test_hostile.FILE, bytes(200_000))
        caller.leave()
        return 0

    with httpx.Client(base_url=url, timeout=120) as http:
        while time.monotonic() < until:
            what = chance.choice([body, sound, route, torn])
            try:
                answers[f"{what.__name__} {what(http)}"] += 1
            except (httpx.HTTPError, OSError) as error:
                answers[f"{what.__name__} {type(error).__name__}"] += 1
            time.sleep(0.1)


def hostile(url: str, clients: int, seconds: float, told: multiprocessing.Queue[Counter[str]]) -> None:
    answers, until = Counter[str](), time.monotonic() + seconds
    people = [threading.Thread(target=attack, args=(url, one, until, answers)) for one in range(clients)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    told.put(answers)


def honest(*given: Any) -> None:
    """`api.crowd`, which a process of its own finds by this module alone: the Space has an `api` too."""
    api.crowd(*given)


def main(release: Path, minutes: float, clients: int) -> None:
    from visit import serve

    context = multiprocessing.get_context("spawn")
    heard, others = context.Queue(), context.Queue()
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        log, temporary = Path(scratch, "log"), Path(scratch, "temporary")
        temporary.mkdir()
        with serve(release.resolve(), log, GRADIO_TEMP_DIR=str(temporary), TEACH_FOLDER=f"{scratch}/taught") as url:
            server = next(one for one in psutil.Process().children() if "app.py" in " ".join(one.cmdline()))
            few = clients // 3
            people = [
                context.Process(target=honest, args=(url, clients - few, 60 * minutes, heard)),
                context.Process(target=hostile, args=(url, few, 60 * minutes, others)),
            ]
            for one in people:
                one.start()
            held, began = list[float](), time.monotonic()
            for minute in itertools.count(1):
                if minute > minutes:
                    break
                time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
                held.append(server.memory_info().rss / 2**20)
                print(f"minute {minute}: {held[-1]:.0f} MB, {server.num_threads()} threads", flush=True)
            answers, took = heard.get(timeout=300)
            attacks = others.get(timeout=300)
            for one in people:
                one.join(timeout=10)
            time.sleep(5)
            threads = server.num_threads()
            with suppress(OSError):
                files = len([path for path in temporary.rglob("*") if path.is_file()])
        tracebacks = log.read_text(errors="replace").count("Traceback")
    for name, count in (answers + attacks).most_common():
        print(f"{name:40s} {count:8,}")
    failed = sum(count for name, count in answers.items() if name not in ("200", *BUSY))
    inside = sum(count for name, count in attacks.items() if name.endswith((" 500", " 502")))
    before = held[min(SETTLED, len(held)) - 1]
    print(f"median answer {sorted(took)[len(took) // 2] if took else 0:.2f} s")
    machine.tell({
        "answered": answers["200"], "busy": sum(answers[one] for one in BUSY), "honest_failed": failed,
        "hostile": attacks.total(), "failed_inside": inside, "tracebacks": tracebacks, "files_left": files,
        "threads": threads, "memory_growth_percent": round(100 * (held[-1] / before - 1), 1),
    })  # fmt: skip
