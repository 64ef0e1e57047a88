"""The engine under concurrent requests: how many run, how many wait, and cancellation when a caller has left."""

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
from batching import Cancelled
from decoding import DecodingOptions
from transcriber import Transcriber
from transcript import Segment

MAX_WAITING = 32  # requests
SMOOTHING = 0.2  # weight of the latest request in the moving average of request times
MAX_RETRY_SECONDS = 60  # in a Retry-After header

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class TooManyRequests(Exception):
    """Too many requests wait; try again in `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests wait; try again in {seconds} s")
        self.seconds = seconds


class OutOfMemory(Exception):
    """The machine has no memory for the request now; try again in `seconds`."""

    seconds = 30

    def __init__(self) -> None:
        super().__init__(f"the server is short of memory; try again in {self.seconds} s")


class RequestSlots:
    """Each running request holds a slot; while all are taken, further requests wait."""

    def __init__(self, slots: int, max_waiting: int = MAX_WAITING) -> None:
        self._limiter = anyio.CapacityLimiter(slots)
        self._max_waiting = max_waiting
        self._mean_seconds = 1.0  # that a request holds a slot

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._limiter.statistics().tasks_waiting

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return int(self._limiter.borrowed_tokens)

    def check(self) -> None:
        """Raise `TooManyRequests` if no more may wait."""
        if self.waiting >= self._max_waiting:
            seconds = self._mean_seconds * (self.waiting + 1) / self._limiter.total_tokens
            raise TooManyRequests(min(MAX_RETRY_SECONDS, max(1, math.ceil(seconds))))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. Raises `TooManyRequests`."""
        self.check()
        async with self._limiter:
            began = time.monotonic()
            try:
                yield
            finally:
                self._mean_seconds += SMOOTHING * (time.monotonic() - began - self._mean_seconds)


class Engine:
    """A transcriber behind slots. `on_transcribed` gets each audio's seconds and the seconds that it took."""

    def __init__(
        self, transcriber: Transcriber, slots: RequestSlots,
        on_transcribed: Callable[[float, float], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self.transcriber, self.slots, self._on_transcribed = transcriber, slots, on_transcribed

    async def read(self, read: Callable[[], Sound]) -> Sound:
        """Run `read`, which decodes a file, in a thread that holds a slot."""
        async with self.slots.slot():
            return await anyio.to_thread.run_sync(read)

    async def transcribe(self, sound: Sound, options: DecodingOptions, words: bool, receive: Receive) -> list[Segment]:
        """The segments of a recording; fewer if `receive`, an ASGI channel, tells that the caller has left."""
        has_left = threading.Event()
        async with self.slots.slot(), _task_group() as group:
            group.start_soon(_watch_disconnect, receive, has_left)
            segments = await anyio.to_thread.run_sync(lambda: list(self._segments(sound, options, words, has_left)))
            group.cancel_scope.cancel()
        return segments

    async def stream(self, sound: Sound, options: DecodingOptions) -> AsyncIterator[Segment]:
        """The segments of a recording as they are decoded. Closing the iterator cancels the rest."""
        has_left = threading.Event()
        send, receive = anyio.create_memory_object_stream[Segment](math.inf)

        def decode() -> None:
            try:
                for segment in self._segments(sound, options, False, has_left):
                    anyio.from_thread.run_sync(send.send_nowait, segment)
            finally:
                anyio.from_thread.run_sync(send.close)

        async with self.slots.slot(), _task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, decode)
            try:
                async for segment in receive:
                    yield segment
            finally:
                has_left.set()

    def _segments(
        self, sound: Sound, options: DecodingOptions, words: bool, has_left: threading.Event
    ) -> Iterator[Segment]:
        began = time.monotonic()
        with _out_of_memory(), suppress(Cancelled):
            yield from self.transcriber.segments(sound.samples, words, options, lambda: not has_left.is_set())
            self._on_transcribed(len(sound.samples) / RATE, time.monotonic() - began)


@asynccontextmanager
async def _task_group() -> AsyncIterator[TaskGroup]:
    """A task group that raises its first task's error by itself, not in an ExceptionGroup."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


@contextmanager
def _out_of_memory() -> Iterator[None]:
    """Raise `OutOfMemory` where the machine's or the GPU's memory runs out."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory from None
    except RuntimeError as error:  # CTranslate2's
        if "out of memory" not in str(error):
            raise
        raise OutOfMemory from None


async def _watch_disconnect(receive: Receive, has_left: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    has_left.set()
