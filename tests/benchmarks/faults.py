"""Faults during a push, and what the repo holds afterwards, as a table.

    python tests/benchmarks/faults.py

On a small Hub on loopback, each fault hits the push of a second release after a first. `holds` is what main holds
afterwards: the old release, the new one, or a mixture; `lost` says whether the first is no longer available at its tag,
`leak` whether the token is anywhere but in an Authorization header: in a request's path or body, in a message, in the
repo or in the release's folder. A push that is killed runs in its own process, and is then repeated.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(ROOT / "tests")]

from asr import InputError, network, terminal  # noqa: E402

terminal.silence_libraries()
import huggingface_hub  # noqa: E402
import machine  # noqa: E402
from asr.release import folder, hub  # noqa: E402
from asr.settings import Release  # noqa: E402
from huggingface_hub import HfApi, constants  # noqa: E402
from servers.writable_hub import User, WritableHub  # noqa: E402

TOKEN, REPO = "hf_" + "geheim" * 5, "me/svenska"
PUSH_RELEASE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from asr.release import hub
from asr.settings import Release
hub.push_release(Path(sys.argv[2]), Release(repo_id="me/svenska"), lambda head: "")
"""
Fault = Callable[[WritableHub], None]


def fails(status: int, match: str, times: int = 2) -> Fault:
    return lambda server: server.fail(times, status, match)


FAULTS: dict[str, Fault] = {
    "none": lambda server: None,
    "429 on the commit, twice": fails(429, "^POST .*/commit/"),
    "503 on the commit, twice": fails(503, "^POST .*/commit/"),
    "503 on the upload, twice": fails(503, "^PUT "),
    "503 on every commit": fails(503, "^POST .*/commit/", 99),
    "401 on the commit": fails(401, "^POST .*/commit/", 99),
    "402 on the commit": fails(402, "^POST .*/commit/", 99),
    "403 on the commit": fails(403, "^POST .*/commit/", 99),
    "404 on the commit": fails(404, "^POST .*/commit/", 99),
    "409 on the commit": fails(409, "^POST .*/commit/", 1),
    "412: somebody else's commit in between": lambda server: server.before_commit.append(
        lambda repo: repo.commit({"config.json": b"theirs"})
    ),
    "an upload cut off after 1,000 bytes": lambda server: server.cut(1, "^PUT ", after=1000),
    "a commit whose answer is lost": lambda server: server.lose(1, "^POST .*/commit/"),
    "kill -9 at the commit": lambda server: None,
    "kill -9 in the upload": lambda server: None,
}


def release(parent: Path, run: str) -> Path:
    path = parent / f"svenska-{run}"
    (path / "ct2-int8").mkdir(parents=True)
    folder.write_json(path / "release.json", {
        "format": 2, "run_id": run, "created": "2026-11-25T08:06:00+00:00", "served_wer": 9.0, "served_wer_ci": [8, 10],
    })  # fmt: skip
    folder.write_json(path / "test-counts.json", {"scoring": "basic", "clips": {}})
    (path / "config.json").write_text("{}")
    for name in ("model.safetensors", "ct2-int8/model.bin"):
        (path / name).write_bytes(f"weights of {run} ".encode() * 20_000)
    return path


def files(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def push(path: Path) -> str:
    try:
        return (
            "pushed"
            if hub.push_release(path, Release(repo_id=REPO), lambda head: "", lambda line: None).revision
            else "no"
        )
    except InputError as error:
        return str(error)


def kill_push(server: WritableHub, path: Path, home: Path, match: str) -> None:
    """Push in a process that is killed as soon as a request of this kind arrives."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH_RELEASE, str(ROOT / "flows"), str(path)],
        env={**os.environ, **server.env(home, TOKEN)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    if match == "commit":
        server.before_commit.append(lambda repo: os.kill(process.pid, signal.SIGKILL))
    else:
        server.cut(1, "^PUT ", after=1000)
        while not any(request.method == "PUT" for request in server.received) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    process.wait()


def run_fault(name: str, fault: Fault, scratch: Path) -> dict[str, str]:
    with WritableHub(scratch / "hub", {TOKEN: User("me")}) as server:
        hub.api = lambda: HfApi(endpoint=server.url, token=TOKEN)
        old, new = release(scratch, "17"), release(scratch, "18")
        push(old)
        repo = server.repo(REPO)
        if name.startswith("kill"):
            kill_push(server, new, scratch / "home", name.rsplit(" ", 1)[1])
        else:
            fault(server)
        message = push(new)
        published = repo.files()
        published.pop(".gitattributes")
        expected = {"old": files(old), "new": files(new)}
        tagged = repo.files("run-17")
        tagged.pop(".gitattributes")
        texts = [
            message.encode(),
            *published.values(),
            *files(new).values(),
            *(request.body for request in server.received),
        ]
        texts += [request.target.encode() for request in server.received]
        headers = [
            key.lower() for request in server.received for key, value in request.headers.items() if TOKEN in value
        ]
        has_leak = any(TOKEN.encode() in text for text in texts) or set(headers) - {"authorization"}
        return {
            "fault": name,
            "holds": next((label for label, content in expected.items() if content == published), "MIXTURE"),
            "commits": str(len(repo.commits()) - 2),
            "lost": "LOST" if tagged != files(old) else "no",
            "leak": "LEAK" if has_leak else "no",
            "message": message if len(message) < 70 else message[:67] + "...",
        }


def main() -> None:
    huggingface_hub.get_token = lambda: TOKEN
    constants.HF_HUB_DISABLE_XET = True
    network.FIRST_WAIT = 0.01
    rows = []
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory() as scratch:
            constants.HF_HUB_CACHE = str(Path(scratch) / "cache")
            rows.append(run_fault(name, fault, Path(scratch)))
            print(
                "  ".join(
                    f"{value:{width}}" for value, width in zip(rows[-1].values(), (40, 8, 3, 5, 5, 0), strict=True)
                )
            )
    counts = {word: sum(word in row.values() for row in rows) for word in ("MIXTURE", "LOST", "LEAK")}
    result = {"faults": len(rows), "mixtures": counts["MIXTURE"], "lost": counts["LOST"], "leaks": counts["LEAK"]}
    machine.print_result(result)


if __name__ == "__main__":
    main()
