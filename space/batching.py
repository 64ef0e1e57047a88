"""Requests of several callers in one batch: the audio of one caller leaves a GPU mostly idle."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Cancelled(Exception):
    """The caller no longer waits for the result."""


class _Request(Generic[Key, Item, Result]):
    """One caller's items and their results so far."""

    def __init__(self, key: Key, items: Sequence[Item], is_wanted: Callable[[], bool]) -> None:
        self.key, self.is_wanted = key, is_wanted
        self.pending = deque(enumerate(items))  # not started yet
        self.results = dict[int, Result]()
        self.missing = len(items)
        self.error: BaseException | None = None
        self.done = threading.Event()

    def add_result(self, index: int, result: Result) -> None:
        self.results[index] = result
        self.missing -= 1
        if not self.missing:
            self.done.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.pending.clear()
        self.done.set()


class Batcher(Generic[Key, Item, Result]):
    """Calls `run` with the items of all waiting callers, at most `max_batch` at once, in `threads` of its own.

    A batch starts as soon as a thread is free, with the items that wait then, so a lone caller never waits for others.
    Its items have the same key, taken from each caller in turn, so that a long recording does not delay a short one.
    """

    def __init__(
        self, run: Callable[[Key, Sequence[Item]], Sequence[Result]], max_batch: int, threads: int = 1
    ) -> None:
        self._run, self._max_batch = run, max_batch
        self._requests = deque[_Request[Key, Item, Result]]()  # those with items that have not started
        self._arrived = threading.Condition()
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, key: Key, items: Sequence[Item], is_wanted: Callable[[], bool] = lambda: True) -> list[Result]:
        """The items' results, in order.

        Raises:
            Cancelled: if the results are no longer wanted.
            Exception: whatever `run` raises.
        """
        if not items:
            return []
        request = _Request[Key, Item, Result](key, items, is_wanted)
        with self._arrived:
            self._requests.append(request)
            self._arrived.notify_all()
        request.done.wait()
        if request.error:
            raise request.error
        return [request.results[index] for index in range(len(items))]

    def _work(self) -> None:
        while True:
            with self._arrived:
                while not (batch := self._next_batch()):
                    self._arrived.wait()
            try:
                results = self._run(batch[0][0].key, [item for _, _, item in batch])
            except BaseException as error:  # raised again in each caller's thread
                for request, _, _ in batch:
                    request.fail(error)
                continue
            with self._arrived:
                for (request, index, _), result in zip(batch, results, strict=True):
                    request.add_result(index, result)

    def _next_batch(self) -> list[tuple[_Request[Key, Item, Result], int, Item]]:
        """The next items, from each caller with the first caller's key in turn; empty if none wait."""
        for request in self._requests:
            if not request.is_wanted():
                request.fail(Cancelled())
        self._requests = deque(request for request in self._requests if request.pending)
        turns = deque(request for request in self._requests if request.key == self._requests[0].key)
        batch = list[tuple[_Request[Key, Item, Result], int, Item]]()
        while turns and len(batch) < self._max_batch:
            request = turns.popleft()
            batch.append((request, *request.pending.popleft()))
            if request.pending:
                turns.append(request)
        self._requests.rotate(-1)  # the next batch starts with another caller
        return batch
