"""What the Space promises to who visits it and to who calls it, started as a user starts it."""

import json
import shutil
import subprocess
import sys
import urllib.request

import pytest
from transcriber import Transcriber
from visit import APP, CHROMIUM, serve, visit

in_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")


@pytest.fixture(scope="module")
def url(tiny_release):
    with serve(tiny_release) as url:
        yield url


@pytest.fixture(scope="module")
def text(tiny_release, clip):
    """What the engine itself makes of the clip."""
    return Transcriber(tiny_release).transcribe_file(clip).text


@pytest.fixture(scope="module")
def client(url):
    from gradio_client import Client

    return Client(url, verbose=False)


@in_browser
def test_an_uploaded_sound_shows_its_text(url, clip, text, tmp_path):
    seen = visit(url, clip, tmp_path / "upload")
    assert seen.text == text
    assert (seen.message, seen.errors, seen.foreign, seen.overflow) == ("", [], [], 0)
    assert "tiny" in seen.about
    assert "8.2\u00a0%" in seen.about
    assert "about 8 wrong" in seen.about
    assert "6.9 to 9.8" in seen.about


@in_browser
def test_speech_into_the_microphone_of_a_phone_shows_its_text(url, clip, tmp_path):
    seen = visit(url, clip, tmp_path / "speak", speak=True, width=390)
    assert seen.text
    assert (seen.message, seen.errors, seen.foreign, seen.overflow) == ("", [], [], 0)


@in_browser
def test_a_silent_recording_is_told_to_be_silent(url, silent_clip, tmp_path):
    seen = visit(url, silent_clip, tmp_path / "silent", dark=True)
    assert "The recording is silent." in seen.message
    assert seen.text == ""
    assert (seen.errors, seen.foreign) == ([], [])


def test_the_api_gives_the_text(client, clip, text):
    from gradio_client import handle_file

    assert client.predict(handle_file(clip), api_name="/transcribe") == text
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/transcribe"]


def test_the_api_says_what_is_wrong_with_a_file(client, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "text.wav").write_bytes(b"This is no sound. " * 99)
    with pytest.raises(AppError, match="No readable audio in this file"):
        client.predict(handle_file(tmp_path / "text.wav"), api_name="/transcribe")
    with pytest.raises(AppError, match="There is no recording yet"):
        client.predict(None, api_name="/transcribe")


def test_health_tells_the_model_its_run_and_the_uptime(url):
    with urllib.request.urlopen(f"{url}/health") as answer:
        health = json.load(answer)
    assert {"model": health["model"], "run": health["run"]} == {"model": "tiny", "run": "1763"}
    assert health["uptime"] > 0


def test_without_a_model_it_ends_with_one_line_that_says_how_to_make_one(tmp_path, monkeypatch):
    shutil.copytree(APP.parent, tmp_path / "space")  # away from what may have been released here
    monkeypatch.delenv("MODEL_ID", raising=False)
    run = subprocess.run([sys.executable, "space/app.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert "make one with `python flows/whisper_flow.py run`" in line


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({}, "Nobody has measured"),
        ({"test_wer": 0.4}, "fewer than 1 wrong."),
        ({"test_wer": 130.0, "test_wer_ci": [90.0, 180.0]}, "With other clips"),
        ({"test_wer": 20.0, "baseline_wer": 61.7}, "Before training it was 61.7"),
        ({"name": "<script>"}, "&lt;script&gt;"),
    ],
)
def test_the_page_tells_what_a_release_knows_and_no_more(release, said):
    import app

    assert said in app.about(release)
    assert "None" not in app.about(release)
