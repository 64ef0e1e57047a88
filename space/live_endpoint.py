"""The Live tab's WebSocket: no audio is lost on the way, and words come back as they are decoded.

    page      {"rate": 48000, "speaker": ID}   first; ID as the server gave it, to resume after a lost connection
              32 bits, 16-bit PCM              a chunk of audio, mono and little-endian, after its number, from 0 on
              {"stop": true}                   the speaker has stopped; audio that follows continues the text
    server    {"speaker": ID, "taken": N}      chunks received so far: N is the next chunk to send
              {"taken": N, "from": K, "firm": [...], "tail": [...], "behind": S}
                                               final words from the Kth on, tentative words, and the seconds of audio
                                               without final words
              {"stopped": true, "samples": N}  all words are final; the number of samples received
              {"error": REASON}                "busy", "full" after half an hour, or "wrong"; the connection ends

The page keeps each chunk until it is acknowledged, and sends it again after a lost connection.
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
import live_transcription
from fastapi import WebSocket, WebSocketDisconnect
from protocol import close_socket, parse_object, receive_message
from transcriber import Transcriber

RATES = range(8_000, 192_001)  # Hz
MAX_CHUNK_SECONDS = 5.0
MAX_TEXT_CHARACTERS = 1_000  # of a message that is not audio
IDLE_SECONDS = 60.0  # without a message, after which the connection is closed in favour of others
RESUME_SECONDS = 180.0  # within which a speaker may reconnect
MAX_DISCONNECTED = 32  # disconnected speakers that are kept; the oldest are dropped
HEARTBEAT_SECONDS = 2.0  # at most between two messages; the page takes a longer silence for a lost connection


class InvalidMessage(ValueError):
    """A message that does not follow the protocol."""


class Speaker:
    """One speaker: the chunks received so far, and the session that decodes them."""

    def __init__(self, transcriber: Transcriber, rate: int) -> None:
        self.id, self.rate = uuid.uuid4().hex, rate
        self.session = live_transcription.LiveSession(transcriber)
        self._stream = live_transcription.PcmStream(self.session, rate)
        self.chunks = self.samples = 0  # received
        self.socket: WebSocket | None = None  # the latest connection
        self.disconnected_at = 0.0

    def add(self, message: bytes) -> None:
        """Add a chunk, unless it was received already. Raises `InvalidMessage`."""
        number, pcm = int.from_bytes(message[:4], "little"), message[4:]
        if len(message) < 4 or len(pcm) % 2 or len(pcm) > 2 * MAX_CHUNK_SECONDS * self.rate or number > self.chunks:
            raise InvalidMessage
        if number < self.chunks:
            return
        self.chunks += 1
        self.samples += self._stream.add(pcm)

    def stop(self) -> None:
        """Decode the remaining audio."""
        self._stream.end()
        self.session.finish()


class LiveEndpoint:
    """The endpoint `/live`, and its speakers."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber, self._speakers = transcriber, dict[str, Speaker]()

    async def handle(self, socket: WebSocket) -> None:
        """Serve one connection."""
        await socket.accept()
        if not _is_same_origin(socket):
            return await _close_with_error(socket, "wrong")
        with suppress(WebSocketDisconnect):
            try:
                speaker = self._find_speaker(_parse((await receive_message(socket, IDLE_SECONDS)).get("text")))
            except InvalidMessage:
                return await _close_with_error(socket, "wrong")
            if speaker is None:
                return await _close_with_error(socket, "busy")
            speaker.socket = socket
            try:
                await _Connection(socket, speaker).run()
            finally:
                if speaker.socket is socket:
                    speaker.socket, speaker.disconnected_at = None, time.monotonic()
        await close_socket(socket)

    def _find_speaker(self, hello: dict[str, Any]) -> Speaker | None:
        """The speaker who reconnects, or a new speaker; None if there are too many."""
        now = time.monotonic()
        disconnected = [speaker for speaker in self._speakers.values() if speaker.socket is None]
        disconnected.sort(key=lambda speaker: speaker.disconnected_at)
        for index, speaker in enumerate(disconnected, 1):
            if now - speaker.disconnected_at > RESUME_SECONDS or len(disconnected) - index >= MAX_DISCONNECTED:
                del self._speakers[speaker.id]
        active = sum(speaker.socket is not None or speaker.session.is_busy for speaker in self._speakers.values())
        if existing := self._speakers.get(str(hello.get("speaker"))):
            return existing if active <= 2 * live_transcription.MAX_SESSIONS else None
        rate = hello.get("rate")
        if not isinstance(rate, int) or rate not in RATES:
            raise InvalidMessage
        if active >= live_transcription.MAX_SESSIONS:
            return None
        new = Speaker(self.transcriber, rate)
        self._speakers[new.id] = new
        return new


class _Connection:
    """A speaker's connection, until it is lost or replaced by a newer connection."""

    def __init__(self, socket: WebSocket, speaker: Speaker) -> None:
        self.socket, self.speaker = socket, speaker
        self._last_state: tuple[Any, ...] = ()
        self._sent_words, self._sent_at = 0, 0.0  # final words that the page has; time of the latest message
        self._is_stopping = False

    async def run(self) -> None:
        await self._send(speaker=self.speaker.id, taken=self.speaker.chunks)
        async with anyio.create_task_group() as group:
            group.start_soon(self._send_updates)
            reason = await self._receive_messages()
            group.cancel_scope.cancel()
        if reason:
            await _close_with_error(self.socket, reason)

    async def _receive_messages(self) -> str:
        """Handle the page's messages; returns why the connection ends, or nothing if the page has left."""
        speaker = self.speaker
        try:
            while speaker.socket is self.socket:
                if speaker.session.seconds >= live_transcription.MAX_SECONDS:
                    return "full"
                await self._handle_message()
            return "busy"
        except InvalidMessage:
            return "wrong"
        except WebSocketDisconnect:
            return ""

    async def _handle_message(self) -> None:
        message = await receive_message(self.socket, IDLE_SECONDS)
        if (chunk := message.get("bytes")) is not None:
            self.speaker.add(chunk)
            while self.speaker.session.is_overloaded:  # the page keeps its audio meanwhile
                await anyio.sleep(live_transcription.POLL_SECONDS)
        elif _parse(message.get("text")).get("stop"):
            self._is_stopping = True
            await anyio.to_thread.run_sync(self.speaker.stop)
            self._is_stopping = False
            await self._send_update()
            await self._send(stopped=True, samples=self.speaker.samples)
        else:
            raise InvalidMessage

    async def _send_updates(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await anyio.sleep(live_transcription.POLL_SECONDS)
                if not self._is_stopping:
                    self.speaker.session.add(
                        live_transcription.NO_AUDIO
                    )  # decodes the audio that arrived while the engine was busy
                await self._send_update()

    async def _send_update(self) -> None:
        """Send the changes since the last update, or the same state as a heartbeat."""
        session, sent = self.speaker.session, self._sent_words
        final, tentative = session.final_words, session.tentative_words
        state = (self.speaker.chunks, len(final), tuple(tentative))
        if state == self._last_state and time.monotonic() - self._sent_at < HEARTBEAT_SECONDS:
            return
        self._last_state, self._sent_words = state, len(final)
        backlog = round(session.backlog if tentative else 0.0, 1)
        await self._send(**{"from": sent}, taken=state[0], firm=final[sent:], tail=tentative, behind=backlog)

    async def _send(self, **values: Any) -> None:
        self._sent_at = time.monotonic()
        await self.socket.send_text(json.dumps(values, ensure_ascii=False))


def _parse(text: str | None) -> dict[str, Any]:
    if len(text or "") > MAX_TEXT_CHARACTERS or (message := parse_object(text)) is None:
        raise InvalidMessage
    return message


async def _close_with_error(socket: WebSocket, reason: str) -> None:
    with suppress(WebSocketDisconnect):
        await socket.send_text(json.dumps({"error": reason}))
        await socket.close()


def _is_same_origin(socket: WebSocket) -> bool:
    """False if a page of another site opens the connection, which browsers allow."""
    origin = socket.headers.get("origin")
    return not origin or urlsplit(origin).netloc == socket.headers.get("host")
