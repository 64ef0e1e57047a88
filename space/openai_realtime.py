"""Live transcription for programs: OpenAI's realtime events over a WebSocket, as far as they apply.

    client    session.update, input_audio_buffer.append, .commit and .clear; a binary frame is audio to append
    server    session.created, session.updated, input_audio_buffer.committed and .cleared, error,
              conversation.item.input_audio_transcription.delta and .completed

Audio is 16-bit PCM, mono, little-endian, at the session's rate. A delta holds final words only. An item ends when the
client commits it; pauses end none.
"""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import live_transcription
from fastapi import WebSocket, WebSocketDisconnect
from protocol import close_socket, error_detail, parse_object, receive_message, usage
from transcriber import Transcriber

RATES = range(8_000, 48_001)  # Hz
DEFAULT_RATE = 24_000  # OpenAI's
MAX_CHUNK_SECONDS = 15.0
IDLE_SECONDS = 300.0  # without an event, after which the connection is closed
TRY_AGAIN_LATER = 1013  # WebSocket close code


class InvalidEvent(ValueError):
    """An event that cannot be handled."""


class RealtimeSession:
    """One client's connection: the audio of its current item, and the words sent so far."""

    def __init__(self, socket: WebSocket, transcriber: Transcriber) -> None:
        self.socket, self.transcriber = socket, transcriber
        self.rate = DEFAULT_RATE
        self._start_item()

    def _start_item(self) -> None:
        self.item = f"item_{uuid.uuid4().hex}"
        self.session = live_transcription.LiveSession(self.transcriber)
        self._stream = live_transcription.PcmStream(self.session, self.rate)
        self._sent_words = 0
        self._is_committing = False

    async def run(self) -> None:
        """Handle the client's events until it leaves or reaches the limit of a session."""
        await self.socket.accept(subprotocol="realtime" if "realtime" in self.socket.scope["subprotocols"] else None)
        await self._send("session.created", session=self.settings)
        async with anyio.create_task_group() as group:
            group.start_soon(self._send_updates)
            try:
                while self.session.seconds < live_transcription.MAX_SECONDS:
                    await self._handle_message()
                await self._send_error(f"a session ends after {live_transcription.MAX_SECONDS / 60:g} minutes of sound")
                await self.socket.close()
            except WebSocketDisconnect:
                pass
            group.cancel_scope.cancel()

    @property
    def settings(self) -> dict[str, Any]:
        """The session object of OpenAI's events."""
        audio_input = {
            "format": {"type": "audio/pcm", "rate": self.rate},
            "transcription": {"language": self.transcriber.language},
            "turn_detection": None,
        }
        return {"type": "transcription", "audio": {"input": audio_input}}

    async def _handle_message(self) -> None:
        message = await receive_message(self.socket, IDLE_SECONDS)
        try:
            if (pcm := message.get("bytes")) is not None:
                await self._append(pcm)
            else:
                await self._handle_event(_parse_event(message.get("text")))
        except InvalidEvent as error:
            await self._send_error(str(error))

    async def _handle_event(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "input_audio_buffer.append":
            try:
                pcm = base64.b64decode(str(event.get("audio", "")), validate=True)
            except ValueError:
                raise InvalidEvent("audio is not base64") from None
            await self._append(pcm)
        elif kind == "input_audio_buffer.commit":
            await self._commit()
        elif kind == "input_audio_buffer.clear":
            await anyio.to_thread.run_sync(self.session.close)
            self._start_item()
            await self._send("input_audio_buffer.cleared")
        elif kind in ("session.update", "transcription_session.update"):
            self._update(event.get("session"))
            await self._send("session.updated", session=self.settings)
        else:
            raise InvalidEvent(f"there is no event {str(kind)[:80]!r} here")

    def _update(self, session: Any) -> None:
        audio_format = session
        for key in ("audio", "input", "format"):
            audio_format = audio_format.get(key) if isinstance(audio_format, dict) else None
        if audio_format is None:
            return
        fields = audio_format if isinstance(audio_format, dict) else {}
        rate = fields.get("rate", DEFAULT_RATE)
        if fields.get("type") != "audio/pcm" or not isinstance(rate, int) or rate not in RATES:
            raise InvalidEvent(f"the format must be audio/pcm with a rate of {RATES[0]} to {RATES[-1]}")
        if self.session.seconds:
            raise InvalidEvent("the format can change only before audio is sent")
        self.rate = rate
        self._start_item()

    async def _append(self, pcm: bytes) -> None:
        if len(pcm) % 2:
            raise InvalidEvent("16-bit audio has an even number of bytes")
        if len(pcm) > 2 * MAX_CHUNK_SECONDS * self.rate:
            raise InvalidEvent(f"a message may hold at most {MAX_CHUNK_SECONDS:g} s of audio")
        self._stream.add(pcm)
        while self.session.is_overloaded:  # TCP then makes the client wait
            await anyio.sleep(live_transcription.POLL_SECONDS)

    async def _commit(self) -> None:
        if not self.session.seconds:
            raise InvalidEvent("there is no audio to commit")
        self._is_committing = True
        session, item, seconds = self.session, self.item, self.session.seconds
        self._stream.end()
        await self._send("input_audio_buffer.committed", item_id=item)
        await anyio.to_thread.run_sync(session.finish)
        await self._send_new_words()
        text = self.transcriber.joint.join(session.final_words)
        await self._send_transcription("completed", transcript=text, usage=usage(seconds))
        self._start_item()

    async def _send_updates(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await anyio.sleep(live_transcription.POLL_SECONDS)
                if not self._is_committing:
                    self.session.add(live_transcription.NO_AUDIO)  # decodes what came while the engine was busy
                await self._send_new_words()

    async def _send_new_words(self) -> None:
        """Send the words that have become final since the last time."""
        words, joint = self.session.final_words, self.transcriber.joint
        new, is_first = words[self._sent_words :], not self._sent_words
        self._sent_words = len(words)
        if new:
            await self._send_transcription("delta", delta=("" if is_first else joint) + joint.join(new))

    async def _send_transcription(self, kind: str, **values: Any) -> None:
        event = f"conversation.item.input_audio_transcription.{kind}"
        await self._send(event, item_id=self.item, content_index=0, **values)

    async def _send_error(self, message: str) -> None:
        await self._send("error", error=error_detail(400, message))

    async def _send(self, kind: str, **values: Any) -> None:
        event = {"type": kind, "event_id": f"event_{uuid.uuid4().hex}", **values}
        await self.socket.send_text(json.dumps(event, ensure_ascii=False))


class RealtimeEndpoint:
    """The endpoint `/v1/realtime`."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber, self.sessions = transcriber, 0

    async def handle(self, socket: WebSocket) -> None:
        """Serve one client, or refuse it if too many are connected."""
        if self.sessions >= live_transcription.MAX_SESSIONS:
            await socket.close(TRY_AGAIN_LATER, "too many speak at once; try again later")
            return
        self.sessions += 1
        realtime = RealtimeSession(socket, self.transcriber)
        try:
            await realtime.run()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(realtime.session.close)
            self.sessions -= 1
        await close_socket(socket)


def _parse_event(text: str | None) -> dict[str, Any]:
    if (event := parse_object(text)) is None:
        raise InvalidEvent("an event is a JSON object")
    return event
