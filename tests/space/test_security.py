"""Attacks on a running Space: it reads, fetches and stores nothing that it should not."""

import http.client
import http.server
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from fractions import Fraction
from pathlib import Path

import av
import httpx
import live_endpoint
import live_transcription
import numpy as np
import openai_realtime
import pytest
import soundfile
from batching import Cancelled
from browser import APP, serve
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import connect

RATE = 16_000
FORM = {"content-type": "multipart/form-data; boundary=x"}
HEAD = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
FILE = HEAD % (b"files", b'; filename="a.wav"')
FIELD = HEAD % (b"files", b"")


@pytest.fixture(scope="module")
def uploaded(url, clip):
    """The server's path of an uploaded clip."""
    return upload(url, clip.read_bytes())


def upload(url, content, name="a.wav"):
    return httpx.post(f"{url}/gradio_api/upload", files={"files": (name, content)}).json()[0]


def file_data(path, **extra):
    """A file in the form of Gradio's clients."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **extra}


def call(url, *data, **extra):
    """The response of Gradio's API, as text."""
    response = httpx.post(f"{url}/gradio_api/call/transcribe", json={"data": data, **extra})
    if response.status_code != 200:
        return f"{response.status_code} {response.text}"
    return httpx.get(f"{url}/gradio_api/call/transcribe/{response.json()['event_id']}", timeout=60).text


def join(url, index, *data):
    """The events of a call of one of the page's functions, by its index."""
    session = os.urandom(8).hex()
    call = {"data": data, "fn_index": index, "session_hash": session}
    content, headers = json.dumps(call), {"content-type": "application/json"}  # so that a lone surrogate can be sent
    response = httpx.post(f"{url}/gradio_api/queue/join", content=content, headers=headers)
    assert response.status_code == 200, response.text
    events = httpx.get(f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=60).text
    return [json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line]


def metric(url, name):
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def list_files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def wait_until(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the condition was not met in time")


def function_index(url, inputs, outputs):
    """The index of the last function of the page with so many inputs and outputs."""
    dependencies = httpx.get(f"{url}/config").json()["dependencies"]
    return [item["id"] for item in dependencies if (len(item["inputs"]), len(item["outputs"])) == (inputs, outputs)][-1]


class Caller:
    """A request that is sent in pieces, and may never end."""

    def __init__(self, url, path, headers=FORM, length=None):
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
        self._connection.putrequest("POST", path)
        for name, value in headers.items():
            self._connection.putheader(name, value)
        self._connection.putheader(*(("Content-Length", str(length)) if length else ("Transfer-Encoding", "chunked")))
        self._connection.endheaders()
        self._has_length = bool(length)

    def send(self, *pieces):
        for piece in pieces:
            self._connection.send(piece if self._has_length else b"%x\r\n%b\r\n" % (len(piece), piece))

    def status(self):
        return self._connection.getresponse().status

    def close(self):
        self._connection.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/process_recording"),  # FFmpeg would open the files of a playlist
        ("POST", "/gradio_api/run/transcribe"),  # would bypass the queue
        ("POST", "/gradio_api/api/transcribe"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/stream/0"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/login"),
        ("POST", "/gradio_api/call/submit_clip"),
        ("GET", "/gradio_api/file=http://127.0.0.1/a.wav"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1/a.wav"),
        ("GET", "/gradio_api/deep_link?session_hash=a"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/gradio_api/token"),
        ("GET", "/gradio_api/app_id"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/custom_component/a/client/a/a"),
        ("GET", "/gradio_api/mcp/schema"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/logout"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/"),
    ],
)
def test_unneeded_routes_are_not_found(url, method, path):
    response = httpx.request(
        method, f"{url}{path}", files={"video": ("a.m3u8", b"#EXTM3U\n")} if method == "POST" else None
    )
    assert response.status_code == 404 and "wav" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "{release}/release.json",
        "/proc/self/environ",
        "{own}/../../etc/passwd",
        "{own}",
        "",
    ],
)
def test_no_path_of_the_server_is_read(url, tiny_release, uploaded, path):
    path = path.format(release=tiny_release, own=Path(uploaded).parents[1])
    for value in (file_data(path), {"path": path}, [file_data(path)], {"a": [file_data(path)]}):
        assert call(url, value).startswith("400 ")
    for prefix in ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/static/", "/assets/"):
        for quoted in (path, urllib.parse.quote(path, safe="")):
            assert httpx.get(f"{url}{prefix}{quoted}").status_code in (403, 404)


def test_no_address_is_fetched_for_a_visitor(url, uploaded):
    fetched = []

    class OtherServer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), OtherServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.wav"
        for value in (file_data(address), {"path": address}, {"url": address, "meta": {}}, file_data("", url=address)):
            assert call(url, value).startswith("400 ")
        # The upload is read, the address is ignored.
        assert "event: complete" in call(url, file_data(uploaded, url=address))
        assert "event: complete" in call(url, file_data(f"{url}/gradio_api/file={uploaded}"))
        server.shutdown()
    assert not fetched


def test_a_too_large_body_is_refused_while_it_streams_in(url):
    before = metric(url, "process_resident_memory_bytes")
    for path in ("/gradio_api/queue/join", "/gradio_api/call/transcribe", "/gradio_api/cancel"):
        caller = Caller(url, path, {"content-type": "application/json"})
        caller.send(b'{"data": [', *[b"[]," * 100_000] * 4)
        assert caller.status() == 413
        assert Caller(url, path, length=200_000_000).status() == 413
    caller = Caller(url, "/gradio_api/upload")
    caller.send(FILE, *[bytes(500_000)] * 7)
    assert caller.status() == 413
    caller = Caller(url, "/gradio_api/upload")
    caller.send(FIELD, *[bytes(500_000)] * 20)
    assert caller.status() == 400  # a field that is no file would stay in memory
    assert Caller(url, "/gradio_api/upload", length=10**12).status() == 413
    assert metric(url, "process_resident_memory_bytes") < before + 30_000_000


def test_an_incomplete_upload_leaves_no_file(url, temporary_folder):
    before = list_files(temporary_folder)
    for _ in range(3):
        caller = Caller(url, "/gradio_api/upload", length=2_000_000)
        caller.send(FILE + bytes(1_000_000))
        wait_until(lambda: len(list_files(temporary_folder)) > len(before))
        caller.close()
        wait_until(lambda: list_files(temporary_folder) == before)
    other_field = HEAD % (b"other", b'; filename="a"') + b"a\r\n--x--\r\n"
    for body in (b"--x\r\nno part", FILE + b"a", other_field, FILE * 30):
        assert httpx.post(f"{url}/gradio_api/upload", content=body, headers=FORM).status_code < 500
    assert len(list_files(temporary_folder)) <= len(before) + 1


def test_a_page_of_another_site_does_not_reach_a_local_server(url):
    port = urllib.parse.urlsplit(url).port
    for path in ("/", "/config", "/health", "/v1/models", "/gradio_api/info"):
        assert httpx.get(f"{url}{path}", headers={"host": f"evil.example:{port}"}).status_code == 421
        assert httpx.get(f"{url}{path}", headers={"host": "["}).status_code == 421
    for name in (f"localhost:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert httpx.get(f"{url}/health", headers={"host": name}).status_code == 200
    for origin in ("https://evil.example", "http://203.0.113.5", "null"):
        response = httpx.post(f"{url}/gradio_api/upload", files={"files": b"a"}, headers={"origin": origin})
        assert response.status_code == 403
    for path in ("live", "v1/realtime"):
        with pytest.raises(InvalidStatus), socket.create_connection(("127.0.0.1", port)) as connection:
            connect(f"ws://evil.example:{port}/{path}", sock=connection).close()


def test_a_server_answers_to_its_public_host_name():
    import gateway

    assert gateway.allowed_hosts("0.0.0.0") is None  # a Space or a container: only its owner knows its names
    assert gateway.is_allowed_host("who.hf.space", None) and gateway.is_same_site(
        "https://else.example", "who.hf.space", None
    )
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"):
        allowed = gateway.allowed_hosts(host, "https://speech.example/swedish")
        assert gateway.is_allowed_host("speech.example", allowed)
        assert not gateway.is_allowed_host("evil.example", allowed)
        assert not gateway.is_allowed_host("speech.example", gateway.allowed_hosts(host, "/swedish"))


def test_every_response_has_security_headers(url, uploaded):
    for path in ("/", "/docs", "/health", "/nowhere", f"/gradio_api/file={uploaded}", "/v1/models"):
        headers = httpx.get(f"{url}{path}").headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
        policy = dict(directive.split(None, 1) for directive in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == "'self'"


def test_a_space_may_be_framed_by_hugging_face(monkeypatch):
    import gateway

    monkeypatch.setenv("SPACE_ID", "me/hear")
    policy = gateway.Gateway(None, None, None, None, {}, None).headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://huggingface.co" in policy and "script-src" not in policy


HOSTILE = [
    b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"data": 1}', b'{"data": []}',
    b'{"data": [1]}', b'{"data": ["/etc/passwd"]}', b'{"data": [NaN]}', b'{"data": [[]]}', b'{"data": [[], {}, ""]}',
    b'{"data": [null], "session_hash": "../../etc"}', b'{"data": [null], "session_hash": 5}',
    b'{"data": [' + b"[" * 50 + b"]" * 50 + b"]}", b'{"data": [null], "fn_index": 1e400, "session_hash": "a"}',
    b'{"data": [null], "event_id": "a", "batched": true, "simple_format": 5, "oauth_token": "a"}',
]  # fmt: skip


def test_no_hostile_call_causes_a_traceback_or_leaks_into_the_log(url, log, uploaded):
    before = len(log.read_text())
    for body in HOSTILE:
        for path in ("call/transcribe", "call/v2/transcribe", "queue/join", "cancel", "reset"):
            headers = {"content-type": "application/json"}
            response = httpx.post(f"{url}/gradio_api/{path}", content=body, headers=headers)
            assert response.status_code < 500, (path, body[:50])
            if event := response.status_code == 200 and response.json().get("event_id"):
                httpx.get(f"{url}/gradio_api/call/transcribe/{event}")
    for index in range(30):
        body = {"data": [{"a": "Hemligt"}, "Hemligt", None], "fn_index": index, "session_hash": "a"}
        assert httpx.post(f"{url}/gradio_api/queue/join", json=body).status_code in (200, 400)
    for path in (
        "queue/data",
        "queue/data?session_hash=nobody",
        "call/transcribe/nobody",
        "heartbeat/a%00",
        "upload_progress",
    ):
        with httpx.stream("GET", f"{url}/gradio_api/{path}") as response:
            response.read()
    httpx.get(f"{url}/gradio_api/file={uploaded}", headers={"range": "bytes=99999999-0"})
    httpx.get(f"{url}/v1/models/%ff%00")
    log_text = log.read_text()[before:]
    assert [text for text in ("Traceback", "Hemligt", "passwd", uploaded) if text in log_text] == []


def test_uploads_of_a_killed_or_stopped_server_are_deleted(tiny_release, clip, tmp_path):
    other_folder = tmp_path / "of another program"
    other_folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"MODEL_ID": str(tiny_release), "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path)}
    server = subprocess.Popen([sys.executable, str(APP)], env=os.environ | environment, stdout=subprocess.DEVNULL)
    url, statuses = f"http://127.0.0.1:{port}", []

    def responds():
        try:
            statuses.append(httpx.get(f"{url}/health").status_code)
        except httpx.TransportError:
            return False
        return True

    wait_until(responds)
    assert statuses == [200]  # already the first response
    old_folder = Path(upload(url, clip.read_bytes())).parents[1]
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert list_files(old_folder)
    with serve(tiny_release, GRADIO_TEMP_DIR=str(tmp_path)) as url:
        new_folder = Path(upload(url, clip.read_bytes())).parents[1]
        wait_until(lambda: not old_folder.exists())
        assert list_files(new_folder)
    assert not list_files(tmp_path) and other_folder.exists() and not list(tmp_path.glob("whisper-space-*"))


@pytest.mark.parametrize("consent", ["false", "true", "", {}, [1], 1, 0, None, {"value": True}])
def test_only_true_is_consent(url, contributions_folder, uploaded, consent):
    join(url, function_index(url, 3, 4), file_data(uploaded), "Hej.", consent)
    assert not list_files(contributions_folder)


def test_the_consent_record_is_stored_and_deleted_with_its_clip(url, contributions_folder, uploaded):
    from asr.corpus import folder
    from translations import translate

    text = "=cmd|' /C calc'!A0 \u202e\x1b[31m<b>röd\ud800</b>"
    events = join(url, function_index(url, 3, 4), file_data(uploaded), text, True)
    assert events[-2]["success"]
    (row,) = folder.list_rows(contributions_folder, max_seconds=30.0)
    assert (row.text, row.problem) == ("cmd|' /C calc'!A0 [31m<b>röd</b>", None)
    (record_file,) = contributions_folder.rglob("*.consent")
    consent = json.loads(record_file.read_text())
    assert consent["agreed"] == translate("consent", "en") and consent["when"].endswith("+00:00")
    join(url, function_index(url, 1, 2), record_file.stem)
    assert [path.name for path in list_files(contributions_folder)] == ["metadata.csv"]
    assert folder.list_rows(contributions_folder, max_seconds=30.0) == []


FILL_DISK = """
import csv, sys, wave
import numpy as np, contributions
from pathlib import Path
contributions.MIN_FREE_BYTES = 0
for free in range(4, 60, 2):  # kilobytes
    store, names = contributions.ContributionStore(Path("taught") / str(free)), []
    try:
        with open("filler", "wb") as filler:
            while filler.write(bytes(1024)): filler.flush()
    except OSError:
        pass
    with open("filler", "r+b") as filler:
        filler.truncate(max(0, filler.seek(0, 2) - 1024 * free))
    try:
        while True: names.append(store.add(np.zeros(4000, np.float32), "ett, två " * 40, "ja"))
    except OSError:
        pass
    train = store.folder / "train"
    with open(train / "metadata.csv", newline="") if names else open("/dev/null") as table:
        assert [row[0] for row in csv.reader(table)][1:] == names
    assert sorted(file.name for file in train.glob("*.wav")) == sorted(names)
    assert all(wave.open(str(train / name)).getnframes() == 4000 for name in names)
    assert len(list(train.iterdir())) == 2 * len(names) + bool(names), list(train.iterdir())
    for file in train.iterdir(): file.unlink()
    print(len(names))
"""
MOUNT_SMALL_DISK = 'mount -t tmpfs -o size=200k tmpfs "$PWD" && cd "$PWD" && exec "$@"'


def test_a_full_disk_leaves_no_partial_clip(tmp_path):
    on_small_disk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT_SMALL_DISK, "sh"]
    if not shutil.which("unshare") or subprocess.run([*on_small_disk, "true"], cwd=tmp_path).returncode:
        pytest.skip("no small disk can be mounted here")
    environment = os.environ | {"PYTHONPATH": str(APP.parent)}
    process = subprocess.run(
        [*on_small_disk, sys.executable, "-c", FILL_DISK], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert len(set(process.stdout.split())) > 2  # the disk was full at different files


def test_the_store_has_total_limits_and_limits_per_visitor(tmp_path, monkeypatch):
    import contributions

    def add(visitor):
        return store.add(np.zeros(RATE, np.float32), "ett", "ja", visitor)

    store = contributions.ContributionStore(tmp_path)
    monkeypatch.setattr(contributions, "MAX_CLIPS_PER_VISITOR", 1)
    add("one"), add("another")
    for name, limit in (
        ("MAX_CLIPS_PER_VISITOR", 1),
        ("MAX_CLIPS", 2),
        ("MAX_BYTES", 60_000),
        ("MIN_FREE_BYTES", 10**18),
    ):
        with monkeypatch.context() as patch, pytest.raises(OSError, match=r"enough|full"):
            patch.setattr(contributions, name, limit)
            add("one" if name == "MAX_CLIPS_PER_VISITOR" else "a third")
    monkeypatch.setattr(contributions, "DAY", 1e-3)  # tomorrow
    assert add("one")


def test_two_servers_on_one_folder_lose_no_rows(tmp_path):
    code = "import numpy, pathlib, contributions; store = contributions.ContributionStore(pathlib.Path('taught'))\n"
    code += "for _ in range(30): store.add(numpy.zeros(100, numpy.float32), 'ett')"
    environment = os.environ | {"PYTHONPATH": str(APP.parent)}
    servers = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) for _ in range(2)]
    assert [server.wait() for server in servers] == [0, 0]
    assert len((tmp_path / "taught" / "train" / "metadata.csv").read_text().splitlines()) == 61


def flac(seconds, rate, channels=1):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((int(seconds * rate), channels), np.int16), rate, format="FLAC")
    return buffer.getvalue()


def ogg(*packets):
    """An Ogg file with one packet a page; each lasts 120 ms after the first two."""
    pages = b""
    for number, packet in enumerate(packets):
        lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        kind, time = (2 if number == 0 else 0), max(0, number - 1) * 5760
        page = b"OggS" + struct.pack("<BBqIIIB", 0, kind, time, 1, number, 0, len(lacing)) + lacing + packet
        crc = 0
        for byte in page:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        pages += page[:22] + struct.pack("<I", crc) + page[26:]
    return pages


def many_channels(count):
    """Opus with many channels of silence."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, count, 0, 48_000, 0, 255) + bytes([count, 0, *range(count)])
    return ogg(head, b"OpusTags" + bytes(8), *[bytes([25, 0] * (count - 1) + [25])] * 5)


def tiny_packets(count):
    """Packets of a single sample."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(count):
            packet = av.Packet(b"\1\1")
            packet.stream, packet.pts, packet.dts, packet.time_base = track, number, number, Fraction(1, RATE)
            container.mux(packet)
    return buffer.getvalue()


def delayed(seconds):
    """A short MP4 whose edit list adds hours before it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4 * RATE), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = RATE, seconds * RATE
        container.mux([*track.encode(frame), *track.encode(None)])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make_sound", "status"),
    [
        (lambda: flac(2_000, 4), 415),  # resampling took gigabytes
        (lambda: flac(130, 8_000), 413),
        (lambda: flac(9, 655_350, 8), 413),  # a second of it is as much work as a hundred
        (lambda: many_channels(255), 415),
        (lambda: tiny_packets(40_000), 413),
        (lambda: delayed(36_000), 200),
    ],
)
def test_a_decompression_bomb_costs_little_memory(url, make_sound, status):
    before, content = metric(url, "process_resident_memory_bytes"), make_sound()
    response = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": content}, timeout=60)
    assert (response.status_code, len(content) < 1_000_000) == (status, True)
    assert metric(url, "process_resident_memory_bytes") < before + 100_000_000
    assert call(url, file_data(upload(url, content))).startswith("event: error")  # an accepted file is silent


class BlockingEngine:
    """An engine that decodes until the request is cancelled or `free` is set."""

    language, joint, release, callers, longest = "sv", " ", {}, 2, 30.0

    def __init__(self):
        self.decodes, self.free = 0, threading.Event()

    def segments(self, sound, words=True, options=None, is_wanted=lambda: True):
        self.decodes += 1
        try:
            while is_wanted() and not self.free.wait(0.01):
                pass
        finally:
            self.decodes -= 1
        if not is_wanted():
            raise Cancelled
        return iter([])

    def transcript(self, sound, segments):
        raise AssertionError("no caller waits for this result")


@pytest.fixture
def engine():
    engine = BlockingEngine()
    yield engine
    engine.free.set()


@pytest.fixture
def endpoint(engine):
    return live_endpoint.LiveEndpoint(engine)


@pytest.fixture
def open_socket(endpoint, engine):
    """A function that opens a WebSocket for live speech."""
    app = FastAPI()
    app.add_api_websocket_route("/live", endpoint.handle)
    app.add_api_websocket_route("/v1/realtime", openai_realtime.RealtimeEndpoint(engine).handle)
    return TestClient(app).websocket_connect


@pytest.fixture
def space(engine, tmp_path, monkeypatch):
    """The Space in this process, with that engine: its URL and Gradio's blocks."""
    import app
    import sessions
    from gradio import http_server

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(http_server, "INITIAL_PORT_VALUE", probe.getsockname()[1])
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(sessions, "LISTEN_SECONDS", 0.5)
    monkeypatch.setattr(sessions, "CLOSED_SECONDS", 0.1)
    blocks = app.launch(engine)
    yield blocks.local_url.rstrip("/"), blocks
    blocks.close(verbose=False)


def pcm(sound):
    return (sound * 32767).astype("<i2").tobytes()


def hello(socket, **extra):
    socket.send_text(json.dumps({"rate": RATE, **extra}))
    return socket.receive_json()


def test_live_accepts_no_audio_past_its_limit(open_socket, endpoint, speech, monkeypatch):
    monkeypatch.setattr(live_transcription, "MAX_SECONDS", 1.0)
    with open_socket("/live") as socket:
        hello(socket)
        socket.send_bytes(bytes(4) + pcm(np.tile(speech[0], 3)[: 4 * RATE]))
        while "error" not in (message := socket.receive_json()):
            pass
    assert message == {"error": "full"}
    assert [speaker.session.seconds for speaker in endpoint._speakers.values()] == [pytest.approx(1.0, abs=0.05)]


def test_a_sender_faster_than_the_engine_is_made_to_wait(open_socket, endpoint, speech):
    with open_socket("/live") as socket:
        hello(socket)
        for number in range(40):
            socket.send_bytes(number.to_bytes(4, "little") + pcm(np.tile(speech[0], 3)[: 4 * RATE]))
        (speaker,) = endpoint._speakers.values()
        wait_until(lambda: speaker.session.is_overloaded)
        time.sleep(0.5)
        assert (
            speaker.session.backlog
            < live_transcription.MAX_BACKLOG + live_transcription.MAX_WINDOW + live_endpoint.MAX_CHUNK_SECONDS
        )


def test_a_disconnected_speaker_holds_its_place_until_the_engine_is_free(open_socket, engine, speech, monkeypatch):
    monkeypatch.setattr(live_transcription, "MAX_SESSIONS", 1)
    with open_socket("/live") as socket:
        hello(socket)
        socket.send_bytes(bytes(4) + pcm(speech[0][: 4 * RATE]))
        wait_until(lambda: engine.decodes == 1)
    for _ in range(5):
        with open_socket("/live") as socket:
            assert hello(socket) == {"error": "busy"}
    engine.free.set()
    wait_until(lambda: engine.decodes == 0)
    with open_socket("/live") as socket:
        assert "speaker" in hello(socket)


def test_a_client_that_clears_or_leaves_frees_the_engine(open_socket, engine, speech):
    settings = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": RATE}}}}
    with open_socket("/v1/realtime") as socket:
        socket.send_json({"type": "session.update", "session": settings})
        for _ in range(5):
            socket.send_bytes(pcm(speech[0]))
            wait_until(lambda: engine.decodes == 1)
            socket.send_json({"type": "input_audio_buffer.clear"})
            wait_until(lambda: engine.decodes == 0)
        socket.send_bytes(pcm(speech[0]))
        wait_until(lambda: engine.decodes == 1)
    wait_until(lambda: engine.decodes == 0)


@pytest.mark.parametrize("says_hello", [True, False])
def test_an_idle_connection_is_closed(open_socket, says_hello, monkeypatch):
    monkeypatch.setattr(live_endpoint, "IDLE_SECONDS", 0.2)
    with open_socket("/live") as socket, pytest.raises(WebSocketDisconnect):
        if says_hello:
            hello(socket)
        while True:
            socket.receive_json()


def test_disconnected_speakers_are_dropped(open_socket, endpoint, monkeypatch):
    monkeypatch.setattr(live_endpoint, "MAX_DISCONNECTED", 3)
    for _ in range(20):
        with open_socket("/live") as socket:
            hello(socket)
    assert len(endpoint._speakers) <= 4


@pytest.mark.parametrize("text", ["[" * 100_000, '{"rate": 16000, "speaker": "' + "a" * 100_000 + '"}', "{}", "\0"])
def test_an_invalid_message_is_answered(open_socket, text):
    with open_socket("/live") as socket:
        socket.send_text(text)
        assert socket.receive_json() == {"error": "wrong"}
    with open_socket("/v1/realtime") as socket:
        socket.receive_json()
        socket.send_text(text)
        assert socket.receive_json()["type"] == "error"


@pytest.mark.parametrize("path", ["live", "v1/realtime"])
def test_an_endless_websocket_message_is_cut_off(url, path):
    with connect(f"{url.replace('http', 'ws')}/{path}") as socket:

        def endless_message():
            for _ in range(30):
                yield bytes(100_000)
            wait_until(lambda: socket.state is not State.OPEN)

        with pytest.raises(ConnectionClosed):
            socket.send(endless_message())
            socket.recv()


def test_an_api_client_that_leaves_or_never_listens_is_cancelled(space, engine, speech):
    url, blocks = space
    sound = io.BytesIO()
    soundfile.write(sound, speech[0], RATE, format="FLAC")
    clip = file_data(upload(url, sound.getvalue()))
    for is_listening in (True, False):
        event = httpx.post(f"{url}/gradio_api/call/transcribe", json={"data": [clip]}).json()["event_id"]
        wait_until(lambda: engine.decodes == 1)
        if is_listening:
            with pytest.raises(httpx.ReadTimeout), httpx.stream(
                "GET", f"{url}/gradio_api/call/transcribe/{event}", timeout=httpx.Timeout(9, read=1.0)
            ) as events:  # fmt: skip
                for _ in events.iter_raw():
                    assert engine.decodes == 1  # a listening client is served
        wait_until(lambda: engine.decodes == 0)
    wait_until(lambda: not blocks._queue.pending_messages_per_session and not blocks._queue.event_ids_to_events)


def test_closing_the_page_cancels_its_calls(space, engine, speech):
    url, _ = space
    sound = io.BytesIO()
    soundfile.write(sound, speech[0], RATE, format="FLAC")
    call = {"data": [[file_data(upload(url, sound.getvalue()))], "", None], "session_hash": "a"}
    response = httpx.post(f"{url}/gradio_api/queue/join", json=call | {"fn_index": function_index(url, 3, 5)})
    assert response.status_code == 200
    with httpx.stream("GET", f"{url}/gradio_api/queue/data?session_hash=a"):
        wait_until(lambda: engine.decodes == 1)
    wait_until(lambda: engine.decodes == 0)


def test_closed_sessions_leave_nothing_in_memory(space):
    url, blocks = space
    no_input_index = next(index for index, function in blocks.fns.items() if not function.inputs)
    for number in range(20):
        call = {"data": [], "fn_index": no_input_index, "session_hash": f"visitor{number}"}
        assert httpx.post(f"{url}/gradio_api/queue/join", json=call).status_code == 200
        with httpx.stream("GET", f"{url}/gradio_api/heartbeat/visitor{number}"):
            pass
    state = blocks.app.state_holder
    wait_until(lambda: not state.session_data and not state.time_last_used)
    wait_until(lambda: not blocks._queue.pending_messages_per_session and not blocks._queue.pending_event_ids_session)


def test_uploads_leave_free_space_and_are_deleted_in_time(space, clip, monkeypatch):
    import uploads

    url, _ = space
    folder = Path(upload(url, clip.read_bytes())).parents[1]
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "MIN_FREE_BYTES", 10**18)
        response = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.wav", clip.read_bytes())})
        assert (response.status_code, response.json()["detail"]) == (507, "the server has no room for a file now")
    monkeypatch.setattr(uploads, "MAX_AGE", 0.1)
    monkeypatch.setattr(uploads, "MIN_EMPTY_AGE", 0.2)
    wait_until(lambda: not list(folder.iterdir()))


def test_the_docs_open_under_the_content_security_policy(url, visit):
    with visit(url) as visitor:
        visitor.page.goto(f"{url}/docs")
        visitor.page.locator(".opblock").first.wait_for()
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_a_file_that_crashes_the_decoder_fails_alone(tiny_release, clip):
    """The server also has the faulty decoder: it would crash if it decoded in its own process."""
    faulty = str(Path(__file__).parents[1] / "bad_files" / "faulty_decoder")
    with serve(tiny_release, PYTHONPATH=faulty) as url:
        for _ in range(3):
            response = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": b"CRASH" * 9}, timeout=60)
            assert (response.status_code, response.json()["error"]["code"]) == (415, "unreadable")
            assert "error" in call(url, file_data(upload(url, b"CRASH" * 9)))
        good = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": clip.read_bytes()}, timeout=60)
        assert good.status_code == 200
