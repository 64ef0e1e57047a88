"""The Space's OpenAI API, called by the `openai` client, and directly where the client refuses."""

import asyncio
import http.client
import io
import json
import subprocess
import sys
import threading
import time
import urllib.parse
import wave
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile
from browser import serve
from openai_api import build_api
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from transcriber import DecodingOptions, Transcriber, Transcript

KEY = "a key of one's own"
TOKEN = "hf_" + "geheim" * 5
RATE = 16_000
FORM = {"content-type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def guarded_log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "space.log"


@pytest.fixture(scope="module")
def guarded_url(tiny_release, guarded_log):
    environment = {"API_KEY": KEY, "HF_TOKEN": TOKEN, "CORS_ORIGINS": "https://one.example, https://two.example"}
    with serve(tiny_release, guarded_log, **environment) as url:
        yield url


@pytest.fixture(scope="module")
def transcript(tiny_release, clip):
    """The engine's own transcript of the clip."""
    return Transcriber(tiny_release).transcribe_file(clip)


def post(url, *files, **fields):
    """Post a form with any number of files."""
    parts = [("file", ("sound.wav", file)) for file in files]
    return httpx.post(f"{url}/v1/audio/transcriptions", files=parts, data=fields, timeout=300)


def flac(sound):
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="FLAC")
    return file.getvalue()


def test_openais_client_gets_every_response_format(client, clip, transcript):
    def transcribe(**options):
        with clip.open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="whisper-1", **options)

    response = transcribe()
    assert response.text == transcript.text
    assert (response.usage.type, response.usage.seconds) == ("duration", np.ceil(transcript.seconds))
    assert transcribe(response_format="text").strip() == transcript.text
    assert transcribe(response_format="srt").startswith("1\n00:00:00,000 --> 00:00:0")
    assert transcribe(response_format="vtt").startswith("WEBVTT\n\n00:00:00.000 --> ")
    verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"], language="sv")
    assert (verbose.language, verbose.duration, verbose.text) == ("swedish", transcript.seconds, transcript.text)
    words = [word for segment in transcript.segments for word in segment.words]
    assert [(word.word, word.start, word.end) for word in verbose.words] == [
        (word.text, word.start, word.end) for word in words
    ]
    assert [segment.text for segment in verbose.segments] == [segment.text for segment in transcript.segments]
    assert all(segment.avg_logprob < 0 and 0 <= segment.no_speech_prob <= 1 for segment in verbose.segments)
    assert all(segment.tokens and segment.compression_ratio > 0 for segment in verbose.segments)
    assert transcribe(response_format="verbose_json").words is None


def test_openais_client_streams_the_text(client, url, clip, transcript):
    with clip.open("rb") as file:
        events = list(client.audio.transcriptions.create(file=file, model="tiny", stream=True))
    assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", transcript.text)
    assert "".join(event.delta for event in events[:-1]) == transcript.text

    async def stream_events():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            stream = await client.audio.transcriptions.create(file=clip, model="tiny", stream=True)
            return [event async for event in stream]

    assert asyncio.run(stream_events())[-1].text == transcript.text


def test_the_model_is_listed_and_retrieved(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    model = client.models.retrieve("tiny")
    assert (model.object, model.created > 1_700_000_000) == ("model", True)
    with pytest.raises(openai.NotFoundError, match="there is no model 'large' here, only tiny"):
        client.models.retrieve("large")


def test_silence_gives_an_empty_text(client, silent_clip):
    for form in ("json", "verbose_json"):
        assert client.audio.transcriptions.create(file=silent_clip, model="tiny", response_format=form).text == ""
    stream = client.audio.transcriptions.create(file=silent_clip, model="tiny", stream=True)
    assert [(event.type, event.text) for event in stream] == [("transcript.text.done", "")]


def test_a_prompt_hotwords_and_a_temperature_reach_the_engine(clip):
    class FakeEngine:
        language, joint, release, callers, calls = "sv", " ", {}, 2, []

        def segments(self, sound, words, decoding, is_wanted):
            self.calls.append((words, decoding))
            return iter([])

        def transcript(self, sound, segments):
            return Transcript("", (), len(sound) / RATE, "sv")

        def tokens(self, text):
            return []

    with TestClient(build_api(engine := FakeEngine(), lambda: None)) as client:
        for fields in ({"response_format": "srt"}, {"stream": "true"}):
            data = {"prompt": "Vi reste.", "hotwords": "Öland,\n Norra Kvarken", "temperature": "0.5", **fields}
            assert client.post("/v1/audio/transcriptions", files={"file": clip.read_bytes()}, data=data).is_success
    options = DecodingOptions("Vi reste.", ("Öland", "Norra Kvarken"), 0.5)
    assert engine.calls == [(True, options), (False, options)]


@pytest.mark.parametrize(
    ("fields", "status", "param", "message"),
    [
        ({"model": "large"}, 404, "model", "there is no model 'large' here, only tiny"),
        ({"language": "en"}, 400, "language", "the model writes Swedish, not 'en'"),
        ({"response_format": "docx"}, 400, "response_format", "'json', 'text', 'srt', 'verbose_json' or 'vtt'"),
        ({"temperature": "2"}, 400, "temperature", "less than or equal to 1"),
        ({"temperature": "nan"}, 400, "temperature", "less than or equal to 1"),
        ({"stream": "true", "response_format": "srt"}, 400, "stream", "json or text, not srt"),
        ({"timestamp_granularities[]": "letter"}, 400, "timestamp_granularities[]", "'word' or 'segment'"),
        ({"timestamp_granularities[]": "word"}, 400, "timestamp_granularities[]", "goes with response_format verbose"),
        ({"include[]": "logprobs"}, 400, "include[]", "there is no field 'include[]' here"),
        ({"prompt": "å" * 10_001}, 400, "prompt", "at most 10000 characters"),
        ({"prompt": "å" * 1_100_000}, 400, None, "1024KB"),
    ],
)
def test_unsupported_options_are_refused_by_name(url, clip, fields, status, param, message):
    response = post(url, clip.read_bytes(), **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert message in error["message"] and "\n" not in error["message"]


def test_invalid_files_and_forms_are_refused(url, clip):
    sound = clip.read_bytes()
    assert post(url, b"This is no sound. " * 99).status_code == 415
    assert post(url, b"").json()["error"]["message"] == "The recording is empty."
    assert post(url, flac(np.full(121 * RATE, 0.1))).status_code == 413  # of 2 minutes at most
    assert "several" in post(url, sound, sound).json()["error"]["message"]
    for body in ({"data": {"file": "http://127.0.0.1/a.wav"}}, {"data": {"file": "a"}}, {"files": {"sound": sound}}):
        response = httpx.post(f"{url}/v1/audio/transcriptions", **body)
        assert response.status_code in (400, 415) and response.json()["error"]["message"]
    response = httpx.post(f"{url}/v1/audio/transcriptions", content=sound, headers={"content-type": "audio/wav"})
    assert (response.status_code, "multipart/form-data" in response.text) == (415, True)
    malformed = httpx.post(f"{url}/v1/audio/transcriptions", content=b"--x\r\nnot a part", headers=FORM)
    assert malformed.status_code == 400 and malformed.json()["error"]["message"]
    assert httpx.post(f"{url}/v1/audio/translations").json()["error"]["code"] == "unsupported"
    assert httpx.get(f"{url}/v1/nothing").json()["error"]["message"] == "Not Found"
    assert httpx.put(f"{url}/v1/models").status_code == 405


def test_a_too_large_request_is_refused_while_it_streams_in(url):
    def open_request(name, value):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
        connection.putrequest("POST", "/v1/audio/transcriptions")
        connection.putheader("Content-Type", FORM["content-type"])
        connection.putheader(name, value)
        connection.endheaders()
        return connection

    def read_refusal(connection):
        response = connection.getresponse()
        return response.status, json.load(response)["error"]["message"]

    expected = (413, "a file may have at most 3 MB")
    assert read_refusal(open_request("Content-Length", "200000000")) == expected  # before the first byte
    connection = open_request("Transfer-Encoding", "chunked")
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for chunk in (head, *[bytes(500_000)] * 8):  # the body never ends
        connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    assert read_refusal(connection) == expected


def test_a_configured_key_is_required_before_the_body_is_read(guarded_url, clip):
    def client_with(key):
        return openai.OpenAI(base_url=f"{guarded_url}/v1", api_key=key, max_retries=0)

    assert client_with(KEY).audio.transcriptions.create(file=clip, model="tiny").text
    for key in ("another", KEY + "x"):
        with pytest.raises(openai.AuthenticationError, match="this server requires its key"):
            client_with(key).models.list()
    refused = httpx.get(f"{guarded_url}/v1/models")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.get(f"{guarded_url}/v1/models", headers={b"authorization": "Bearer ö".encode()}).status_code == 401
    assert httpx.get(f"{guarded_url}/health").status_code == 200


def test_no_key_appears_in_a_response_or_in_the_log(guarded_url, guarded_log):
    headers = {"authorization": "Bearer nearly-" + KEY}
    paths = ["/v1/models", "/v1/none", "/health", "/metrics", "/openapi.json", "/", "/config", "/none"]
    responses = [httpx.get(f"{guarded_url}{path}", headers=headers) for path in paths]
    responses.append(httpx.post(f"{guarded_url}/v1/audio/transcriptions", headers=headers))
    output = "".join(f"{response.headers}{response.text}" for response in responses)
    output += guarded_log.read_text(encoding="utf-8")
    assert KEY not in output
    assert TOKEN not in output


def test_cors_allows_only_configured_origins(url, guarded_url):
    def allowed_origin(server, origin):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        return httpx.options(f"{server}/v1/audio/transcriptions", headers=headers).headers.get(
            "access-control-allow-origin"
        )

    assert allowed_origin(url, "https://one.example") is None
    assert allowed_origin(guarded_url, "https://two.example") == "https://two.example"
    assert allowed_origin(guarded_url, "https://three.example") is None


def test_prometheus_metrics_count_requests(url, clip, transcript):
    def read_metrics():
        families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    before = read_metrics()
    post(url, clip.read_bytes())
    post(url, b"no sound")
    after, route = read_metrics(), "/v1/audio/transcriptions"

    def increase(*key):
        return after[key] - before.get(key, 0)

    assert increase("whisper_requests_total", route, "200") == 1
    assert increase("whisper_requests_total", route, "415") == 1
    assert increase("whisper_request_seconds_count", route) == 2
    assert increase("whisper_sound_seconds_total") == pytest.approx(transcript.seconds, abs=0.01)
    assert increase("whisper_real_time_factor_count") == 1
    assert (after["whisper_waiting",], after["whisper_running",]) == (0, 0)


def test_too_many_requests_get_retry_after_and_all_others_are_served(url, speech):
    recording, responses = flac(np.concatenate(speech)[: 15 * RATE]), list[httpx.Response]()
    callers = [threading.Thread(target=lambda: responses.append(post(url, recording))) for _ in range(50)]
    for caller in callers:
        caller.start()
    slowest = 0.0
    while any(caller.is_alive() for caller in callers):
        start_time = time.monotonic()
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - start_time)
        time.sleep(0.2)
    texts = {response.json()["text"] for response in responses if response.status_code == 200}
    rejected = [response for response in responses if response.status_code != 200]
    assert len(responses) == 50 and len(texts) == 1 and rejected
    assert {response.status_code for response in rejected} == {429}
    assert all(1 <= int(response.headers["retry-after"]) <= 60 for response in rejected)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(MemoryError(), 503, "server_error"), (RuntimeError("CUDA failed with error out of memory"), 503, "server_error")],
)
def test_out_of_memory_gets_retry_after(clip, error, status, kind):
    class Exhausted:
        release, language, callers, joint, tokens = {}, "sv", 2, " ", None

        def segments(self, *_):
            raise error
            yield

    caller = TestClient(build_api(Exhausted(), lambda: None))
    response = caller.post("/v1/audio/transcriptions", files={"file": clip.open("rb")})
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert int(response.headers["retry-after"]) > 0
    with clip.open("rb") as file:
        response = caller.post("/v1/audio/transcriptions", files={"file": file}, data={"stream": "true"})
    (event,) = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line]
    assert event["type"] == "error" and "short of memory" in event["error"]["message"]


def test_a_disconnected_caller_cancels_the_work(url, speech):
    recording = flac(np.tile(np.concatenate(speech), 3)[: 110 * RATE])
    for fields in ({}, {"stream": "true"}):
        with pytest.raises(httpx.ReadTimeout), httpx.stream(
            "POST", f"{url}/v1/audio/transcriptions", files={"file": recording}, data=fields,
            timeout=httpx.Timeout(60, read=0.3),
        ) as response:  # fmt: skip
            for _ in response.iter_raw():
                raise httpx.ReadTimeout("received enough")
    for _ in range(100):
        if "whisper_running 0.0" in httpx.get(f"{url}/metrics").text:
            return
        time.sleep(0.1)
    raise AssertionError("the engine still runs for a disconnected caller")


def test_the_docs_name_every_field_and_load_nothing_from_other_hosts(url):
    schema = httpx.get(f"{url}/openapi.json").json()
    assert set(schema["paths"]) == {
        "/health", "/metrics", "/v1/models", "/v1/models/{name}", "/v1/audio/transcriptions",
    }  # fmt: skip
    (form,) = (component for name, component in schema["components"]["schemas"].items() if name.startswith("Body_"))
    assert {"file", "model", "language", "prompt", "hotwords", "response_format", "stream"} < set(form["properties"])
    page = httpx.get(f"{url}/docs").text
    assert "https://" not in page and "swagger-ui-bundle.js" in page
    assert httpx.get(f"{url}/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_no_fuzzed_request_causes_a_server_error(url, tmp_path):
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--checks", checks]
    command += ["--max-examples", "20"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout


def test_a_wav_of_unknown_length_is_read(url, transcript, clip):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer, wave.open(str(clip)) as reader:
        writer.setparams(reader.getparams())
        writer.writeframes(reader.readframes(reader.getnframes()))
    raw = bytearray(file.getvalue())
    raw[4:8] = raw[40:44] = b"\xff\xff\xff\xff"
    assert post(url, bytes(raw)).json()["text"] == transcript.text
