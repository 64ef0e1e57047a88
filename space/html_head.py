"""Adds scripts to the head of Gradio's page that must run before Gradio's own; its `head` option comes after them."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

# Gradio translates by the browser's language, and screen readers pronounce by the page's: set both.
HEAD = """<meta name="color-scheme" content="light dark"><script>
(() => {
  const chosen = document.cookie.match(/(?:^|; )language=(en|sv)(?:;|$)/)?.[1];
  if (chosen) Object.defineProperty(navigator, 'language', { get: () => chosen });
  document.documentElement.lang = (navigator.language || '').startsWith('sv') ? 'sv' : 'en';
})();
</script>"""


class HeadMiddleware:
    """Inserts `HEAD` into the page's HTML."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return await self.app(scope, receive, send)
        # Uncompressed, so that the HTML can be edited.
        request_headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: MutableMapping[str, Any] = {}
        body = b""

        async def send_with_head(message: MutableMapping[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(b"<head>", b"<head>" + HEAD.encode(), 1)
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": request_headers}, receive, send_with_head)
