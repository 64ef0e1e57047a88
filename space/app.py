"""The Space: speak or upload, read the text.

    python space/app.py

serves the newest release here. MODEL_ID names another one, a folder or a Hub id (at MODEL_REVISION).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Read at import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no request leaves the machine
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's helpers spin on after a log-mel, as long as a clip takes

from document import Document
from examples import examples
from exports import MOST_BYTES, Exports
from fastapi import FastAPI
from look import CSS, theme
from microphone import Microphones
from pages import page
from sounds import MEGABYTES
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from teaching import lessons
from transcriber import Hardware, Transcriber, locate
from v1 import application

ARENAS = -8  # glibc's M_ARENA_MAX


def one_heap() -> None:
    """Keep memory flat under load: each of Gradio's threads would else fill a heap of its own, and give none back."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # glibc's alone
        libc.mallopt(ARENAS, 2)


def on_zero_gpu() -> None:
    """ZeroGPU takes a Space only with a function for its GPU; CTranslate2 serves from the two cores beside it."""
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces

        spaces.GPU(lambda: None)


def main() -> None:
    started = time.monotonic()
    one_heap()
    on_zero_gpu()
    try:
        folder = locate()
        transcriber = Transcriber(folder, hardware=Hardware.of_environment())
        kept = lessons()
    except ValueError as error:
        sys.exit(str(error))
    release, revision = transcriber.release, revision_of(folder)

    async def health() -> dict[str, Any]:
        """The model that is served, its run and revision, and the seconds since the start."""
        # In the loop itself, so that it answers while every thread is busy.
        uptime = round(time.monotonic() - started, 1)
        return {"model": release.get("name"), "run": release.get("run_id"), "revision": revision, "uptime": uptime}

    model = os.environ.get("MODEL_ID", "")
    tries = examples(folder, release)
    blocks = page(transcriber, kept, "" if Path(model).is_dir() else model, revision, tries)
    public = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    server, url, _ = blocks.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", public),
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        run_history=False,  # Gradio would keep what was said in the browser
        footer_links=[],
        max_file_size=MEGABYTES * 1_000_000,
        allowed_paths=[str(example.path) for example in tries],
        mcp_server=find_spec("mcp") is not None,
        i18n=blocks.i18n_words,
        theme=theme(),
        css=CSS,
    )
    api = application(transcriber, health)
    api.add_api_websocket_route("/live", Microphones(transcriber).answer)
    api.post("/export", include_in_schema=False, max_body_size=MOST_BYTES)(Exports(transcriber).answer)
    server.middleware_stack = Front(api, Document(server.middleware_stack))
    print(f"{release.get('name', 'The model')} is listening on {url}", flush=True)
    blocks.block_thread()


class Front:
    """What programs call, before the page: Gradio answers any path, and lets pages of any site call it."""

    def __init__(self, api: FastAPI, page: ASGIApp) -> None:
        self.api, self.page = api, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        known = path.startswith("/v1/") or any(
            route.matches(scope)[0] is not Match.NONE for route in self.api.routes if scope["type"] != "lifespan"
        )
        await (self.api if known else self.page)(scope, receive, send)


def revision_of(folder: Path) -> str | None:
    """The commit of a model from the Hub, whose cache names the folder by it."""
    return folder.name if folder.parent.name == "snapshots" else None


if __name__ == "__main__":
    main()
