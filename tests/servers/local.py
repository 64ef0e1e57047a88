"""The common base of the tests' own HTTP servers."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import Self


class LocalServer:
    """A server on a free port of loopback, in a thread, for a `with` block."""

    def make_server(self) -> ThreadingHTTPServer:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._server = self.make_server()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops the server; a test may do so before the block ends."""
        self._server.shutdown()
        self._server.server_close()
