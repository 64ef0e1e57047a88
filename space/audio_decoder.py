"""Decoding in a worker process, so that a file that crashes the decoder, or never ends, costs that file alone.

The training flow imports this module through a link. A worker decodes one file after the other, since starting one and
loading FFmpeg takes longer than decoding a clip. Requests and responses are JSON and bytes, never pickles: a stranger's
file may have taken over the worker.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

if __package__:
    from asr.corpus import audio
else:
    import audio  # type: ignore[no-redef]

RESPONSE_BLOCKS = 8  # in a response, half a minute of audio: most clips take a single request
RESPONSE_WORK = 32_000_000  # samples after which a response is cut short, so that callers can apply their limits
CPU_SECONDS = 30.0  # that a response may take
MAX_MEMORY = 4 << 30  # bytes of a worker, besides the content of a file
MAX_CONTENT = 1 << 20  # bytes; a larger open file is sent as a descriptor, not as content
MAX_IDLE = 2  # workers that wait for the next file

Response = tuple[dict[str, Any], np.ndarray]


class Crashed(audio.Unreadable):
    """The decoder crashed."""


class Hung(audio.Unreadable):
    """The decoder took too long."""


class Recording(audio.Recording):
    """Like `audio.Recording`, but decoded in a worker. Iterating raises `Crashed` and `Hung`, too."""

    def __iter__(self) -> Iterator[np.ndarray]:
        self.faults.clear()
        with _start_decoding(self._file) as (worker, (info, sound)):
            while True:
                self.seconds, self.has_video, self.work = info["seconds"], info["has_video"], info["work"]
                self.faults[:] = [(position, fault) for position, fault in info["faults"]]
                yield sound
                if info["ended"]:
                    return
                info, sound = worker.request({"more": True})


class _Worker:
    """A process that decodes."""

    def __init__(self) -> None:
        self._socket, child_socket = socket.socketpair()
        with child_socket:
            # In its own process group, so that Ctrl-C does not reach it. It ends when the socket is closed.
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(child_socket.fileno()), str(CPU_SECONDS)],
                stdin=subprocess.DEVNULL,
                pass_fds=[child_socket.fileno()],
                process_group=0,
            )
        self._connection = Connection(os.dup(self._socket.fileno()))
        self.is_new, self.is_alive, self.is_decoding = True, True, False

    def open(self, file: str | Path | bytes | IO[bytes]) -> Response:
        """The first response about a file. Raises as `request`."""
        if isinstance(file, str | Path):
            return self.request({"path": os.fspath(file)})
        if isinstance(file, bytes):
            return self.request({"bytes": len(file)}, file)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size > MAX_CONTENT:
            with suppress(io.UnsupportedOperation):  # a file in memory has no descriptor
                return self.request({"open": True}, descriptor=file.fileno())
        return self.request({"bytes": size}, file.read())

    def request(self, request: dict[str, Any], content: bytes | None = None, descriptor: int | None = None) -> Response:
        """Send a request and receive its response.

        Raises:
            Unreadable: if the file has no readable audio.
            OSError: if there is no such file.
            Crashed, Hung: if the worker died or was killed; it is closed then.
        """
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            if content is not None:
                self._connection.send_bytes(content)
            if descriptor is not None:
                socket.send_fds(self._socket, [b"."], [descriptor])
            info, sound = json.loads(self._connection.recv_bytes()), self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            has_hung = self._process.wait() == -signal.SIGPROF
            self.close()
            raise Hung("decoding takes too long") if has_hung else Crashed("the decoder crashed") from None
        self.is_new, self.is_decoding = False, not info["ended"]
        if "system" in info:
            raise OSError(*info["system"])
        if "unreadable" in info:
            raise audio.Unreadable(info["unreadable"])
        return info, np.frombuffer(sound, np.float32)

    def release(self) -> None:
        """Keep the worker for the next file, or close it if enough others are idle."""
        if self.is_decoding:
            self._connection.send_bytes(json.dumps({"more": False}).encode())
        if len(_idle) < MAX_IDLE:
            _idle.append(self)
        else:
            self.close()

    def close(self) -> None:
        self.is_alive = False
        self._connection.close()
        self._socket.close()
        self._process.kill()
        self._process.wait()


_idle: list[_Worker] = []
os.register_at_fork(after_in_child=_idle.clear)  # two processes cannot share a worker


@contextmanager
def _start_decoding(file: str | Path | bytes | IO[bytes]) -> Iterator[tuple[_Worker, Response]]:
    """A worker, and its first response about the file."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    try:
        try:
            response = worker.open(file)
        except Crashed:
            if worker.is_new:
                raise
            worker = _Worker()  # an earlier file may have damaged the other one
            response = worker.open(file)
        yield worker, response
    finally:
        if worker.is_alive:
            worker.release()


def _decode(file: str | bytes | IO[bytes], cpu_seconds: float) -> Iterator[tuple[dict[str, Any], bytes]]:
    """In the worker: the responses about a file, each with its audio."""
    recording, has_ended = audio.Recording(file), False
    blocks = iter(recording)
    try:
        while not has_ended:
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends this process
            batch, max_work = list[np.ndarray](), recording.work + RESPONSE_WORK
            for block in blocks:
                batch.append(block)
                if len(batch) == RESPONSE_BLOCKS or recording.work > max_work:
                    break
            else:
                has_ended = True
            info = {key: getattr(recording, key) for key in ("seconds", "has_video", "work", "faults")}
            yield info | {"ended": has_ended}, np.concatenate([np.zeros(0, np.float32), *batch]).tobytes()
    except audio.Unreadable as error:
        yield {"ended": True, "unreadable": str(error)}, b""
    except OSError as error:
        yield {"ended": True, "system": (error.errno, error.strerror, error.filename)}, b""
    except Exception:  # hostile bytes can raise anything
        yield {"ended": True, "unreadable": "no readable audio in this file"}, b""


def _serve(files: socket.socket, cpu_seconds: float) -> None:
    """In the worker: handle requests until the socket is closed."""
    connection = Connection(os.dup(files.fileno()))
    with suppress(EOFError):
        while True:
            request = json.loads(connection.recv_bytes())
            _limit_memory(MAX_MEMORY + 2 * request.get("bytes", 0))
            with _receive_file(request, connection, files) as file:
                for info, sound in _decode(file, cpu_seconds):
                    connection.send_bytes(json.dumps(info).encode())
                    connection.send_bytes(sound)
                    if not info["ended"] and not json.loads(connection.recv_bytes())["more"]:
                        break


def _receive_file(request: dict[str, Any], connection: Any, files: socket.socket) -> AbstractContextManager[Any]:
    """The file of a request: a path, its content or an open file."""
    if "open" in request:
        _, (descriptor,), *_ = socket.recv_fds(files, 1, 1)
        return os.fdopen(descriptor, "rb")
    return nullcontext(request["path"] if "path" in request else connection.recv_bytes())


def _limit_memory(max_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # not supported by every system
        soft = max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]))
