"""Decoding in a process of its own, so that a file that crashes the decoder, or never ends, costs that file alone.

The training flow reads through a link to this module, too. A process decodes one file after the other; it is not made
anew for each, since loading FFmpeg takes longer than decoding a clip. It is asked in JSON and bytes, and answers in
them: what comes from a process that a stranger's file may have harmed is not unpickled.
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

AHEAD = 8  # blocks in an answer, half a minute of sound: most clips take one question and one answer
WORK = 32_000_000  # values of a channel after which an answer is short: who asks has limits of their own
BUSY = 30.0  # seconds of CPU time that an answer may take
MEMORY = 4 << 30  # bytes that a process may take, beside the content of a file
SENT = 1 << 20  # bytes; of an open file that is larger not the content is sent, but the file
IDLE = 2  # processes that wait for the next file

Answer = tuple[dict[str, Any], np.ndarray]


class Crashed(audio.Unreadable):
    """The decoder crashed."""


class Hung(audio.Unreadable):
    """The decoder took too long."""


class Recording(audio.Recording):
    """A file that is decoded elsewhere; else as `audio.Recording`. Iterating raises `Crashed` or `Hung`, too."""

    def __iter__(self) -> Iterator[np.ndarray]:
        self.faults.clear()
        with _begun(self._file) as (process, (told, sound)):
            while True:
                self.seconds, self.pictured, self.work = told["seconds"], told["pictured"], told["work"]
                self.faults[:] = [(at, fault) for at, fault in told["faults"]]
                yield sound
                if told["ended"]:
                    return
                told, sound = process.ask({"more": True})


class _Process:
    """A process that decodes."""

    def __init__(self) -> None:
        self._files, there = socket.socketpair()
        with there:
            # In a group of its own: Ctrl-C is not for it. It ends where nobody is left to ask.
            self._child = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno()), str(BUSY)],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                process_group=0,
            )
        self._channel = Connection(os.dup(self._files.fileno()))
        self.is_new, self.is_there, self.is_in_a_file = True, True, False

    def begin(self, file: str | Path | bytes | IO[bytes]) -> Answer:
        """The first answer about a file. Raises as `ask`."""
        if isinstance(file, str | Path):
            return self.ask({"path": os.fspath(file)})
        if isinstance(file, bytes):
            return self.ask({"bytes": len(file)}, file)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size > SENT:
            with suppress(io.UnsupportedOperation):  # of what lies in memory
                return self.ask({"open": True}, number=file.fileno())
        return self.ask({"bytes": size}, file.read())

    def ask(self, question: dict[str, Any], content: bytes | None = None, number: int | None = None) -> Answer:
        """Raises `Unreadable`, and OSError where there is no file; `Crashed` and `Hung` are its end."""
        try:
            self._channel.send_bytes(json.dumps(question).encode())
            if content is not None:
                self._channel.send_bytes(content)
            if number is not None:
                socket.send_fds(self._files, [b"."], [number])
            told, sound = json.loads(self._channel.recv_bytes()), self._channel.recv_bytes()
        except (EOFError, ConnectionError):
            hung = self._child.wait() == -signal.SIGPROF
            self.end()
            raise Hung("decoding takes too long") if hung else Crashed("the decoder crashed") from None
        self.is_new, self.is_in_a_file = False, not told["ended"]
        if "system" in told:
            raise OSError(*told["system"])
        if "unreadable" in told:
            raise audio.Unreadable(told["unreadable"])
        return told, np.frombuffer(sound, np.float32)

    def rest(self) -> None:
        """Wait for the next file, or end where enough others do."""
        if self.is_in_a_file:
            self._channel.send_bytes(json.dumps({"more": False}).encode())
        if len(_idle) < IDLE:
            _idle.append(self)
        else:
            self.end()

    def end(self) -> None:
        self.is_there = False
        self._channel.close()
        self._files.close()
        self._child.kill()
        self._child.wait()


_idle: list[_Process] = []
os.register_at_fork(after_in_child=_idle.clear)  # two processes cannot talk to one


@contextmanager
def _begun(file: str | Path | bytes | IO[bytes]) -> Iterator[tuple[_Process, Answer]]:
    """A process, and its first answer about the file."""
    try:
        process = _idle.pop()
    except IndexError:
        process = _Process()
    try:
        try:
            answer = process.begin(file)
        except Crashed:
            if process.is_new:
                raise
            process = _Process()  # a file before this one may have harmed the other
            answer = process.begin(file)
        yield process, answer
    finally:
        if process.is_there:
            process.rest()


def _answers(file: str | bytes | IO[bytes], busy: float) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What the process tells of a file, and its sound."""
    recording, is_over = audio.Recording(file), False
    blocks = iter(recording)
    try:
        while not is_over:
            signal.setitimer(signal.ITIMER_PROF, busy)  # which ends this process
            several, most = list[np.ndarray](), recording.work + WORK
            for block in blocks:
                several.append(block)
                if len(several) == AHEAD or recording.work > most:
                    break
            else:
                is_over = True
            told = {key: getattr(recording, key) for key in ("seconds", "pictured", "work", "faults")}
            yield told | {"ended": is_over}, np.concatenate([np.zeros(0, np.float32), *several]).tobytes()
    except audio.Unreadable as error:
        yield {"ended": True, "unreadable": str(error)}, b""
    except OSError as error:
        yield {"ended": True, "system": (error.errno, error.strerror, error.filename)}, b""
    except Exception:  # what hostile bytes bring out
        yield {"ended": True, "unreadable": "no readable audio in this file"}, b""


def _serve(files: socket.socket, busy: float) -> None:
    channel = Connection(os.dup(files.fileno()))
    with suppress(EOFError):
        while True:
            asked = json.loads(channel.recv_bytes())
            _limit(MEMORY + 2 * asked.get("bytes", 0))
            with _given(asked, channel, files) as file:
                for told, sound in _answers(file, busy):
                    channel.send_bytes(json.dumps(told).encode())
                    channel.send_bytes(sound)
                    if not told["ended"] and not json.loads(channel.recv_bytes())["more"]:
                        break


def _given(asked: dict[str, Any], channel: Any, files: socket.socket) -> AbstractContextManager[Any]:
    """The file that is asked about."""
    if "open" in asked:
        _, (number,), *_ = socket.recv_fds(files, 1, 1)
        return os.fdopen(number, "rb")
    return nullcontext(asked["path"] if "path" in asked else channel.recv_bytes())


def _limit(most: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # a system that cannot
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]))
