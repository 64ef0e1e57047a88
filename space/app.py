"""The Space: speak or upload, read the text.

    python space/app.py

serves the newest release here. MODEL_ID names another one, a folder or a Hub id (at MODEL_REVISION).
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Read at import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no request leaves the machine
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's helpers spin on after a log-mel, as long as a clip takes

os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")  # no table of all calls, made anew after each

from audio_files import MEGABYTES
from contributions import Lessons, lessons
from examples import Example, examples
from exports import MOST_BYTES, Exports
from fastapi import FastAPI
from gateway import Front, names, where
from gradio_patches import harden, rest
from hardware import Hardware
from html_head import Document
from live_endpoint import Microphones
from openai_api import application
from page import page
from release import find_release
from sessions import Sessions
from theme import CSS, theme
from transcriber import Transcriber
from uploads import Uploads

ARENAS = -8  # glibc's M_ARENA_MAX
SWEEP = 5.0  # seconds between two looks for what is left over
MOST_MESSAGE = 2_000_000  # bytes over a WebSocket: fifteen seconds of sound in base64
VISITORS = 500  # whose texts are held for them, the latest

logger = logging.getLogger(__name__)


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
    one_heap()
    on_zero_gpu()
    try:
        folder = find_release()
        transcriber = Transcriber(folder, hardware=Hardware.from_environment())
        kept = lessons()
    except ValueError as error:
        sys.exit(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # through what is to be done at the end
    model, tries = os.environ.get("MODEL_ID", ""), examples(folder, transcriber.release)
    blocks = launch(transcriber, kept, tries, "" if Path(model).is_dir() else model, revision_of(folder))
    print(f"{transcriber.release.get('name', 'The model')} is listening on {blocks.local_url}", flush=True)
    try:
        blocks.block_thread()
    finally:
        leave()


def launch(
    transcriber: Transcriber,
    kept: Lessons | None = None,
    tries: Sequence[Example] = (),
    where_from: str = "",
    revision: str | None = None,
) -> Any:
    """Serve the page, which is returned, and the API, from a thread of their own."""
    started, release = time.monotonic(), transcriber.release
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")
    mcp = find_spec("mcp") is not None

    async def health() -> dict[str, Any]:
        """The model that is served, its run and revision, and the seconds since the start."""
        # In the loop itself, so that it answers while every thread is busy.
        uptime = round(time.monotonic() - started, 1)
        return {"model": release.get("name"), "run": release.get("run_id"), "revision": revision, "uptime": uptime}

    harden()
    uploads = Uploads([example.path for example in tries])
    blocks = page(transcriber, kept, where_from, revision, tries)
    rest(blocks)
    api = application(transcriber, health)
    api.add_api_websocket_route("/live", Microphones(transcriber).answer)
    api.post("/export", include_in_schema=False, max_body_size=MOST_BYTES)(Exports(transcriber).answer)
    sessions = Sessions(blocks)
    inputs = {at: len(function.inputs) for at, function in blocks.fns.items()}
    known = names(host, os.environ.get("GRADIO_ROOT_PATH", ""))

    @asynccontextmanager
    async def lifespan(server: FastAPI) -> AsyncIterator[None]:
        """Stand before the page from the first request on."""
        assert server.middleware_stack
        document = Document(server.middleware_stack)
        server.middleware_stack = Front(api, document, uploads, sessions, inputs, known, mcp)
        sweeping = asyncio.create_task(sweep(uploads, sessions))
        yield
        sweeping.cancel()

    blocks.launch(
        server_name=host,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        run_history=False,  # Gradio would keep what was said in the browser
        footer_links=[],
        max_file_size=MEGABYTES * 1_000_000,
        allowed_paths=[str(example.path) for example in tries],
        mcp_server=mcp,
        i18n=blocks.i18n_words,
        theme=theme(),
        css=CSS,
        state_session_capacity=VISITORS,
        app_kwargs={"lifespan": lifespan},
    )
    blocks.server.config.ws_max_size, blocks.server.config.ws_max_queue = MOST_MESSAGE, 4
    return blocks


def leave() -> None:
    """End with all that is to be done at the end, but without waiting for CTranslate2, which else aborts."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


async def sweep(uploads: Uploads, sessions: Sessions) -> None:
    """Again and again, rid the server of what visitors have left."""
    while True:
        await asyncio.sleep(SWEEP)
        try:
            await sessions.sweep()
            await asyncio.to_thread(uploads.sweep)
        except Exception as error:  # the next time, perhaps
            logger.error("sweeping failed: %s", where(error))


def revision_of(folder: Path) -> str | None:
    """The commit of a model from the Hub, whose cache names the folder by it."""
    return folder.name if folder.parent.name == "snapshots" else None


if __name__ == "__main__":
    main()
