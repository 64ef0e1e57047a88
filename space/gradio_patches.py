"""Four habits of Gradio 6 that no argument of it changes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from audio_files import FILES
from gateway import where
from gradio import processing_utils, queueing, route_utils, routes
from python_multipart.exceptions import MultipartParseError
from starlette.formparsers import MultiPartException

IDLE_SECONDS = 0.02  # between two looks whether somebody waits

logger = logging.getLogger(__name__)


def harden() -> None:
    # Its upload keeps what it began to write where a visitor leaves midway, and holds any other field in memory.
    vars(route_utils)["GradioMultiPartParser"] = Parser
    # It prints a traceback, with paths, for each call that fails.
    for module in (queueing, routes):
        vars(module)["traceback"] = SimpleNamespace(print_exc=tell)
    # It hands sounds that browsers do not play to FFmpeg's command, which opens what a playlist names.
    processing_utils.ffmpeg_installed = lambda: False


def rest(blocks: Any) -> None:
    """Its queue looks a thousand times a second whether somebody waits: a twentieth of a core while nobody does."""
    blocks._queue.sleep_when_free = IDLE_SECONDS
    blocks._queue.progress_update_sleep_when_free = 5 * IDLE_SECONDS


def tell() -> None:
    """The error that is handled, in one line of the log."""
    if error := sys.exception():
        logger.error("a call failed: %s", where(error))


class Parser(route_utils.GradioMultiPartParser):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **{**more, "max_files": FILES, "max_fields": 0})

    async def parse(self) -> Any:
        try:
            form = await super().parse()
            if [name for name, _ in form.multi_items()] != ["files"] * len(self._files_to_close_on_error):
                raise MultiPartException("an upload holds whole files and nothing else")
            return form
        except BaseException as error:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            if isinstance(error, MultipartParseError):
                raise MultiPartException("the upload is torn") from None
            raise
