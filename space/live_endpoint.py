"""The WebSocket of the page's Live tab: no sound is lost on its way, and words come back as they are heard.

    page      {"rate": 48000, "speaker": ID}   first; ID as the server gave it, to go on after a lost connection
              32 bits, 16-bit PCM              a piece of sound, mono and little-endian, after its number, from 0 on
              {"stop": true}                   the speaker has stopped; what comes afterwards is said later
    server    {"speaker": ID, "taken": N}      the pieces that it has: N is what the page is to send next
              {"taken": N, "from": K, "firm": [...], "tail": [...], "behind": S}
                                               the words from the Kth on that stay as they are, those that may change,
                                               and the seconds of sound that they lag
              {"stopped": true, "samples": N}  all words are firm; how much sound came
              {"error": WHY}                   "busy", "full" after half an hour, or "wrong"; the connection ends

The page keeps each piece until it is taken, and sends it again after a lost connection.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import streaming
from fastapi import WebSocket, WebSocketDisconnect
from protocol import hung_up, json_object, received
from transcriber import Transcriber

RATES = range(8_000, 192_001)  # Hz
LONGEST_PIECE = 5.0  # seconds
LONGEST_TEXT = 1_000  # letters of any other message
IDLE = 60.0  # seconds without a message after which a connection ends: others wait for its place
KEPT = 180.0  # seconds in which a speaker whose connection is lost may come back
MOST_KEPT = 32  # of those at once, the latest
ALIVE = 2.0  # seconds, at most, between two messages to the page, which takes a longer silence for a lost connection


class Wrong(ValueError):
    """A message that cannot be followed."""


class Speaker:
    """One who speaks: the sound that was taken, and the words that came of it."""

    def __init__(self, transcriber: Transcriber, rate: int) -> None:
        self.id, self.rate = uuid.uuid4().hex, rate
        self.session = streaming.Session(transcriber)
        self._stream = streaming.Stream(self.session, rate)
        self.taken = self.samples = 0  # pieces, and the sound in them
        self.socket: WebSocket | None = None  # the newest
        self.left = 0.0  # when the connection was lost

    def take(self, message: bytes) -> None:
        """A piece of sound, unless it was taken before. Raises `Wrong`."""
        number, pcm = int.from_bytes(message[:4], "little"), message[4:]
        if len(message) < 4 or len(pcm) % 2 or len(pcm) > 2 * LONGEST_PIECE * self.rate or number > self.taken:
            raise Wrong
        if number < self.taken:
            return
        self.taken += 1
        self.samples += self._stream.add(pcm)

    def stop(self) -> None:
        """Hear what is left."""
        self._stream.end()
        self.session.finish()


class Microphones:
    """The end point, and who speaks there."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber, self._speakers = transcriber, dict[str, Speaker]()

    async def answer(self, socket: WebSocket) -> None:
        """Serve one connection."""
        await socket.accept()
        if not _of_this_page(socket):
            return await _end(socket, "wrong")
        with suppress(WebSocketDisconnect):
            try:
                speaker = self._found(_object((await received(socket, IDLE)).get("text")))
            except Wrong:
                return await _end(socket, "wrong")
            if speaker is None:
                return await _end(socket, "busy")
            speaker.socket = socket
            try:
                await _Connection(socket, speaker).run()
            finally:
                if speaker.socket is socket:
                    speaker.socket, speaker.left = None, time.monotonic()
        await hung_up(socket)

    def _found(self, hello: dict[str, Any]) -> Speaker | None:
        """Who comes back, else somebody new; None where too many speak."""
        now = time.monotonic()
        away = sorted((one for one in self._speakers.values() if one.socket is None), key=lambda one: one.left)
        for at, one in enumerate(away, 1):
            if now - one.left > KEPT or len(away) - at >= MOST_KEPT:
                del self._speakers[one.id]
        speaking = sum(one.socket is not None or one.session.busy for one in self._speakers.values())
        if known := self._speakers.get(str(hello.get("speaker"))):
            return known if speaking <= 2 * streaming.SPEAKERS else None
        rate = hello.get("rate")
        if not isinstance(rate, int) or rate not in RATES:
            raise Wrong
        if speaking >= streaming.SPEAKERS:
            return None
        new = Speaker(self.transcriber, rate)
        self._speakers[new.id] = new
        return new


class _Connection:
    """A speaker's connection, until it is lost or another one takes its place."""

    def __init__(self, socket: WebSocket, speaker: Speaker) -> None:
        self.socket, self.speaker = socket, speaker
        self._told: tuple[Any, ...] = ()
        self._words, self._spoke = 0, 0.0  # words that the page has; when it was last told something
        self._stopping = False

    async def run(self) -> None:
        await self._send(speaker=self.speaker.id, taken=self.speaker.taken)
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell)
            why = await self._listen()
            group.cancel_scope.cancel()
        if why:
            await _end(self.socket, why)

    async def _listen(self) -> str:
        """Take what the page sends; why it ends, empty where the page has left."""
        speaker = self.speaker
        try:
            while speaker.socket is self.socket:
                if speaker.session.seconds >= streaming.LONGEST:
                    return "full"
                await self._next()
            return "busy"
        except Wrong:
            return "wrong"
        except WebSocketDisconnect:
            return ""

    async def _next(self) -> None:
        message = await received(self.socket, IDLE)
        if (piece := message.get("bytes")) is not None:
            self.speaker.take(piece)
            while self.speaker.session.overdue:  # the page then keeps its sound
                await anyio.sleep(streaming.TICK)
        elif _object(message.get("text")).get("stop"):
            self._stopping = True
            await anyio.to_thread.run_sync(self.speaker.stop)
            self._stopping = False
            await self._tell_new()
            await self._send(stopped=True, samples=self.speaker.samples)
        else:
            raise Wrong

    async def _tell(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await anyio.sleep(streaming.TICK)
                if not self._stopping:
                    self.speaker.session.add(streaming.NOTHING)  # what came while the engine was busy is heard
                await self._tell_new()

    async def _tell_new(self) -> None:
        """What has changed since the page was last told."""
        session, known = self.speaker.session, self._words
        firm, tail = session.firm, session.tail
        told = (self.speaker.taken, len(firm), tuple(tail))
        if told == self._told and time.monotonic() - self._spoke < ALIVE:
            return
        self._told, self._words = told, len(firm)
        late = session.behind if tail else 0.0
        await self._send(**{"from": known}, taken=told[0], firm=firm[known:], tail=tail, behind=round(late, 1))

    async def _send(self, **values: Any) -> None:
        self._spoke = time.monotonic()
        await self.socket.send_text(json.dumps(values, ensure_ascii=False))


def _object(text: str | None) -> dict[str, Any]:
    if len(text or "") > LONGEST_TEXT or (value := json_object(text)) is None:
        raise Wrong
    return value


async def _end(socket: WebSocket, why: str) -> None:
    with suppress(WebSocketDisconnect):
        await socket.send_text(json.dumps({"error": why}))
        await socket.close()


def _of_this_page(socket: WebSocket) -> bool:
    """Whether no page of another site opens the connection, which its browser would let it."""
    origin = socket.headers.get("origin")
    return not origin or urlsplit(origin).netloc == socket.headers.get("host")
