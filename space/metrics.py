"""Prometheus metrics, served at /metrics; they hold no text, file name or address."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from serving import RequestSlots
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_TYPE_LATEST", "Metrics", "MetricsMiddleware"]

LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)  # seconds
SPEED_BUCKETS = (0.5, 1, 2, 5, 10, 20, 50, 100)


class Metrics:
    """The metrics of a server."""

    def __init__(self, slots: RequestSlots) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("whisper_requests", "Requests answered", ["route", "status"], registry=registry)
        self.latency = Histogram(
            "whisper_request_seconds", "Seconds from a request to the end of its response", ["route"],
            buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.audio_seconds = Counter("whisper_sound_seconds", "Seconds of audio transcribed", registry=registry)
        self.speed = Histogram(
            "whisper_real_time_factor", "Seconds of audio transcribed in a second, without waiting",
            buckets=SPEED_BUCKETS, registry=registry,
        )  # fmt: skip
        Gauge("whisper_waiting", "Requests that wait", registry=registry).set_function(lambda: slots.waiting)
        Gauge("whisper_running", "Requests that run", registry=registry).set_function(lambda: slots.running)

    def count_transcription(self, seconds: float, decoding_seconds: float) -> None:
        """Count a recording's seconds, and the seconds of its decoding."""
        self.audio_seconds.inc(seconds)
        self.speed.observe(seconds / max(decoding_seconds, 1e-6))

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return bytes(generate_latest(self.registry))


class MetricsMiddleware:
    """Counts an application's responses and their latency, by path; paths other than `routes` count together."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        route = scope["path"] if scope["path"] in self.routes else "other"
        status, began = 499, time.monotonic()  # 499: the client has left before a response

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.latency.labels(route).observe(time.monotonic() - began)
