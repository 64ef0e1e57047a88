"""What stands before the page: only what it and the documented API need reaches Gradio, and only in a known shape.

Gradio itself answers many more routes, reads bodies of any size, fetches a file that a visitor names by its address,
and answers to any name, so that a page of another site reaches the server on somebody's own machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
from audio_files import FILES, MEGABYTES
from fastapi import FastAPI
from sessions import Sessions
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from uploads import Uploads

MOST_JSON = 1_000_000  # bytes of a call: names of files, and a text
MOST_MCP = 10_000_000  # where a short sound may come in base64
MOST_UPLOAD = FILES * MEGABYTES * 1_000_000 + 100_000
DEEPEST = 20  # lists and objects in each other
PATIENCE = 60.0  # seconds without a byte of a body
CALLS = re.compile(r"/gradio_api/(queue/join|cancel|reset|call/(v2/)?transcribe)/?")
MCP = re.compile(r"/gradio_api/mcp(/[^\n]*)?")
SOUND = "sound"  # the argument's name
UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
EVENTS = re.compile(r"/gradio_api/(queue/data|call/(v2/)?transcribe/([\w-]{1,64}))")
READS = re.compile(
    r"/|/(config|gradio_api/info)/?|(/gradio_api)?/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"
    r"|/(assets|static)/[^\n]+|/gradio_api/(startup-events|upload_progress|heartbeat/[\w-]{1,64})"
)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
# Gradio's page needs scripts within it, and ones made of texts (its HTML component); nothing comes from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
# On a Space the page stands in one of Hugging Face, which puts scripts of its own into it.
SPACE_POLICY = "object-src 'none'; base-uri 'self'; frame-ancestors 'self' https://huggingface.co"

logger = logging.getLogger(__name__)


def names(bound: str, public: str = "") -> frozenset[str] | None:
    """The names that a server bound to a host answers to; None where any will do.

    One on loopback is called by few names, and by that of its `public` address where a proxy stands before it. Under
    which names others are reached only their owners know.
    """
    own = bound.strip("[]").lower()
    if own != "localhost" and not (_is_address(own) and ipaddress.ip_address(own).is_loopback):
        return None
    return frozenset({own, "localhost", urlsplit(public).hostname or "localhost"})


def is_called(host: str, known: frozenset[str] | None) -> bool:
    """Whether a request's host is one of the `known` names, or a number: nobody can rebind that.

    >>> is_called("localhost:7860", frozenset({"localhost"})), is_called("[::1]", frozenset())
    (True, True)
    >>> is_called("evil.example", frozenset({"localhost"}))
    False
    """
    return known is None or (name := _name(host)) in known or _is_address(name)


def is_own(origin: str, host: str, known: frozenset[str] | None) -> bool:
    """Whether a page of this server asks, and none of another site.

    >>> is_own("http://127.0.0.1:7860", "127.0.0.1:7860", frozenset())
    True
    >>> is_own("http://203.0.113.5", "127.0.0.1", frozenset()), is_own("null", "localhost", frozenset())
    (False, False)
    """
    return known is None or _name(origin) in known | {_name(host)}


def _name(address: str) -> str:
    """The name or number in NAME, NAME:PORT or a URL."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def call(body: bytes, inputs: Mapping[int, int], uploaded: Callable[[str], bool]) -> dict[str, Any]:
    """A call of the page's functions as Gradio gets it: what it has of its files are the paths of `uploaded` ones.

    `inputs` tells how many values each function takes. Raises HTTPException.
    """
    try:
        value = json.loads(body, parse_constant=int)  # which refuses NaN, as JSON does
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is to be JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the body is to be an object")
    if "fn_index" in value and "data" in value:
        at, data = value["fn_index"], value["data"]
        if type(at) is not int or at not in inputs or not isinstance(data, list) or len(data) != inputs[at]:
            raise HTTPException(400, "there is no such function here")
    session = value.get("session_hash")
    if session is not None and not (isinstance(session, str) and re.fullmatch(r"[\w-]{1,64}", session)):
        raise HTTPException(400, "this is no session")
    told = ("simple_format", "batched", "oauth_token")  # Gradio's own, by which a call is told to be another one
    clean: dict[str, Any] = _by_path({key: one for key, one in value.items() if key not in told}, uploaded)
    return clean


def _by_path(value: Any, uploaded: Callable[[str], bool], depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise HTTPException(400, "this is nested too deeply")
    if isinstance(value, list):
        return [_by_path(one, uploaded, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    clean = {key: _by_path(one, uploaded, depth + 1) for key, one in value.items() if key != "url"}
    if {"path", "url", "meta"} & set(value):
        path = clean.get("path")
        if isinstance(path, str) and path.startswith(("http://", "https://")) and FILE in path:
            clean["path"] = path = unquote(path.split(FILE, 1)[1])  # an upload of ours, by its address
        if not isinstance(path, str) or not uploaded(path):
            raise HTTPException(400, "upload the file first: nothing is read from an address or a path of the server")
    return clean


class Front:
    """Before everything: `api`, which programs call, and Gradio's `page`."""

    def __init__(
        self,
        api: FastAPI,
        page: ASGIApp,
        uploads: Uploads,
        sessions: Sessions,
        inputs: Mapping[int, int],
        known: frozenset[str] | None,
        mcp: bool = False,
    ) -> None:
        self.api, self.page, self.uploads, self.sessions = api, page, uploads, sessions
        self.inputs, self.known, self.mcp = inputs, known, mcp
        self.headers = HEADERS | {"Content-Security-Policy": SPACE_POLICY if os.environ.get("SPACE_ID") else POLICY}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def tell(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        async def refuse(status: int, why: str) -> None:
            with suppress(Exception):  # the caller has gone
                if scope["type"] == "websocket":
                    await WebSocketClose(1008, why)(scope, receive, send)
                elif began:
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await JSONResponse({"detail": why}, status)(scope, receive, tell)

        try:
            await self._answer(scope, receive, tell)
        except HTTPException as refused:
            await refuse(refused.status_code, refused.detail)
        except ClientDisconnect:
            pass
        except Exception as error:  # one line, without what a visitor gave
            logger.error("a request failed: %s", where(error))
            await refuse(500, "this failed here")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not is_called(host, self.known):
            raise HTTPException(421, "this server is localhost; behind a proxy, set GRADIO_ROOT_PATH to its address")
        if path.startswith("/v1/") or any(route.matches(scope)[0] is not Match.NONE for route in self.api.routes):
            return await self.api(scope, receive, send)
        if scope["type"] != "http":
            raise HTTPException(404, "Not Found")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method == "OPTIONS":
            method = headers.get("access-control-request-method", "")
        if method == "POST" and "origin" in headers and not is_own(headers["origin"], host, self.known):
            raise HTTPException(403, "a page of another site may not call this server")
        if self.mcp and MCP.fullmatch(path):
            await self.page(scope, limited(receive, headers, MOST_MCP), send)
        elif method == "GET" and (events := EVENTS.fullmatch(path)):
            given = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            with self.sessions.listening(events[3] or given):
                await self.page(scope, receive, send)
        elif method == "GET" and (READS.fullmatch(path) or self._is_open(path)):
            await self.page(scope, receive, send)
        elif method == "POST" and path == UPLOAD:
            await self.page(scope, limited(receive, headers, MOST_UPLOAD, self.uploads.check_room), send)
        elif method == "POST" and CALLS.fullmatch(path):
            if scope["method"] == "POST":
                receive = await self._call(receive, headers, "/v2/" in path)
            await self.page(scope, receive, send)
        else:
            raise HTTPException(404, "Not Found")

    def _is_open(self, path: str) -> bool:
        """Whether a file is one that a visitor brought, or of those that go with the page."""
        return path.startswith(FILE) and self.uploads.is_readable(path.removeprefix(FILE))

    async def _call(self, receive: Receive, headers: Headers, named: bool) -> Receive:
        """The call's body in place of the one that came, once it is found to be good."""
        body, more, stream = b"", True, limited(receive, headers, MOST_JSON)
        while more:
            message = await stream()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body, more = body + message.get("body", b""), message.get("more_body", False)
        told = call(body, self.inputs, self.uploads.is_upload)
        if named and set(told) != {SOUND}:
            raise HTTPException(400, f"the body is to hold {SOUND} alone")
        given = [json.dumps(told).encode()]

        async def again() -> Message:
            return {"type": "http.request", "body": given.pop()} if given else await receive()

        return again


def limited(receive: Receive, headers: Headers, most: int, check: Callable[[], None] = lambda: None) -> Receive:
    """A request's body of at most so many bytes, while `check` raises nothing. Raises HTTPException, where it can
    before the first of them."""
    check()
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise HTTPException(413, f"at most {most} bytes are taken")
    came, ended = 0, False

    async def next_piece() -> Message:
        nonlocal came, ended
        if ended:
            return await receive()
        try:
            with anyio.fail_after(PATIENCE):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {PATIENCE:g} s") from None
        came, ended = came + len(message.get("body", b"")), not message.get("more_body", False)
        if came > most:
            raise HTTPException(413, f"at most {most} bytes are taken")
        check()
        return message

    return next_piece


def where(error: BaseException) -> str:
    """An error's kind and the line of code that raised it.

    >>> where(ValueError("a visitor's text"))
    'ValueError'
    """
    kind, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)
    return f"{kind} in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else kind
