"""The connection to the Hugging Face Hub: whether it is there, and retries where it fails for a moment.

huggingface_hub retries each file for 24 s, also where there is no network at all.
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

MAX_ATTEMPTS = 6
FIRST_WAIT = 1.0  # seconds; doubled each time
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # statuses worth a retry
ANSWER_SECONDS = 4.0  # a DNS look-up has no timeout of its own


@cache
def unreachable_reason() -> str:
    """Why the Hub cannot be reached; empty where a server answers, with any status."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import httpx

    # huggingface_hub raises a ConnectionError where HF_HUB_OFFLINE is set.
    no_connection = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
        ConnectionError,
    )
    reasons = SimpleQueue[str]()

    def connect() -> None:
        try:
            get_session().head(constants.ENDPOINT, follow_redirects=False)
        except no_connection as error:
            reasons.put(str(error) or type(error).__name__)
        except httpx.HTTPError:
            reasons.put("")  # a server is there; `retry` waits for it
        else:
            reasons.put("")

    threading.Thread(target=connect, daemon=True).start()
    try:
        return reasons.get(timeout=ANSWER_SECONDS)
    except Empty:
        return f"{constants.ENDPOINT} does not answer within {ANSWER_SECONDS:g} s"


def retry(call: Callable[[], T]) -> T:
    """The result of the call, tried again with growing waits after a transient failure of the Hub or the network."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(MAX_ATTEMPTS):
        try:
            return call()
        except (HfHubHTTPError, TransportError, ConnectionError) as error:
            if attempt == MAX_ATTEMPTS - 1 or (
                isinstance(error, HfHubHTTPError) and http_status(error) not in TRANSIENT
            ):
                raise
            retry_after = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
            wait = FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5)
            time.sleep(min(float(retry_after), 60.0) if retry_after.isdigit() else wait)
    raise AssertionError


def explain(error: Exception) -> str:
    """A failure of the network or the Hub in one line; empty where the error has another cause."""
    if "huggingface_hub" not in sys.modules:
        return ""
    from huggingface_hub.utils import httpx

    return f"the Hub cannot be reached: {first_line(error)}" if isinstance(error, httpx.HTTPError) else ""


def http_status(error: Any) -> int:
    """The HTTP status of an error's response; 0 where there was none."""
    return error.response.status_code if getattr(error, "response", None) is not None else 0
