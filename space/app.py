"""The Space: a page to transcribe speech, and an API.

    python space/app.py

serves the newest release here. MODEL_ID names another one, a folder or a Hub id (at MODEL_REVISION).
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
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

# The libraries read these when they are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no request leaves the machine
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")  # else Gradio rebuilds a table of all calls after each
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads spin on after a log-mel, as long as a clip takes

gc.disable()  # collections took a fifth of the imports' time, and none of what they make is garbage

from contributions import ContributionStore, open_store
from errors import locate_error
from examples import Example, find_examples
from exports import MAX_BYTES, ExportEndpoint
from fastapi import FastAPI
from gateway import Gateway, allowed_hosts
from gradio_patches import patch_gradio, slow_queue_polling
from hardware import Hardware
from html_head import HeadMiddleware
from live_endpoint import LiveEndpoint
from openai_api import build_api
from page import build_page
from release import find_release
from sessions import Sessions
from theme import CSS, build_theme
from transcriber import Transcriber
from upload_limits import MAX_MEGABYTES
from uploads import Uploads

gc.freeze()
gc.enable()

M_ARENA_MAX = -8  # glibc's constant
SWEEP_SECONDS = 5.0  # between two sweeps of uploads and sessions
MAX_SESSION_STATES = 500  # visitors whose state Gradio keeps, the latest

logger = logging.getLogger(__name__)


def limit_arenas() -> None:
    """Limit malloc's arenas: else each of Gradio's threads has its own, and memory grows under load."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # glibc only
        libc.mallopt(M_ARENA_MAX, 2)


def register_zero_gpu() -> None:
    """ZeroGPU accepts a Space only if it declares a GPU function; CTranslate2 serves from the two CPU cores."""
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces

        spaces.GPU(lambda: None)


def main() -> None:
    limit_arenas()
    register_zero_gpu()
    try:
        folder = find_release()
        transcriber = Transcriber(folder, hardware=Hardware.from_environment())
        store = open_store()
    except ValueError as error:
        sys.exit(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that exit handlers run
    model, examples = os.environ.get("MODEL_ID", ""), find_examples(folder, transcriber.release)
    repo_id = "" if Path(model).is_dir() else model
    blocks = launch(transcriber, store, examples, repo_id, _hub_revision(folder))
    print(f"{transcriber.release.get('name', 'The model')} is listening on {blocks.local_url}", flush=True)
    try:
        blocks.block_thread()
    finally:
        exit_now()


def launch(
    transcriber: Transcriber,
    store: ContributionStore | None = None,
    examples: Sequence[Example] = (),
    repo_id: str = "",
    revision: str | None = None,
) -> Any:
    """Serve the page and the API from a thread of their own; returns Gradio's blocks."""
    started, release = time.monotonic(), transcriber.release
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")
    mcp = find_spec("mcp") is not None

    async def health() -> dict[str, Any]:
        """The model that is served, its run and revision, and the seconds since the start."""
        # A coroutine, so that it answers while every thread is busy.
        uptime = round(time.monotonic() - started, 1)
        return {"model": release.get("name"), "run": release.get("run_id"), "revision": revision, "uptime": uptime}

    patch_gradio()
    uploads = Uploads([example.path for example in examples])
    blocks = build_page(transcriber, store, repo_id, revision, examples)
    slow_queue_polling(blocks)
    api = build_api(transcriber, health)
    api.add_api_websocket_route("/live", LiveEndpoint(transcriber).handle)
    api.post("/export", include_in_schema=False, max_body_size=MAX_BYTES)(ExportEndpoint(transcriber).handle)
    sessions = Sessions(blocks)
    input_counts = {index: len(function.inputs) for index, function in blocks.fns.items()}
    hosts = allowed_hosts(host, os.environ.get("GRADIO_ROOT_PATH", ""))

    @asynccontextmanager
    async def lifespan(server: FastAPI) -> AsyncIterator[None]:
        """Put the gateway before Gradio's application, from the first request on."""
        assert server.middleware_stack
        page = HeadMiddleware(server.middleware_stack)
        server.middleware_stack = Gateway(api, page, uploads, sessions, input_counts, hosts, mcp)
        sweeping = asyncio.create_task(sweep_forever(uploads, sessions))
        yield
        sweeping.cancel()

    blocks.launch(
        server_name=host,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        run_history=False,  # else Gradio stores each call's text in the browser
        footer_links=[],
        max_file_size=MAX_MEGABYTES * 1_000_000,
        allowed_paths=[str(example.path) for example in examples],
        mcp_server=mcp,
        i18n=blocks.i18n_words,
        theme=build_theme(),
        css=CSS,
        state_session_capacity=MAX_SESSION_STATES,
        app_kwargs={"lifespan": lifespan},
    )
    return blocks


def exit_now() -> None:
    """Run the exit handlers, and end without waiting for CTranslate2's threads, which else abort."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


async def sweep_forever(uploads: Uploads, sessions: Sessions) -> None:
    """Clean up abandoned calls, sessions and uploads, every few seconds."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await sessions.sweep()
            await asyncio.to_thread(uploads.sweep)
        except Exception as error:  # the next sweep may succeed
            logger.error("sweeping failed: %s", locate_error(error))


def _hub_revision(folder: Path) -> str | None:
    """The commit of a model from the Hub: its cache names the folder by it."""
    return folder.name if folder.parent.name == "snapshots" else None


if __name__ == "__main__":
    main()
