"""Visitors' sessions in Gradio's queue: a call whose caller has left is cancelled, and its state is deleted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from gradio.context import LocalContext

LISTEN_SECONDS = 15.0  # within which a caller must start to listen for its events
CLOSED_SECONDS = 300.0  # after which the state of a closed page is deleted


class Sessions:
    """The sessions of a page (Gradio's `Blocks`)."""

    def __init__(self, blocks: Any) -> None:
        self._blocks, self._queue = blocks, blocks._queue
        self._listeners = Counter[str]()  # open connections, by session or by a single event's id
        self._idle_since = dict[str, float]()  # by session: since when no connection listens to it

    @contextmanager
    def listening(self, name: str) -> Iterator[None]:
        """Count a connection that listens to a session or an event."""
        self._listeners[name] += 1
        try:
            yield
        finally:
            self._listeners[name] -= 1
            self._listeners += Counter()  # drops the zeros

    async def sweep(self, now: float | None = None) -> None:
        """Cancel calls without a listener, and delete the state of closed pages. `now` is the monotonic clock's."""
        now = time.monotonic() if now is None else now
        pending, events = self._queue.pending_messages_per_session, self._queue.pending_event_ids_session
        without_listener = [name for name in pending if not self._has_listener(name, events)]
        self._idle_since = {name: self._idle_since.get(name, now) for name in without_listener}
        for name in [name for name, since in self._idle_since.items() if now - since > LISTEN_SECONDS]:
            await self._queue.clean_events(session_hash=name)
            pending.pop(name, None)
            events.pop(name, None)
        states = self._blocks.app.state_holder
        for name, state in list(states.session_data.items()):
            last_used = states.time_last_used.get(name)
            if state.is_closed and last_used and (datetime.now() - last_used).total_seconds() > CLOSED_SECONDS:
                states.session_data.pop(name, None)
                states.time_last_used.pop(name, None)

    def _has_listener(self, name: str, events: dict[str, set[str]]) -> bool:
        return any(self._listeners[key] for key in (name, *events.get(name, ())))


def watch_caller() -> Callable[[], bool]:
    """A function that tells whether the caller of the running Gradio function still waits.

    Gradio's queue only marks an event of a caller that left; it does not stop the function.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = blocks._queue.event_ids_to_events.get(event_id) if blocks and event_id else None
    return lambda: event is None or event.alive
