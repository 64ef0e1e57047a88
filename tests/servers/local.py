"""What the tests' own HTTP servers have in common."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import Self


class Served:
    """A server on a free port of loopback, in a thread, from `with` to the end of its block."""

    def server(self) -> ThreadingHTTPServer:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._server = self.server()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone, before the block ends too."""
        self._server.shutdown()
        self._server.server_close()
