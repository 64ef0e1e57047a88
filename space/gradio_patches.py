"""Patches for behaviour of Gradio 6 that none of its options changes."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from errors import locate_error
from gradio import http_server, processing_utils, queueing, route_utils, routes
from python_multipart.exceptions import MultipartParseError
from starlette.formparsers import MultiPartException
from upload_limits import MAX_FILES

MAX_MESSAGE_BYTES = 2_000_000  # of a WebSocket message: fifteen seconds of audio in base64
MAX_MESSAGES = 4  # that wait, of a connection
IDLE_SECONDS = 0.02  # between two checks of the queue

logger = logging.getLogger(__name__)


def patch_gradio() -> None:
    """Patch Gradio's upload parser, error printing, FFmpeg calls and server."""
    # Its parser leaves a partial file behind when a client disconnects, and keeps other fields in memory.
    vars(route_utils)["GradioMultiPartParser"] = UploadParser
    # It prints a traceback, with paths, for each call that fails.
    for module in (queueing, routes):
        vars(module)["traceback"] = SimpleNamespace(print_exc=log_current_error)
    # It converts audio that browsers cannot play with the ffmpeg command, which opens what a playlist names.
    processing_utils.ffmpeg_installed = lambda: False
    # Its server answers before `launch` returns, so these limits must be set from the first connection on.
    config = partial(http_server.uvicorn.Config, ws_max_size=MAX_MESSAGE_BYTES, ws_max_queue=MAX_MESSAGES)
    vars(http_server)["uvicorn"] = SimpleNamespace(Config=config)


def slow_queue_polling(blocks: Any) -> None:
    """Poll the queue less often: a thousand times a second takes a twentieth of a core while it is empty."""
    blocks._queue.sleep_when_free = IDLE_SECONDS
    blocks._queue.progress_update_sleep_when_free = 5 * IDLE_SECONDS


def log_current_error() -> None:
    """Log the error that is being handled, on one line."""
    if error := sys.exception():
        logger.error("a call failed: %s", locate_error(error))


class UploadParser(route_utils.GradioMultiPartParser):
    """Accepts files only, and deletes them if the upload fails."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "max_files": MAX_FILES, "max_fields": 0})

    async def parse(self) -> Any:
        try:
            form = await super().parse()
            if [name for name, _ in form.multi_items()] != ["files"] * len(self._files_to_close_on_error):
                raise MultiPartException("an upload may hold files and nothing else")
            return form
        except BaseException as error:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            if isinstance(error, MultipartParseError):
                raise MultiPartException("the upload is incomplete") from None
            raise
