"""The way to the Hugging Face Hub: whether there is one, and patience where it is bad for a moment.

huggingface_hub tries six times for 24 s, each file anew, also where there is no network at all.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from asr import first_line

T = TypeVar("T")

TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubled each time
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that pass by themselves
ANSWER_SECONDS = 4.0  # for the first sign of life; looking up a name knows no limit of its own


@cache
def unreachable() -> str:
    """Why nothing of the Hub can be had from here; empty where a server answers, whatever it says."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import httpx

    # The last is huggingface_hub's own, where HF_HUB_OFFLINE is set.
    nobody = (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL, ConnectionError)
    answer = SimpleQueue[str]()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, follow_redirects=False)
        except nobody as error:
            answer.put(str(error) or type(error).__name__)
        except httpx.HTTPError:
            answer.put("")  # somebody is there, and may be better in a moment
        else:
            answer.put("")

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=ANSWER_SECONDS)
    except Empty:
        return f"{constants.ENDPOINT} does not answer within {ANSWER_SECONDS:g} s"


def patiently(call: Callable[[], T]) -> T:
    """What the call returns, tried again with growing waits where the Hub or the line is the matter for a moment."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(TRIES):
        try:
            return call()
        except (HfHubHTTPError, TransportError, ConnectionError) as error:
            if attempt == TRIES - 1 or (isinstance(error, HfHubHTTPError) and status(error) not in PASSING):
                raise
            asked = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
            wait = FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)
            time.sleep(min(float(asked), 60.0) if asked.isdigit() else wait)
    raise AssertionError


def failure(error: Exception) -> str:
    """What the network or the Hub did, in one line; empty where the error has another cause."""
    if "huggingface_hub" not in sys.modules:
        return ""
    from huggingface_hub.utils import httpx

    return f"the Hub cannot be reached: {first_line(error)}" if isinstance(error, httpx.HTTPError) else ""


def status(error: Any) -> int:
    """Of a Hub's answer; 0 where there was none."""
    return error.response.status_code if getattr(error, "response", None) is not None else 0
