"""The page's HTML as Gradio serves it, with what must come before Gradio's own scripts: its `head` comes after them."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

# The language that a visitor has chosen is the browser's for Gradio; screen readers pronounce the page by it.
HEAD = """<meta name="color-scheme" content="light dark"><script>
(() => {
  const chosen = document.cookie.match(/(?:^|; )language=(en|sv)(?:;|$)/)?.[1];
  if (chosen) Object.defineProperty(navigator, 'language', { get: () => chosen });
  document.documentElement.lang = (navigator.language || '').startsWith('sv') ? 'sv' : 'en';
})();
</script>"""


class Document:
    """The page with `HEAD`."""

    def __init__(self, page: ASGIApp) -> None:
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return await self.page(scope, receive, send)
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: MutableMapping[str, Any] = {}
        body = b""

        async def gather(message: MutableMapping[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(b"<head>", b"<head>" + HEAD.encode(), 1)
            others = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": [*others, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await self.page({**scope, "headers": plain}, receive, gather)
