"""What Prometheus reads at /metrics: no text, no name of a file, no address."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from serving import Slots
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_TYPE_LATEST", "Measured", "Metrics"]

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
FACTORS = (0.5, 1, 2, 5, 10, 20, 50, 100)


class Metrics:
    """The counters of one server."""

    def __init__(self, slots: Slots) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("whisper_requests", "Requests answered", ["route", "status"], registry=registry)
        self.latency = Histogram(
            "whisper_request_seconds", "Seconds from a request to the end of its answer", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.sound = Counter("whisper_sound_seconds", "Seconds of sound transcribed", registry=registry)
        self.speed = Histogram(
            "whisper_real_time_factor", "Seconds of sound transcribed in a second, waiting left out",
            buckets=FACTORS, registry=registry,
        )  # fmt: skip
        Gauge("whisper_waiting", "Requests that wait", registry=registry).set_function(lambda: slots.waiting)
        Gauge("whisper_running", "Requests that are served", registry=registry).set_function(lambda: slots.taken)

    def transcribed(self, seconds: float, took: float) -> None:
        """Count a sound and the seconds that the engine had it."""
        self.sound.inc(seconds)
        self.speed.observe(seconds / max(took, 1e-6))

    def text(self) -> bytes:
        return bytes(generate_latest(self.registry))


class Measured:
    """Around an application: counts its answers and their seconds, by those of its paths that are `routes`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        route, status, began = scope["path"] if scope["path"] in self.routes else "other", 499, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.latency.labels(route).observe(time.monotonic() - began)
