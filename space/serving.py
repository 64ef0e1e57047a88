"""The engine for requests that come at once: how many are served, how many wait, and an end where a caller is gone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup
from audio import RATE, Sound
from batching import Stopped
from decoding import DecodingOptions
from transcriber import Transcriber
from transcript import Segment

WAITING = 32
SMOOTHING = 0.2  # weight of the latest request in the mean of what one takes
LONGEST_WAIT = 60  # seconds that a caller is asked to wait, at most

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Busy(Exception):
    """Too many requests wait; `seconds` tells when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests wait; try again in {seconds} s")
        self.seconds = seconds


class Full(Exception):
    """The machine has no memory for a request now; `seconds` tells when to come again."""

    seconds = 30

    def __init__(self) -> None:
        super().__init__(f"the server is short of memory; try again in {self.seconds} s")


class Slots:
    """One is held by each request that is served; where all are taken, the next ones wait."""

    def __init__(self, at_once: int, waiting: int = WAITING) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._most_waiting = waiting
        self._mean = 1.0  # seconds that a request holds one

    @property
    def waiting(self) -> int:
        return self._limiter.statistics().tasks_waiting

    @property
    def taken(self) -> int:
        return int(self._limiter.borrowed_tokens)

    def check(self) -> None:
        """Raise `Busy` where no more may wait."""
        if self.waiting >= self._most_waiting:
            wait = self._mean * (self.waiting + 1) / self._limiter.total_tokens
            raise Busy(min(LONGEST_WAIT, max(1, math.ceil(wait))))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. Raises `Busy`."""
        self.check()
        async with self._limiter:
            began = time.monotonic()
            try:
                yield
            finally:
                self._mean += SMOOTHING * (time.monotonic() - began - self._mean)


class Engine:
    """A transcriber behind slots. `transcribed` is told the seconds of each sound and those that it took."""

    def __init__(
        self, transcriber: Transcriber, slots: Slots, transcribed: Callable[[float, float], None] = lambda *_: None
    ) -> None:
        self.transcriber, self.slots, self._transcribed = transcriber, slots, transcribed

    async def open(self, hear: Callable[[], Sound]) -> Sound:
        """What `hear` returns, which reads a file and so takes time."""
        async with self.slots.slot():
            return await anyio.to_thread.run_sync(hear)

    async def transcribe(self, sound: Sound, options: DecodingOptions, words: bool, receive: Receive) -> list[Segment]:
        """The segments of a sound, or as many as there were when `receive` told that the caller had left."""
        gone = threading.Event()
        async with self.slots.slot(), _tasks() as group:
            group.start_soon(_leaves, receive, gone)
            found = await anyio.to_thread.run_sync(lambda: list(self._segments(sound, options, words, gone)))
            group.cancel_scope.cancel()
        return found

    async def stream(self, sound: Sound, options: DecodingOptions) -> AsyncIterator[Segment]:
        """The segments of a sound as they are decoded; who stops to ask for them ends the work."""
        gone = threading.Event()
        send, receive = anyio.create_memory_object_stream[Segment](math.inf)

        def hear() -> None:
            try:
                for segment in self._segments(sound, options, False, gone):
                    anyio.from_thread.run_sync(send.send_nowait, segment)
            finally:
                anyio.from_thread.run_sync(send.close)

        async with self.slots.slot(), _tasks() as group:
            group.start_soon(anyio.to_thread.run_sync, hear)
            try:
                async for segment in receive:
                    yield segment
            finally:
                gone.set()

    def _segments(
        self, sound: Sound, options: DecodingOptions, words: bool, gone: threading.Event
    ) -> Iterator[Segment]:
        began = time.monotonic()
        with _full(), suppress(Stopped):
            yield from self.transcriber.segments(sound.samples, words, options, lambda: not gone.is_set())
            self._transcribed(len(sound.samples) / RATE, time.monotonic() - began)


@asynccontextmanager
async def _tasks() -> AsyncIterator[TaskGroup]:
    """A task group that raises what one of its tasks does, and no group of errors."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


@contextmanager
def _full() -> Iterator[None]:
    """Raises `Full` where memory ran out: the machine's, or that of CTranslate2's GPU."""
    try:
        yield
    except MemoryError:
        raise Full from None
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise Full from None


async def _leaves(receive: Receive, gone: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
