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
def live(transcriber):
    return LiveEndpoint(transcriber)


@pytest.fixture
def page(live):
    """A function that opens a connection to the same endpoint."""
    app = FastAPI()
    app.add_api_websocket_route("/live", live.handle)
    client = TestClient(app)
    return lambda **headers: client.websocket_connect("/live", headers=headers)


def hello(socket, speaker=None, rate=RATE):
    socket.send_text(json.dumps({"rate": rate, "speaker": speaker}))
    return socket.receive_json()


def piece(number, sound):
    return number.to_bytes(4, "little") + (sound * 32767).astype("<i2").tobytes()


def stop(socket):
    """Stop, and return the final words and the number of samples received."""
    socket.send_text(json.dumps({"stop": True}))
    words = []
    while not (told := socket.receive_json()).get("stopped"):
        words[told["from"] :] = told["firm"]
        assert told["behind"] >= 0
    return words, told["samples"]


def pieces(sound):
    return [piece(at, part) for at, part in enumerate(np.array_split(sound, 20))]


def test_chunks_that_are_sent_twice_are_transcribed_once(page, speech):
    sound = np.concatenate(speech[:2])
    with page() as socket:
        told = hello(socket)
        assert told["taken"] == 0 and told["speaker"]
        for one in pieces(sound):
            socket.send_bytes(one)
        for one in pieces(sound)[5:9]:  # as after a connection that was lost before they were acknowledged
            socket.send_bytes(one)
        words, samples = stop(socket)
    assert samples == len(sound)
    assert words


def test_a_speaker_resumes_after_a_lost_connection(page, live, speech):
    sound = np.concatenate(speech[:2])
    with page() as socket:
        speaker = hello(socket)["speaker"]
        for one in pieces(sound)[:12]:
            socket.send_bytes(one)
        while socket.receive_json()["taken"] < 12:
            pass
    with page() as socket:
        assert hello(socket, speaker) == {"speaker": speaker, "taken": 12}
        for one in pieces(sound)[12:]:
            socket.send_bytes(one)
        words, samples = stop(socket)
        assert (samples, len(words) > 0) == (len(sound), True)
        socket.send_bytes(piece(20, speech[2]))  # and after a stop, too
        assert stop(socket)[1] == len(sound) + len(speech[2])
    assert list(live._speakers) == [speaker]


def test_a_speaker_who_returns_too_late_starts_anew(page, live, monkeypatch):
    with page() as socket:
        speaker = hello(socket)["speaker"]
    monkeypatch.setattr("live_endpoint.RESUME_SECONDS", -1.0)
    with page() as socket:
        told = hello(socket, speaker)
    assert told["speaker"] != speaker and told["taken"] == 0
    assert speaker not in live._speakers


def test_too_many_speakers_and_too_long_sessions_are_refused(page, monkeypatch, speech):
    monkeypatch.setattr(live_transcription, "MAX_SESSIONS", 1)
    monkeypatch.setattr(live_transcription, "MAX_SECONDS", 1.0)
    with page() as first, page() as second:
        hello(first)
        assert hello(second) == {"error": "busy"}
        first.send_bytes(piece(0, speech[0]))
        while "error" not in (told := first.receive_json()):
            pass
    assert told == {"error": "full"}


@pytest.mark.parametrize(
    "given",
    [b"", b"\0\0\0", b"\0\0\0\0\0", b"\1\0\0\0\0\0", b"\0\0\0\0" + bytes(10 * 2 * RATE + 2), "{}", "[]", "no JSON"],
)
def test_an_invalid_message_closes_the_connection(page, given):
    with page() as socket:
        hello(socket)
        socket.send_bytes(given) if isinstance(given, bytes) else socket.send_text(given)
        while "error" not in (told := socket.receive_json()):
            pass
    assert told == {"error": "wrong"}


@pytest.mark.parametrize("first", ['{"rate": 1}', '{"rate": "fast"}', "{}", "[", '{"rate": 1e999}'])
def test_an_invalid_sample_rate_is_refused(page, first):
    with page() as socket:
        socket.send_text(first)
        assert socket.receive_json() == {"error": "wrong"}


def test_a_page_of_another_site_cannot_open_the_live_endpoint(page):
    with page(origin="https://elsewhere.example") as socket:
        assert socket.receive_json() == {"error": "wrong"}
    with page(origin="http://testserver") as socket:
        assert hello(socket)["taken"] == 0
