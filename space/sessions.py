"""Who waits for what at the page: a call that nobody listens to is ended, and what it left is forgotten."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from gradio.context import LocalContext

ALONE = 15.0  # seconds in which whoever calls begins to listen
AWAY = 300.0  # seconds after which one whose page is closed does not come back


class Sessions:
    """Those of a page's queue (Gradio's `Blocks`)."""

    def __init__(self, blocks: Any) -> None:
        self._blocks, self._queue = blocks, blocks._queue
        self._listening = Counter[str]()  # open connections by session, or by the one event that is asked for
        self._alone = dict[str, float]()  # since when nobody listens to a session

    @contextmanager
    def listening(self, name: str) -> Iterator[None]:
        self._listening[name] += 1
        try:
            yield
        finally:
            self._listening[name] -= 1
            self._listening += Counter()  # only what is above zero

    async def sweep(self, now: float | None = None) -> None:
        """End what nobody listens to. `now` is the clock's time."""
        now = time.monotonic() if now is None else now
        pending, events = self._queue.pending_messages_per_session, self._queue.pending_event_ids_session
        self._alone = {name: self._alone.get(name, now) for name in pending if not self._heard(name, events)}
        for name in [name for name, since in self._alone.items() if now - since > ALONE]:
            await self._queue.clean_events(session_hash=name)
            pending.pop(name, None)
            events.pop(name, None)
        held = self._blocks.app.state_holder
        for name, state in list(held.session_data.items()):
            used = held.time_last_used.get(name)
            if state.is_closed and used and (datetime.now() - used).total_seconds() > AWAY:
                held.session_data.pop(name, None)
                held.time_last_used.pop(name, None)

    def _heard(self, name: str, events: dict[str, set[str]]) -> bool:
        return any(self._listening[one] for one in (name, *events.get(name, ())))


def wanted() -> Callable[[], bool]:
    """Whether the caller of the function that runs still waits for it: the queue notes that nobody does, no more."""
    blocks, name = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = blocks._queue.event_ids_to_events.get(name) if blocks and name else None
    return lambda: event is None or event.alive
