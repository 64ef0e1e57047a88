"""What the APIs have in common: messages as they come, and the form of faults and of what was used."""

from __future__ import annotations

import json
import math
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import anyio
from fastapi import WebSocket, WebSocketDisconnect
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
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


async def received(socket: WebSocket, longest: float) -> MutableMapping[str, Any]:
    """The next message. Raises WebSocketDisconnect where the caller leaves, or sends none for `longest` seconds."""
    with anyio.move_on_after(longest):
        message = await socket.receive()
        if message["type"] != "websocket.disconnect":
            return message
    raise WebSocketDisconnect


async def hung_up(socket: WebSocket) -> None:
    """Close a connection, if it is open still."""
    with suppress(Exception):
        await socket.close()


def usage(seconds: float) -> dict[str, Any]:
    """The sound that was transcribed, in whole seconds."""
    return {"type": "duration", "seconds": math.ceil(seconds)}
