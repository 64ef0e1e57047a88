"""What OpenAI's HTTP and realtime APIs tell in the same form: faults, and what was used."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import BaseModel


class Fault(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


def fault(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """A `Fault` of a request that is answered with an HTTP status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return Fault(message=message, type=kind, param=param, code=code).model_dump()


def json_object(text: str | None) -> dict[str, Any] | None:
    """The object that a message holds; None where it holds none."""
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def usage(seconds: float) -> dict[str, Any]:
    """The sound that was transcribed, in whole seconds."""
    return {"type": "duration", "seconds": math.ceil(seconds)}
