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
def guarded(tiny_release, guarded_log):
    environment = {"API_KEY": KEY, "HF_TOKEN": TOKEN, "CORS_ORIGINS": "https://one.example, https://two.example"}
    with serve(tiny_release, guarded_log, **environment) as url:
        yield url


@pytest.fixture(scope="module")
def heard(tiny_release, clip):
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


def test_openais_client_gets_every_response_format(client, clip, heard):
    def ask(**more):
        with clip.open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="whisper-1", **more)

    answer = ask()
    assert (answer.text, answer.usage.type, answer.usage.seconds) == (heard.text, "duration", np.ceil(heard.seconds))
    assert ask(response_format="text").strip() == heard.text
    assert ask(response_format="srt").startswith("1\n00:00:00,000 --> 00:00:0")
    assert ask(response_format="vtt").startswith("WEBVTT\n\n00:00:00.000 --> ")
    told = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"], language="sv")
    assert (told.language, told.duration, told.text) == ("swedish", heard.seconds, heard.text)
    words = [word for segment in heard.segments for word in segment.words]
    assert [(word.word, word.start, word.end) for word in told.words] == [
        (word.text, word.start, word.end) for word in words
    ]
    assert [segment.text for segment in told.segments] == [segment.text for segment in heard.segments]
    assert all(segment.avg_logprob < 0 and 0 <= segment.no_speech_prob <= 1 for segment in told.segments)
    assert all(segment.tokens and segment.compression_ratio > 0 for segment in told.segments)
    assert ask(response_format="verbose_json").words is None


def test_openais_client_streams_the_text(client, url, clip, heard):
    with clip.open("rb") as file:
        events = list(client.audio.transcriptions.create(file=file, model="tiny", stream=True))
    assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", heard.text)
    assert "".join(event.delta for event in events[:-1]) == heard.text

    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            stream = await client.audio.transcriptions.create(file=clip, model="tiny", stream=True)
            return [event async for event in stream]

    assert asyncio.run(ask())[-1].text == heard.text


def test_the_one_model_is_listed_and_found(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    model = client.models.retrieve("tiny")
    assert (model.object, model.created > 1_700_000_000) == ("model", True)
    with pytest.raises(openai.NotFoundError, match="there is no model 'large' here, only tiny"):
        client.models.retrieve("large")


def test_silence_is_an_empty_text(client, silent_clip):
    for form in ("json", "verbose_json"):
        assert client.audio.transcriptions.create(file=silent_clip, model="tiny", response_format=form).text == ""
    stream = client.audio.transcriptions.create(file=silent_clip, model="tiny", stream=True)
    assert [(event.type, event.text) for event in stream] == [("transcript.text.done", "")]


def test_a_prompt_hotwords_and_a_temperature_reach_the_engine(clip):
    class Listener:
        language, joint, release, callers, asked = "sv", " ", {}, 2, []

        def segments(self, sound, words, decoding, wanted):
            self.asked.append((words, decoding))
            return iter([])

        def transcript(self, sound, segments):
            return Transcript("", (), len(sound) / RATE, "sv")

        def tokens(self, text):
            return []

    with TestClient(build_api(engine := Listener(), lambda: None)) as client:
        for form in ({"response_format": "srt"}, {"stream": "true"}):
            hints = {"prompt": "Vi reste.", "hotwords": "Öland,\n Norra Kvarken", "temperature": "0.5", **form}
            assert client.post("/v1/audio/transcriptions", files={"file": clip.read_bytes()}, data=hints).is_success
    asked = DecodingOptions("Vi reste.", ("Öland", "Norra Kvarken"), 0.5)
    assert engine.asked == [(True, asked), (False, asked)]


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
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
def test_unsupported_options_are_refused_by_name(url, clip, fields, status, param, said):
    answer = post(url, clip.read_bytes(), **fields)
    fault = answer.json()["error"]
    assert (answer.status_code, fault["param"], fault["type"]) == (status, param, "invalid_request_error")
    assert said in fault["message"] and "\n" not in fault["message"]


def test_invalid_files_and_forms_are_refused(url, clip):
    sound = clip.read_bytes()
    assert post(url, b"This is no sound. " * 99).status_code == 415
    assert post(url, b"").json()["error"]["message"] == "The recording is empty."
    assert post(url, flac(np.full(121 * RATE, 0.1))).status_code == 413  # of 2 minutes at most
    assert "several" in post(url, sound, sound).json()["error"]["message"]
    for kinds in ({"data": {"file": "http://127.0.0.1/a.wav"}}, {"data": {"file": "a"}}, {"files": {"sound": sound}}):
        answer = httpx.post(f"{url}/v1/audio/transcriptions", **kinds)
        assert answer.status_code in (400, 415) and answer.json()["error"]["message"]
    answer = httpx.post(f"{url}/v1/audio/transcriptions", content=sound, headers={"content-type": "audio/wav"})
    assert (answer.status_code, "multipart/form-data" in answer.text) == (415, True)
    torn = httpx.post(f"{url}/v1/audio/transcriptions", content=b"--x\r\nnot a part", headers=FORM)
    assert torn.status_code == 400 and torn.json()["error"]["message"]
    assert httpx.post(f"{url}/v1/audio/translations").json()["error"]["code"] == "unsupported"
    assert httpx.get(f"{url}/v1/nothing").json()["error"]["message"] == "Not Found"
    assert httpx.put(f"{url}/v1/models").status_code == 405


def test_a_too_large_request_is_refused_while_it_streams_in(url):
    def opened(name, value):
        caller = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
        caller.putrequest("POST", "/v1/audio/transcriptions")
        caller.putheader("Content-Type", FORM["content-type"])
        caller.putheader(name, value)
        caller.endheaders()
        return caller

    def refused(caller):
        answer = caller.getresponse()
        return answer.status, json.load(answer)["error"]["message"]

    wanted = (413, "a file may have at most 3 MB")
    assert refused(opened("Content-Length", "200000000")) == wanted  # before the first byte
    caller = opened("Transfer-Encoding", "chunked")
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for chunk in (head, *[bytes(500_000)] * 8):  # and its end never comes
        caller.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    assert refused(caller) == wanted


def test_a_configured_key_is_required_before_the_body_is_read(guarded, clip):
    def client(key):
        return openai.OpenAI(base_url=f"{guarded}/v1", api_key=key, max_retries=0)

    assert client(KEY).audio.transcriptions.create(file=clip, model="tiny").text
    for key in ("another", KEY + "x"):
        with pytest.raises(openai.AuthenticationError, match="this server requires its key"):
            client(key).models.list()
    refused = httpx.get(f"{guarded}/v1/models")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.get(f"{guarded}/v1/models", headers={b"authorization": "Bearer ö".encode()}).status_code == 401
    assert httpx.get(f"{guarded}/health").status_code == 200


def test_no_key_appears_in_a_response_or_in_the_log(guarded, guarded_log):
    wrong = {"authorization": "Bearer nearly-" + KEY}
    paths = ["/v1/models", "/v1/none", "/health", "/metrics", "/openapi.json", "/", "/config", "/none"]
    answers = [httpx.get(f"{guarded}{path}", headers=wrong) for path in paths]
    answers.append(httpx.post(f"{guarded}/v1/audio/transcriptions", headers=wrong))
    said = "".join(f"{answer.headers}{answer.text}" for answer in answers) + guarded_log.read_text(encoding="utf-8")
    assert KEY not in said
    assert TOKEN not in said


def test_pages_of_other_sites_may_call_only_where_they_are_named(url, guarded):
    def may(server, origin):
        asking = {"origin": origin, "access-control-request-method": "POST"}
        return httpx.options(f"{server}/v1/audio/transcriptions", headers=asking).headers.get(
            "access-control-allow-origin"
        )

    assert may(url, "https://one.example") is None
    assert may(guarded, "https://two.example") == "https://two.example"
    assert may(guarded, "https://three.example") is None


def test_metrics_are_prometheus_and_count(url, clip, heard):
    def counted():
        families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

    before = counted()
    post(url, clip.read_bytes())
    post(url, b"no sound")
    after, route = counted(), "/v1/audio/transcriptions"

    def more(*key):
        return after[key] - before.get(key, 0)

    assert (more("whisper_requests_total", route, "200"), more("whisper_requests_total", route, "415")) == (1, 1)
    assert more("whisper_request_seconds_count", route) == 2
    assert more("whisper_sound_seconds_total") == pytest.approx(heard.seconds, abs=0.01)
    assert more("whisper_real_time_factor_count") == 1
    assert (after["whisper_waiting",], after["whisper_running",]) == (0, 0)


def test_too_many_requests_get_retry_after_and_all_others_are_served(url, speech):
    long, answers = flac(np.concatenate(speech)[: 15 * RATE]), list[httpx.Response]()
    callers = [threading.Thread(target=lambda: answers.append(post(url, long))) for _ in range(50)]
    for caller in callers:
        caller.start()
    slowest = 0.0
    while any(caller.is_alive() for caller in callers):
        began = time.monotonic()
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.2)
    texts = {answer.json()["text"] for answer in answers if answer.status_code == 200}
    late = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) == 50 and len(texts) == 1 and late
    assert {answer.status_code for answer in late} == {429}
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in late)


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
    answer = caller.post("/v1/audio/transcriptions", files={"file": clip.open("rb")})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert int(answer.headers["retry-after"]) > 0
    with clip.open("rb") as file:
        answer = caller.post("/v1/audio/transcriptions", files={"file": file}, data={"stream": "true"})
    (event,) = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert event["type"] == "error" and "short of memory" in event["error"]["message"]


def test_a_disconnected_caller_cancels_the_work(url, speech):
    long = flac(np.tile(np.concatenate(speech), 3)[: 110 * RATE])
    for fields in ({}, {"stream": "true"}):
        with pytest.raises(httpx.ReadTimeout), httpx.stream(
            "POST", f"{url}/v1/audio/transcriptions", files={"file": long}, data=fields,
            timeout=httpx.Timeout(60, read=0.3),
        ) as answer:  # fmt: skip
            for _ in answer.iter_raw():
                raise httpx.ReadTimeout("heard enough")
    for _ in range(100):
        if "whisper_running 0.0" in httpx.get(f"{url}/metrics").text:
            return
        time.sleep(0.1)
    raise AssertionError("the engine goes on for nobody")


def test_the_docs_name_every_field_and_load_nothing_from_other_hosts(url):
    schema = httpx.get(f"{url}/openapi.json").json()
    assert set(schema["paths"]) == {
        "/health", "/metrics", "/v1/models", "/v1/models/{name}", "/v1/audio/transcriptions",
    }  # fmt: skip
    (form,) = (one for name, one in schema["components"]["schemas"].items() if name.startswith("Body_"))
    assert {"file", "model", "language", "prompt", "hotwords", "response_format", "stream"} < set(form["properties"])
    page = httpx.get(f"{url}/docs").text
    assert "https://" not in page and "swagger-ui-bundle.js" in page
    assert httpx.get(f"{url}/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_no_fuzzed_request_causes_a_server_error(url, tmp_path):
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    fuzz = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--checks", checks]
    run = subprocess.run([*fuzz, "--max-examples", "20"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout


def test_a_wav_of_unknown_length_is_read(url, heard, clip):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer, wave.open(str(clip)) as reader:
        writer.setparams(reader.getparams())
        writer.writeframes(reader.readframes(reader.getnframes()))
    raw = bytearray(file.getvalue())
    raw[4:8] = raw[40:44] = b"\xff\xff\xff\xff"
    assert post(url, bytes(raw)).json()["text"] == heard.text
