"""The gateway before the page: only the routes that it and the documented API need reach Gradio, with checked bodies.

Gradio itself answers many more routes, reads bodies of any size, downloads files from addresses that a visitor names,
and answers to any host name, so that pages of other sites could reach a server on a visitor's own machine (DNS
rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
from errors import locate_error
from fastapi import FastAPI
from sessions import Sessions
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from upload_limits import MAX_FILES, MAX_MEGABYTES
from uploads import Uploads

MAX_CALL_BYTES = 1_000_000  # of a call of a function: file names and a text
MAX_MCP_BYTES = 10_000_000  # of an MCP call, which may hold a short recording in base64
MAX_UPLOAD_BYTES = MAX_FILES * MAX_MEGABYTES * 1_000_000 + 100_000
MAX_DEPTH = 20  # of nested lists and objects
BODY_TIMEOUT = 60.0  # seconds without a byte of a request's body
TRANSCRIBE_ARGUMENT = "sound"  # of the API's /transcribe
UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
CALL_ROUTES = re.compile(r"/gradio_api/(queue/join|cancel|reset|call/(v2/)?transcribe)/?")
MCP_ROUTES = re.compile(r"/gradio_api/mcp(/[^\n]*)?")
EVENT_ROUTES = re.compile(r"/gradio_api/(queue/data|call/(v2/)?transcribe/([\w-]{1,64}))")
GET_ROUTES = re.compile(
    r"/|/(config|gradio_api/info)/?|(/gradio_api)?/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"
    r"|/(assets|static)/[^\n]+|/gradio_api/(startup-events|upload_progress|heartbeat/[\w-]{1,64})"
)
# Fields by which Gradio would run a call in another way than the checks assume.
INTERNAL_FIELDS = ("simple_format", "batched", "oauth_token")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
# Gradio's page needs inline scripts, and eval for its HTML component; no file is loaded from other hosts.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
# Hugging Face shows a Space in a frame, and adds scripts of its own to the page.
SPACE_POLICY = "object-src 'none'; base-uri 'self'; frame-ancestors 'self' https://huggingface.co"

logger = logging.getLogger(__name__)


def allowed_hosts(bind_host: str, public_url: str = "") -> frozenset[str] | None:
    """The host names that a server answers to; None for any.

    A server on loopback has few names, and that of its `public_url` if a proxy stands before it. The names of other
    servers are known only to their owners.
    """
    host = bind_host.strip("[]").lower()
    if host != "localhost" and not (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        return None
    return frozenset({host, "localhost", urlsplit(public_url).hostname or "localhost"})


def is_allowed_host(host: str, hosts: frozenset[str] | None) -> bool:
    """Whether a request's host is an allowed name, or an IP address, which cannot be rebound.

    >>> is_allowed_host("localhost:7860", frozenset({"localhost"})), is_allowed_host("[::1]", frozenset())
    (True, True)
    >>> is_allowed_host("evil.example", frozenset({"localhost"}))
    False
    """
    return hosts is None or (name := _host_name(host)) in hosts or _is_address(name)


def is_same_site(origin: str, host: str, hosts: frozenset[str] | None) -> bool:
    """Whether a request comes from a page of this server.

    >>> is_same_site("http://127.0.0.1:7860", "127.0.0.1:7860", frozenset())
    True
    >>> is_same_site("http://203.0.113.5", "127.0.0.1", frozenset()), is_same_site("null", "localhost", frozenset())
    (False, False)
    """
    return hosts is None or _host_name(origin) in hosts | {_host_name(host)}


def _host_name(address: str) -> str:
    """The name or IP address in NAME, NAME:PORT or a URL."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def parse_call(body: bytes, input_counts: Mapping[int, int], is_upload: Callable[[str], bool]) -> dict[str, Any]:
    """A call of one of the page's functions, with files only by the path of an upload.

    Args:
        body: the request's body.
        input_counts: how many values each function takes, by its index.
        is_upload: whether a path is that of an upload.

    Raises:
        HTTPException: if it is not a call of an existing function, or names a file in another way.
    """
    try:
        call = json.loads(body, parse_constant=int)  # int refuses NaN, which is not JSON
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body must be JSON") from None
    if not isinstance(call, dict):
        raise HTTPException(400, "the body must be an object")
    if "fn_index" in call and "data" in call:
        index, data = call["fn_index"], call["data"]
        is_known = type(index) is int and index in input_counts
        if not is_known or not isinstance(data, list) or len(data) != input_counts[index]:
            raise HTTPException(400, "there is no such function")
    session = call.get("session_hash")
    if session is not None and not (isinstance(session, str) and re.fullmatch(r"[\w-]{1,64}", session)):
        raise HTTPException(400, "session_hash is not a session")
    fields = {key: value for key, value in call.items() if key not in INTERNAL_FIELDS}
    checked: dict[str, Any] = _check_files(fields, is_upload)
    return checked


def _check_files(value: Any, is_upload: Callable[[str], bool], depth: int = 0) -> Any:
    """The value with each file named by the path of an upload. Raises HTTPException."""
    if depth > MAX_DEPTH:
        raise HTTPException(400, "the body is nested too deeply")
    if isinstance(value, list):
        return [_check_files(item, is_upload, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    checked = {key: _check_files(item, is_upload, depth + 1) for key, item in value.items() if key != "url"}
    if {"path", "url", "meta"} & set(value):
        path = checked.get("path")
        if isinstance(path, str) and path.startswith(("http://", "https://")) and FILE in path:
            checked["path"] = path = unquote(path.split(FILE, 1)[1])  # an upload, named by its address here
        if not isinstance(path, str) or not is_upload(path):
            raise HTTPException(400, "upload the file first: no other address or path is read")
    return checked


class Gateway:
    """Routes requests to `api`, which programs call, or to Gradio's `page`."""

    def __init__(
        self,
        api: FastAPI,
        page: ASGIApp,
        uploads: Uploads,
        sessions: Sessions,
        input_counts: Mapping[int, int],
        hosts: frozenset[str] | None,
        mcp: bool = False,
    ) -> None:
        self.api, self.page, self.uploads, self.sessions = api, page, uploads, sessions
        self.input_counts, self.hosts, self.mcp = input_counts, hosts, mcp
        self.headers = HEADERS | {"Content-Security-Policy": SPACE_POLICY if os.environ.get("SPACE_ID") else POLICY}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        async def refuse(status: int, message: str) -> None:
            with suppress(Exception):  # the client may have left
                if scope["type"] == "websocket":
                    await WebSocketClose(1008, message)(scope, receive, send)
                elif has_started:
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await JSONResponse({"detail": message}, status)(scope, receive, send_with_headers)

        try:
            await self._route(scope, receive, send_with_headers)
        except HTTPException as error:
            await refuse(error.status_code, error.detail)
        except ClientDisconnect:
            pass
        except Exception as error:
            logger.error("a request failed: %s", locate_error(error))
            await refuse(500, "the server failed")

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not is_allowed_host(host, self.hosts):
            raise HTTPException(421, "this server is localhost; behind a proxy, set GRADIO_ROOT_PATH to its address")
        if path.startswith("/v1/") or any(route.matches(scope)[0] is not Match.NONE for route in self.api.routes):
            return await self.api(scope, receive, send)
        if scope["type"] != "http":
            raise HTTPException(404, "Not Found")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method == "OPTIONS":
            method = headers.get("access-control-request-method", "")
        if method == "POST" and "origin" in headers and not is_same_site(headers["origin"], host, self.hosts):
            raise HTTPException(403, "a page of another site may not call this server")
        if self.mcp and MCP_ROUTES.fullmatch(path):
            await self.page(scope, limit_body(receive, headers, MAX_MCP_BYTES), send)
        elif method == "GET" and (match := EVENT_ROUTES.fullmatch(path)):
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            with self.sessions.listening(match[3] or session):
                await self.page(scope, receive, send)
        elif method == "GET" and (GET_ROUTES.fullmatch(path) or self._is_readable_file(path)):
            await self.page(scope, receive, send)
        elif method == "POST" and path == UPLOAD:
            body = limit_body(receive, headers, MAX_UPLOAD_BYTES, self.uploads.check_space)
            await self.page(scope, body, send)
        elif method == "POST" and CALL_ROUTES.fullmatch(path):
            if scope["method"] == "POST":
                receive = await self._check_call(receive, headers, is_api_call="/v2/" in path)
            await self.page(scope, receive, send)
        else:
            raise HTTPException(404, "Not Found")

    def _is_readable_file(self, path: str) -> bool:
        return path.startswith(FILE) and self.uploads.is_readable(path.removeprefix(FILE))

    async def _check_call(self, receive: Receive, headers: Headers, is_api_call: bool) -> Receive:
        """Read and check a call; returns a channel that delivers the checked body instead."""
        body, has_more, receive_limited = b"", True, limit_body(receive, headers, MAX_CALL_BYTES)
        while has_more:
            message = await receive_limited()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body, has_more = body + message.get("body", b""), message.get("more_body", False)
        call = parse_call(body, self.input_counts, self.uploads.is_upload)
        if is_api_call and set(call) != {TRANSCRIBE_ARGUMENT}:
            raise HTTPException(400, f"the body must hold {TRANSCRIBE_ARGUMENT} alone")
        bodies = [json.dumps(call).encode()]

        async def receive_checked() -> Message:
            return {"type": "http.request", "body": bodies.pop()} if bodies else await receive()

        return receive_checked


def limit_body(receive: Receive, headers: Headers, max_bytes: int, check: Callable[[], None] = lambda: None) -> Receive:
    """A channel for a request's body that raises HTTPException if it is too large, or comes too slowly.

    A Content-Length above the limit is refused before the body is read. `check` is called before each chunk, and may
    raise HTTPException too.
    """
    check()
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise HTTPException(413, f"the body may have at most {max_bytes} bytes")
    received, has_ended = 0, False

    async def receive_limited() -> Message:
        nonlocal received, has_ended
        if has_ended:
            return await receive()
        try:
            with anyio.fail_after(BODY_TIMEOUT):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing was received for {BODY_TIMEOUT:g} s") from None
        received, has_ended = received + len(message.get("body", b"")), not message.get("more_body", False)
        if received > max_bytes:
            raise HTTPException(413, f"the body may have at most {max_bytes} bytes")
        check()
        return message

    return receive_limited
