"""What the HTTP and WebSocket APIs share: OpenAI's form of errors and usage, and reading messages."""

from __future__ import annotations

import json
import math
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import anyio
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


def error_detail(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An `ErrorDetail` for a response with an HTTP status."""
    error_type = "server_error" if status >= 500 else "invalid_request_error"
    return ErrorDetail(message=message, type=error_type, param=param, code=code).model_dump()


def parse_object(text: str | None) -> dict[str, Any] | None:
    """The JSON object of a message; None if it is anything else."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


async def receive_message(socket: WebSocket, timeout: float) -> MutableMapping[str, Any]:
    """The next message. Raises WebSocketDisconnect if the client leaves, or sends none for `timeout` seconds."""
    with anyio.move_on_after(timeout):
        message = await socket.receive()
        if message["type"] != "websocket.disconnect":
            return message
    raise WebSocketDisconnect


async def close_socket(socket: WebSocket) -> None:
    """Close a connection if it is still open."""
    with suppress(Exception):
        await socket.close()


def usage(seconds: float) -> dict[str, Any]:
    """The length of the transcribed audio, in whole seconds."""
    return {"type": "duration", "seconds": math.ceil(seconds)}
