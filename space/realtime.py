"""Live speech for programs: OpenAI's realtime events for transcription over a WebSocket, as far as they fit.

    client    session.update, input_audio_buffer.append, .commit and .clear; a binary frame is sound to append
    server    session.created, session.updated, input_audio_buffer.committed and .cleared, error,
              conversation.item.input_audio_transcription.delta and .completed

Sound is 16-bit PCM, mono, little-endian, at the session's rate. A delta is words that stay as they are; what two
hearings do not agree on yet is not told. An item ends where the client commits it: pauses end none.
"""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import streaming
from fastapi import WebSocket, WebSocketDisconnect
from protocol import fault, hung_up, json_object, received, usage
from transcriber import Transcriber

RATES = range(8_000, 48_001)  # Hz
USUAL_RATE = 24_000  # OpenAI's
LONGEST_PIECE = 15.0  # seconds of sound in a message
IDLE = 300.0  # seconds without an event after which a connection ends
AGAIN = 1013  # WebSocket's code: try again later


class Wrong(ValueError):
    """An event that cannot be followed."""


class Conversation:
    """One client: its sound so far, and what it was told of it."""

    def __init__(self, socket: WebSocket, transcriber: Transcriber) -> None:
        self.socket, self.transcriber = socket, transcriber
        self.rate = USUAL_RATE
        self._begin()

    def _begin(self) -> None:
        self.item = f"item_{uuid.uuid4().hex}"
        self.session = streaming.Session(self.transcriber)
        self._stream = streaming.Stream(self.session, self.rate)
        self._told = 0  # words
        self._ending = False

    async def run(self) -> None:
        """Answer the client's events until it leaves, or has spoken for as long as may be."""
        await self.socket.accept(subprotocol="realtime" if "realtime" in self.socket.scope["subprotocols"] else None)
        await self.send("session.created", session=self.settings)
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell)
            try:
                while self.session.seconds < streaming.LONGEST:
                    await self._next()
                await self.fail(f"a session ends after {streaming.LONGEST / 60:g} minutes of sound")
                await self.socket.close()
            except WebSocketDisconnect:
                pass
            group.cancel_scope.cancel()

    @property
    def settings(self) -> dict[str, Any]:
        heard = {
            "format": {"type": "audio/pcm", "rate": self.rate},
            "transcription": {"language": self.transcriber.language},
            "turn_detection": None,
        }
        return {"type": "transcription", "audio": {"input": heard}}

    async def _next(self) -> None:
        message = await received(self.socket, IDLE)
        try:
            if (sound := message.get("bytes")) is not None:
                await self._append(sound)
            else:
                await self._follow(_event(message.get("text")))
        except Wrong as error:
            await self.fail(str(error))

    async def _follow(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "input_audio_buffer.append":
            try:
                sound = base64.b64decode(str(event.get("audio", "")), validate=True)
            except ValueError:
                raise Wrong("audio is not base64") from None
            await self._append(sound)
        elif kind == "input_audio_buffer.commit":
            await self._commit()
        elif kind == "input_audio_buffer.clear":
            await anyio.to_thread.run_sync(self.session.close)
            self._begin()
            await self.send("input_audio_buffer.cleared")
        elif kind in ("session.update", "transcription_session.update"):
            self._update(event.get("session"))
            await self.send("session.updated", session=self.settings)
        else:
            raise Wrong(f"there is no event {str(kind)[:80]!r} here")

    def _update(self, session: Any) -> None:
        form = session
        for key in ("audio", "input", "format"):
            form = form.get(key) if isinstance(form, dict) else None
        if form is None:
            return
        told = form if isinstance(form, dict) else {}
        rate = told.get("rate", USUAL_RATE)
        if told.get("type") != "audio/pcm" or not isinstance(rate, int) or rate not in RATES:
            raise Wrong(f"the format is to be audio/pcm with a rate of {RATES[0]} to {RATES[-1]}")
        if self.session.seconds:
            raise Wrong("the format changes only before sound is sent")
        self.rate = rate
        self._begin()

    async def _append(self, pcm: bytes) -> None:
        if len(pcm) % 2:
            raise Wrong("16-bit sound has an even number of bytes")
        if len(pcm) > 2 * LONGEST_PIECE * self.rate:
            raise Wrong(f"a piece of at most {LONGEST_PIECE:g} s is taken")
        self._stream.add(pcm)
        while self.session.overdue:  # the network then makes the client wait
            await anyio.sleep(streaming.TICK)

    async def _commit(self) -> None:
        if not self.session.seconds:
            raise Wrong("there is no sound to commit")
        self._ending = True
        session, item, seconds = self.session, self.item, self.session.seconds
        self._stream.end()
        await self.send("input_audio_buffer.committed", item_id=item)
        await anyio.to_thread.run_sync(session.finish)
        await self._tell_new()
        text = self.transcriber.joint.join(session.firm)
        await self._tell_item("completed", transcript=text, usage=usage(seconds))
        self._begin()

    async def _tell(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await anyio.sleep(streaming.TICK)
                if not self._ending:
                    # What came while the engine was busy is heard, though no more may come.
                    self.session.add(streaming.NOTHING)
                await self._tell_new()

    async def _tell_new(self) -> None:
        """The words that are firm since the last time."""
        words, joint = self.session.firm, self.transcriber.joint
        new, before = words[self._told :], self._told
        self._told = len(words)
        if new:
            await self._tell_item("delta", delta=(joint if before else "") + joint.join(new))

    async def _tell_item(self, what: str, **values: Any) -> None:
        kind = f"conversation.item.input_audio_transcription.{what}"
        await self.send(kind, item_id=self.item, content_index=0, **values)

    async def fail(self, message: str) -> None:
        await self.send("error", error=fault(400, message))

    async def send(self, kind: str, **values: Any) -> None:
        event = {"type": kind, "event_id": f"event_{uuid.uuid4().hex}", **values}
        await self.socket.send_text(json.dumps(event, ensure_ascii=False))


class Realtime:
    """The WebSocket's end point."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber, self.speakers = transcriber, 0

    async def answer(self, socket: WebSocket) -> None:
        """Serve one client."""
        if self.speakers >= streaming.SPEAKERS:
            await socket.close(AGAIN, "too many speak at once; try again later")
            return
        self.speakers += 1
        conversation = Conversation(socket, self.transcriber)
        try:
            await conversation.run()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(conversation.session.close)
            self.speakers -= 1
        await hung_up(socket)


def _event(text: str | None) -> dict[str, Any]:
    if (event := json_object(text)) is None:
        raise Wrong("an event is a JSON object")
    return event
