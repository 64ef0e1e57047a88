"""Sounds of several callers heard in one batch: what one caller brings leaves a GPU mostly idle."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(Exception):
    """Nobody waits for the text any more."""


class _Call(Generic[Key, Item, Result]):
    """What one caller waits for."""

    def __init__(self, key: Key, items: Sequence[Item], wanted: Callable[[], bool]) -> None:
        self.key, self.wanted = key, wanted
        self.left = deque(enumerate(items))  # not begun yet
        self.results = dict[int, Result]()
        self.missing = len(items)
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def take(self, at: int, result: Result) -> None:
        self.results[at] = result
        self.missing -= 1
        if not self.missing:
            self.ended.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.left.clear()
        self.ended.set()


class Batcher(Generic[Key, Item, Result]):
    """Calls `run` with the items of all callers that wait, `most` at once, in `threads` of its own.

    A batch begins as soon as a thread is free, with what waits then, so one caller alone waits for nobody. It holds
    items of one key, and of each caller in turn, so that a long sound does not keep a short one waiting.
    """

    def __init__(self, run: Callable[[Key, Sequence[Item]], Sequence[Result]], most: int, threads: int = 1) -> None:
        self._run, self._most = run, most
        self._calls = deque[_Call[Key, Item, Result]]()  # those of which something has not begun
        self._arrived = threading.Condition()
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, key: Key, items: Sequence[Item], wanted: Callable[[], bool] = lambda: True) -> list[Result]:
        """The items' results, in their order. Raises what `run` does, and `Stopped` where they are not wanted."""
        if not items:
            return []
        call = _Call[Key, Item, Result](key, items, wanted)
        with self._arrived:
            self._calls.append(call)
            self._arrived.notify_all()
        call.ended.wait()
        if call.error:
            raise call.error
        return [call.results[at] for at in range(len(items))]

    def _work(self) -> None:
        while True:
            with self._arrived:
                while not (batch := self._batch()):
                    self._arrived.wait()
            try:
                results = self._run(batch[0][0].key, [item for _, _, item in batch])
            except BaseException as error:  # it is the callers' to handle
                for call, _, _ in batch:
                    call.fail(error)
                continue
            with self._arrived:
                for (call, at, _), result in zip(batch, results, strict=True):
                    call.take(at, result)

    def _batch(self) -> list[tuple[_Call[Key, Item, Result], int, Item]]:
        """The next items, one of each caller with the first one's key in turn; none where nobody waits."""
        for call in self._calls:
            if not call.wanted():
                call.fail(Stopped())
        self._calls = deque(call for call in self._calls if call.left)
        turns = deque(call for call in self._calls if call.key == self._calls[0].key)
        batch = list[tuple[_Call[Key, Item, Result], int, Item]]()
        while turns and len(batch) < self._most:
            call = turns.popleft()
            batch.append((call, *call.left.popleft()))
            if call.left:
                turns.append(call)
        self._calls.rotate(-1)  # the next batch begins with another caller
        return batch
