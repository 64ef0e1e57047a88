"""The realtime WebSocket, with the events of OpenAI's API."""

import base64
import json
import time

import httpx
import numpy as np
import pytest
import soxr
from browser import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

RATE = 24_000
DELTA, COMPLETED = (f"conversation.item.input_audio_transcription.{suffix}" for suffix in ("delta", "completed"))


@pytest.fixture(scope="module")
def url(tiny_release):
    with serve(tiny_release) as url:
        yield url.replace("http", "ws") + "/v1/realtime?intent=transcription"


def pcm(sound, rate=RATE):
    """(samples,) float32 at 16 kHz as 16-bit PCM."""
    return (soxr.resample(sound, 16_000, rate) * 32767).astype("<i2").tobytes()


def chunks(sound, rate=RATE, seconds=0.5):
    raw, size = pcm(sound, rate), 2 * int(rate * seconds)
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def receive(socket, kind):
    """The next event of a kind, and the events before it."""
    before = []
    while (event := json.loads(socket.recv(timeout=60)))["type"] != kind:
        before.append(event)
    return event, before


def send(socket, kind, **values):
    socket.send(json.dumps({"type": kind, **values}))


def append(socket, sound):
    for chunk in chunks(sound):
        send(socket, "input_audio_buffer.append", audio=base64.b64encode(chunk).decode())


def test_words_arrive_during_speech_and_all_at_the_end(url, speech):
    with connect(url) as socket:
        created, _ = receive(socket, "session.created")
        audio_input = created["session"]["audio"]["input"]
        assert audio_input["format"] == {"type": "audio/pcm", "rate": RATE}
        assert (audio_input["transcription"], audio_input["turn_detection"]) == ({"language": "sv"}, None)
        pause = np.zeros(16_000, np.float32)
        append(socket, np.concatenate([speech[0], pause, speech[1], pause]))
        first, _ = receive(socket, DELTA)  # before the first commit
        append(socket, speech[2])
        send(socket, "input_audio_buffer.commit")
        committed, deltas = receive(socket, "input_audio_buffer.committed")
        completed, last_deltas = receive(socket, COMPLETED)
        assert first["item_id"] == committed["item_id"] == completed["item_id"]
        text = "".join(event["delta"] for event in [first, *deltas, *last_deltas])
        assert completed["transcript"] == text != ""
        assert completed["usage"]["seconds"] >= sum(map(len, speech[:3])) / 16_000 + 1
        append(socket, speech[0])  # the next item
        send(socket, "input_audio_buffer.commit")
        next_completed, _ = receive(socket, COMPLETED)
        assert next_completed["item_id"] != completed["item_id"] and next_completed["transcript"]


def test_binary_frames_at_another_rate_are_accepted(url, speech):
    with connect(url) as socket:
        audio_format = {"type": "audio/pcm", "rate": 16_000}
        send(socket, "session.update", session={"type": "transcription", "audio": {"input": {"format": audio_format}}})
        assert receive(socket, "session.updated")[0]["session"]["audio"]["input"]["format"] == audio_format
        for chunk in chunks(speech[0], 16_000):
            socket.send(chunk)
        send(socket, "input_audio_buffer.commit")
        completed, _ = receive(socket, COMPLETED)
        assert completed["transcript"]
        assert completed["usage"]["seconds"] == np.ceil(len(speech[0]) / 16_000)


def test_silence_and_cleared_audio_give_no_text(url, speech):
    with connect(url) as socket:
        append(socket, np.zeros(32_000, np.float32))
        send(socket, "input_audio_buffer.commit")
        assert receive(socket, COMPLETED)[0]["transcript"] == ""
        append(socket, speech[0])
        send(socket, "input_audio_buffer.clear")
        receive(socket, "input_audio_buffer.cleared")
        send(socket, "input_audio_buffer.commit")
        assert "no audio" in receive(socket, "error")[0]["error"]["message"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no JSON", "a JSON object"),
        ("[]", "a JSON object"),
        ({"type": "response.create"}, "there is no event 'response.create' here"),
        ({"type": "input_audio_buffer.append", "audio": "å"}, "not base64"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "even number"),
        ({"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}}, "audio/pcm"),
        ({"type": "session.update", "session": {"audio": {"input": {"format": "pcm16"}}}}, "audio/pcm"),
        (bytes(2 * 16 * RATE), "at most 15 s"),
    ],
)
def test_an_invalid_event_is_reported_and_the_session_goes_on(url, speech, message, expected):
    with connect(url) as socket:
        socket.send(json.dumps(message) if isinstance(message, dict) else message)
        event, _ = receive(socket, "error")
        assert expected in event["error"]["message"] and "\n" not in event["error"]["message"]
        append(socket, speech[0])
        send(socket, "input_audio_buffer.commit")
        assert receive(socket, COMPLETED)[0]["transcript"]


def test_too_many_realtime_sessions_are_refused(url):
    sockets = [connect(url) for _ in range(8)]
    for socket in sockets:
        receive(socket, "session.created")
    with pytest.raises((ConnectionClosed, InvalidStatus)):
        connect(url).recv(timeout=20)
    sockets.pop().close()
    for _ in range(100):
        try:
            with connect(url) as socket:
                receive(socket, "session.created")
            break
        except (ConnectionClosed, InvalidStatus):
            time.sleep(0.1)
    else:
        raise AssertionError("a closed session does not free its place")
    for socket in sockets:
        socket.close()


def test_the_realtime_endpoint_requires_the_key(tiny_release):
    with serve(tiny_release, API_KEY="secret") as url:
        socket = url.replace("http", "ws") + "/v1/realtime"
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            connect(socket).recv(timeout=20)
        with connect(socket, additional_headers={"Authorization": "Bearer secret"}) as by_header:
            receive(by_header, "session.created")
        protocols = ["realtime", "openai-insecure-api-key.secret"]
        with connect(socket, subprotocols=protocols) as by_protocol:
            receive(by_protocol, "session.created")
            assert by_protocol.subprotocol == "realtime"
        assert httpx.get(f"{url}/health").status_code == 200
