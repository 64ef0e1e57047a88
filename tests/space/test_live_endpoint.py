"""The Live tab's WebSocket: every chunk once and in order, whatever happens to the connection."""

import json

import live_transcription
import numpy as np
import pytest
from fastapi import FastAPI
from live_endpoint import LiveEndpoint
from starlette.testclient import TestClient
from transcriber import Transcriber

RATE = 16_000


@pytest.fixture(scope="module")
def transcriber(tiny_release):
    return Transcriber(tiny_release)


@pytest.fixture
def endpoint(transcriber):
    return LiveEndpoint(transcriber)


@pytest.fixture
def connect(endpoint):
    """A function that opens a connection to the endpoint."""
    app = FastAPI()
    app.add_api_websocket_route("/live", endpoint.handle)
    client = TestClient(app)
    return lambda **headers: client.websocket_connect("/live", headers=headers)


def hello(socket, speaker=None, rate=RATE):
    socket.send_text(json.dumps({"rate": rate, "speaker": speaker}))
    return socket.receive_json()


def encode_chunk(number, sound):
    return number.to_bytes(4, "little") + (sound * 32767).astype("<i2").tobytes()


def stop(socket):
    """Stop, and return the final words and the number of samples received."""
    socket.send_text(json.dumps({"stop": True}))
    words = []
    while not (message := socket.receive_json()).get("stopped"):
        words[message["from"] :] = message["firm"]
        assert message["behind"] >= 0
    return words, message["samples"]


def encode_chunks(sound):
    return [encode_chunk(number, part) for number, part in enumerate(np.array_split(sound, 20))]


def test_chunks_that_are_sent_twice_are_transcribed_once(connect, speech):
    sound = np.concatenate(speech[:2])
    with connect() as socket:
        message = hello(socket)
        assert message["taken"] == 0 and message["speaker"]
        for chunk in encode_chunks(sound):
            socket.send_bytes(chunk)
        for chunk in encode_chunks(sound)[5:9]:  # as after a connection that was lost before they were acknowledged
            socket.send_bytes(chunk)
        words, samples = stop(socket)
    assert samples == len(sound)
    assert words


def test_a_speaker_resumes_after_a_lost_connection(connect, endpoint, speech):
    sound = np.concatenate(speech[:2])
    with connect() as socket:
        speaker = hello(socket)["speaker"]
        for chunk in encode_chunks(sound)[:12]:
            socket.send_bytes(chunk)
        while socket.receive_json()["taken"] < 12:
            pass
    with connect() as socket:
        assert hello(socket, speaker) == {"speaker": speaker, "taken": 12}
        for chunk in encode_chunks(sound)[12:]:
            socket.send_bytes(chunk)
        words, samples = stop(socket)
        assert (samples, len(words) > 0) == (len(sound), True)
        socket.send_bytes(encode_chunk(20, speech[2]))  # a speaker may continue after a stop
        assert stop(socket)[1] == len(sound) + len(speech[2])
    assert list(endpoint._speakers) == [speaker]


def test_a_speaker_who_returns_too_late_starts_over(connect, endpoint, monkeypatch):
    with connect() as socket:
        speaker = hello(socket)["speaker"]
    monkeypatch.setattr("live_endpoint.RESUME_SECONDS", -1.0)
    with connect() as socket:
        message = hello(socket, speaker)
    assert message["speaker"] != speaker and message["taken"] == 0
    assert speaker not in endpoint._speakers


def test_too_many_speakers_and_too_long_sessions_are_refused(connect, monkeypatch, speech):
    monkeypatch.setattr(live_transcription, "MAX_SESSIONS", 1)
    monkeypatch.setattr(live_transcription, "MAX_SECONDS", 1.0)
    with connect() as first, connect() as second:
        hello(first)
        assert hello(second) == {"error": "busy"}
        first.send_bytes(encode_chunk(0, speech[0]))
        while "error" not in (message := first.receive_json()):
            pass
    assert message == {"error": "full"}


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"\0\0\0\0\0", b"\1\0\0\0\0\0", b"\0\0\0\0" + bytes(10 * 2 * RATE + 2), "{}", "[]", "no JSON"],
)
def test_an_invalid_message_closes_the_connection(connect, data):
    with connect() as socket:
        hello(socket)
        socket.send_bytes(data) if isinstance(data, bytes) else socket.send_text(data)
        while "error" not in (message := socket.receive_json()):
            pass
    assert message == {"error": "wrong"}


@pytest.mark.parametrize("text", ['{"rate": 1}', '{"rate": "fast"}', "{}", "[", '{"rate": 1e999}'])
def test_an_invalid_sample_rate_is_refused(connect, text):
    with connect() as socket:
        socket.send_text(text)
        assert socket.receive_json() == {"error": "wrong"}


def test_a_page_of_another_site_cannot_open_the_live_endpoint(connect):
    with connect(origin="https://elsewhere.example") as socket:
        assert socket.receive_json() == {"error": "wrong"}
    with connect(origin="http://testserver") as socket:
        assert hello(socket)["taken"] == 0
