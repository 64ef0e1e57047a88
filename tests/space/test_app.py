"""The Space as visitors and programs use it, started as a user starts it."""

import io
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile

import httpx
import numpy as np
import pytest
import soundfile
from browser import APP, MAX_MEGABYTES
from text import clean_text
from transcriber import Transcriber


@pytest.fixture(scope="module")
def transcript(tiny_release, clip):
    """The engine's own transcript of the clip."""
    return Transcriber(tiny_release).transcribe_file(clip)


@pytest.fixture(scope="module")
def client(url):
    from gradio_client import Client

    return Client(url, verbose=False)


def call(client, file):
    from gradio_client import handle_file

    return client.predict(handle_file(file), api_name="/transcribe")


def test_an_upload_gives_a_text_that_plays_and_downloads(url, visit, clip, transcript, tmp_path):
    with visit(url, locale="en-GB") as visitor:
        # The limits are shown before any upload.
        assert "Up to 2 minutes and 3 MB" in visitor.read("#component-0, .main")
        visitor.page.get_by_label("Names and terms to listen for").fill("Kiruna, Norra Kvarken")
        visitor.upload(clip)
        assert " ".join(visitor.lines()) == transcript.text
        visitor.page.locator("#result [data-at]").first.click()
        visitor.page.wait_for_function("document.querySelector('#result audio').currentTime > 0.05")
        downloads = {}
        for file_format in ("TXT", "SRT", "VTT", "JSON"):
            with visitor.page.expect_download() as download:
                visitor.page.get_by_role("button", name=file_format, exact=True).click()
            downloads[download.value.suggested_filename] = download.value.path().read_text(encoding="utf-8")
        assert set(downloads) == {f"sentence.{file_format}" for file_format in ("txt", "srt", "vtt", "json")}
        assert json.loads(downloads["sentence.json"])["text"] == clean_text(transcript.text)
        assert downloads["sentence.vtt"].startswith("WEBVTT") and " --> " in downloads["sentence.srt"]
        assert downloads["sentence.txt"].split() == clean_text(transcript.text).split()
        visitor.tab("about")
        model_text = visitor.read("#model")
        for part in ("tiny", "8.3\u00a0%", "about 8 wrong", "6.9 to 9.8", "1763", "2026-11-22"):
            assert part in model_text
        assert f'base_url="{url}/v1"' in visitor.read("#program")
        visitor.page.locator("#program [data-copy]").first.click()
        visitor.page.locator("#program .done").wait_for()
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)


def test_a_word_plays_from_its_time_and_keys_control_the_player(url, visit, clip):
    with visit(url) as visitor:
        visitor.upload(clip)
        words = visitor.page.locator("#result li p [data-at]")
        last = words.last
        last.click()
        visitor.page.locator("#result .spoken").wait_for()
        start = float(last.get_attribute("data-at"))
        current_time = "document.querySelector('#result audio').currentTime"
        assert visitor.page.evaluate(current_time) >= start - 0.05
        visitor.page.keyboard.press("Alt+KeyK")
        visitor.page.wait_for_function("document.querySelector('#result audio').paused")
        visitor.page.keyboard.press("Alt+KeyJ")
        assert visitor.page.evaluate(current_time) <= max(0, start - 2)
        visitor.page.keyboard.press("Alt+Period")
        assert visitor.page.evaluate("document.querySelector('#result audio').playbackRate") == pytest.approx(1.1)
        words.first.click()
        visitor.page.wait_for_function("!document.querySelector('#result audio').paused")
        visitor.page.keyboard.press("Alt+KeyK")
        visitor.page.locator("#result .spoken").hover()
        assert visitor.page.evaluate("""() => {
          const colour = (selector) => getComputedStyle(document.querySelector(selector)).backgroundColor;
          return colour('#result .spoken') !== colour('#result .now');
        }""")
        assert (visitor.errors, visitor.overflow) == ([], 0)


def test_a_corrected_text_is_in_every_download(url, visit, clip, tmp_path):
    import docx

    def download(name):
        with visitor.page.expect_download() as downloaded:
            visitor.page.locator("#result .paper").get_by_role("button", name=name, exact=True).click()
        return downloaded.value

    with visit(url) as visitor:
        visitor.upload(clip)
        visitor.page.get_by_role("button", name="Correct the text").click()
        line = visitor.page.locator("#result li p").first
        line.fill("Hej <b>på</b> dig & mig!")
        visitor.page.get_by_role("button", name="Correct the text").click()
        lines = visitor.lines()
        assert lines[0] == "Hej <b>på</b> dig & mig!"
        assert download("TXT").path().read_text(encoding="utf-8").splitlines() == lines
        assert "Hej <b>på</b> dig & mig!" in " ".join(download("SRT").path().read_text(encoding="utf-8").split())
        segments = json.loads(download("JSON").path().read_text(encoding="utf-8"))["segments"]
        assert [segment["text"] for segment in segments] == lines
        assert segments[0]["words"] == [] and segments[0]["end"] > 0
        document = download("DOCX")
        assert document.suggested_filename == "sentence.docx"
        paragraphs = [paragraph.text for paragraph in docx.Document(document.path()).paragraphs]
        assert paragraphs[0] == "sentence.wav" and " ".join(paragraphs[1:]) == " ".join(lines)
        visitor.page.get_by_role("button", name="Give the correction to training").click()
        visitor.page.wait_for_function(
            "text => document.querySelector('#correction textarea')?.value === text", arg=" ".join(lines)
        )
        assert visitor.page.get_by_role("tab", selected=True).inner_text() == "Teach it"
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)


def test_a_correction_survives_another_upload_and_all_texts_download_as_one_archive(url, visit, clip, speech, tmp_path):
    soundfile.write(tmp_path / "sentence.flac", speech[1], 16_000)
    with visit(url) as visitor:
        visitor.upload(clip)
        visitor.page.get_by_role("button", name="Correct the text").click()
        visitor.page.locator("#result li p").first.fill("Rättat.")
        visitor.upload(tmp_path / "sentence.flac")  # next to the first
        visitor.page.locator("#result .all").wait_for()
        assert visitor.lines()[0] == "Rättat."
        assert visitor.read("#status").startswith("Done: 0:0")
        with visitor.page.expect_download() as download:
            visitor.page.locator("#result .all [data-form=txt]").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.namelist() == ["sentence.txt", "sentence 2.txt"]
            assert archive.read("sentence.txt").decode().startswith("Rättat.\n")
        visitor.page.locator("#files").get_by_role("button", name=re.compile("remove", re.I)).first.click()
        visitor.page.wait_for_function("document.querySelectorAll('#result .paper').length === 1")
        assert visitor.page.locator("#result h2").inner_text() == "sentence.flac"
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_a_stopped_transcription_keeps_the_text_so_far(url, visit, speech, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.concatenate(speech * 4)[: 115 * 16_000], 16_000)
    with visit(url) as visitor:
        visitor.page.locator("#files input[type=file]").set_input_files(tmp_path / "long.flac")
        visitor.page.locator("#result li").first.wait_for()
        visitor.page.locator("#halt").click()
        visitor.page.get_by_text("Stopped. The text so far is kept.").wait_for()
        line_count = len(visitor.lines())
        visitor.page.wait_for_timeout(1_500)
        assert len(visitor.lines()) == line_count > 0
        assert not visitor.page.locator("#halt").is_visible()
        assert visitor.errors == []


@pytest.mark.parametrize(
    ("export", "status"),
    [
        ({"form": "txt", "texts": []}, 400),
        ({"form": "exe", "texts": [{"title": "a", "segments": []}]}, 400),
        ({"form": "txt", "texts": [{"title": "a", "segments": [{"start": -1, "end": 2, "text": "a"}]}]}, 400),
        ({"form": "txt", "texts": [{"title": "a", "segments": [{"start": 0, "end": 2, "text": "a" * 20_000}]}]}, 400),
        (
            {
                "form": "docx",
                "texts": [{"title": "../\x00/", "segments": [{"start": 0, "end": 2, "text": "\x00\x1b"}]}],
            },
            200,
        ),
        ({"form": "srt", "texts": [{"title": "", "segments": []}] * 3}, 200),
    ],
)
def test_invalid_exports_are_refused(url, export, status):
    response = httpx.post(f"{url}/export", json=export)
    assert response.status_code == status
    if export["form"] == "srt":
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            assert archive.namelist() == ["text.srt", "text 2.srt", "text 3.srt"]


def test_a_too_large_export_is_refused(url):
    assert httpx.post(f"{url}/export", content=b" " * 21_000_000).status_code == 413


def test_each_of_several_files_gets_its_text_or_its_error(url, visit, clip, transcript, silent_clip, tmp_path):
    hostile_file = tmp_path / "<img src=x onerror=alert(1)>.wav"
    hostile_file.write_bytes(b"This is no sound. " * 99)
    with visit(url, locale="sv-SE", width=390, dark=True) as visitor:
        assert "Tal till text på svenska" in visitor.read("#page-header")
        visitor.upload(clip, silent_clip, hostile_file)
        assert " ".join(visitor.lines()) == transcript.text
        assert visitor.page.locator("#result .wrong p").all_inner_texts() == [
            "Inspelningen är tyst.",
            "Filen innehåller inget läsbart ljud.",
        ]
        assert visitor.page.locator("#result img").count() == 0
        assert "2 av 3 filer gav ingen text" in visitor.read("#status")
        for tab in ("live", "teach", "about"):
            visitor.tab(tab)
            assert visitor.overflow == 0
        assert "8,3\u00a0%" in visitor.read("#model")
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_a_file_of_any_name_is_read_and_a_truncated_one_is_reported(url, visit, speech, tmp_path):
    names = ("voice.caf", "camera.mts", "studio.w64", "no suffix")
    for name, file_format in zip(names, ("CAF", "WAV", "W64", "FLAC"), strict=True):
        soundfile.write(tmp_path / name, speech[0], 16_000, format=file_format)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "no suffix").read_bytes()[:-8_000])
    (tmp_path / "notes.docx").write_bytes(b"PK\x03\x04 no sound")
    with visit(url) as visitor:
        visitor.upload(*(tmp_path / name for name in (*names, "cut.flac", "notes.docx")))
        assert "1 of 6 files gave no text" in visitor.read("#status")
        assert visitor.page.locator("#result .paper:has(li) h2").all_inner_texts() == [*names, "cut.flac"]
        assert visitor.page.locator("#result .note").inner_text() == "A part of this recording is damaged or missing."
        assert visitor.page.locator("#result .wrong h2").inner_text() == "notes.docx"
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_a_recorded_clip_is_contributed_only_with_consent(url, visit, clip, contributions_folder):
    from asr.corpus import folder

    with visit(url, microphone=clip, width=390) as visitor:
        visitor.record("#sound", soundfile.info(clip).duration)
        visitor.stop("#sound")
        visitor.page.locator("#result .foot").wait_for()
        assert visitor.lines()
        visitor.tab("teach")
        visitor.page.wait_for_function("document.querySelector('#correction textarea').value")
        visitor.page.locator("#correction textarea").fill('Hon sade "hej",\när det rätt?')
        visitor.page.locator("#give").click()
        visitor.page.locator("#answer .wrong").wait_for()
        assert "tick the box" in visitor.read("#answer")
        assert not list(contributions_folder.rglob("*"))  # without consent there is no file
        visitor.page.locator("#consent input").check()
        visitor.page.locator("#give").click()
        visitor.page.locator("#answer .good").wait_for()
        assert not visitor.page.locator("#consent input").is_checked()  # the next clip needs its own consent
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)
        name = re.search(r"\w+\.wav", visitor.read("#answer"))
    (row,) = folder.list_rows(contributions_folder, max_seconds=30.0)
    assert (row.problem, row.split, row.text) == (None, "train", 'Hon sade "hej", är det rätt?')
    assert name and name[0] in row.clip
    assert soundfile.info(str(row.audio)).samplerate == 16_000
    with visit(url, locale="sv-SE") as visitor:  # in another browser, as the code is enough
        visitor.tab("teach")
        visitor.page.get_by_text("Ta tillbaka ett klipp").click()
        for code, message in (
            ("0123456789ab.wav", "Det finns inget klipp"),
            (name[0], "Klippet och texten är raderade"),
        ):
            visitor.page.locator("#code textarea, #code input").fill(code)
            visitor.page.get_by_role("button", name="Radera klippet").click()
            visitor.page.locator("#taken").get_by_text(message).wait_for()
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)
    assert folder.list_rows(contributions_folder, max_seconds=30.0) == []
    assert not list(contributions_folder.rglob("*.wav"))


def test_live_shows_words_during_speech_and_all_are_final_at_the_end(url, visit, clip):
    with visit(url, microphone=clip, dark=True) as visitor:
        visitor.tab("live")
        visitor.speak()
        visitor.page.wait_for_function("document.querySelector('#words .words').innerText.trim()")
        sample_count = visitor.stop_speaking()
        assert sample_count > 0 and not visitor.read("#words .words i").strip()
        text = visitor.read("#words .words")
        assert text
        visitor.page.locator("#words [data-do=resume]").click()  # the text stays, and more is added
        visitor.page.wait_for_function(f"document.querySelector('#words .words').innerText.length > {len(text) + 5}")
        assert visitor.stop_speaking() > sample_count
        assert visitor.read("#words .words").startswith(text)
        visitor.page.locator("#words [data-do=anew]").click()
        assert not visitor.read("#words .words").strip()
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)


def test_live_loses_no_audio_during_a_lost_connection(url, visit, clip):
    with visit(url, microphone=clip) as visitor:
        visitor.allow_cuts()
        visitor.tab("live")
        visitor.speak()
        visitor.page.wait_for_function("document.querySelector('#words .words').innerText.trim()")
        visitor.cut()
        visitor.page.locator("#words [data-state=reconnecting]").wait_for()
        visitor.page.wait_for_timeout(3_000)
        visitor.restore()
        visitor.page.locator("#words [data-state=listening]").wait_for()
        visitor.page.wait_for_timeout(500)
        assert visitor.stop_speaking() > 3 * 44_100  # samples recorded meanwhile are not lost


def test_live_reports_a_missing_microphone(url, visit):
    with visit(url) as visitor:
        visitor.tab("live")
        visitor.speak()
        visitor.page.locator("#words :is([data-state=missing], [data-state=denied])").wait_for()
        assert re.search(
            "No microphone was found|does not let this page use the microphone", visitor.read("#words .state")
        )
        assert visitor.page.locator("#words [data-do=start]").is_visible()


def test_tabs_work_by_keyboard_and_every_control_has_a_name(url, visit):
    with visit(url) as visitor:
        visitor.page.get_by_role("tab").first.focus()
        visitor.page.keyboard.press("Tab")
        visitor.page.keyboard.press("Enter")
        assert visitor.page.get_by_role("tab", selected=True).inner_text() == "Live"
        nameless = visitor.page.evaluate("""[...document.querySelectorAll('button, a, input, select, textarea')]
          .filter((control) => control.checkVisibility({ visibilityProperty: true }))
          .filter((control) => !(control.innerText || control.ariaLabel || control.title || control.labels?.length))
          .map((control) => control.outerHTML)""")
        assert nameless == []


def test_the_api_gives_text_language_seconds_segments_and_words(client, clip, transcript):
    result = call(client, clip)
    assert (result["text"], result["language"], result["seconds"]) == (transcript.text, "sv", transcript.seconds)
    assert [part["text"] for part in result["segments"]] == [part.text for part in transcript.segments]
    assert len(result["words"]) == sum(len(part.words) for part in transcript.segments)
    assert all({"start", "end", "text", "confidence"} == set(part) for part in result["segments"] + result["words"])
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/transcribe"]


@pytest.mark.parametrize("name", ["a.caf", "a.mts", "a.w64", "no suffix"])
def test_the_api_reads_a_file_of_any_name_and_reports_its_fault(client, speech, tmp_path, name):
    soundfile.write(tmp_path / name, speech[0], 16_000, format="FLAC")
    result = call(client, tmp_path / name)
    assert (result["seconds"], result["fault"]) == (round(len(speech[0]) / 16_000, 2), None)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-8_000])
    assert call(client, tmp_path / name)["fault"] == "incomplete"


def test_the_commands_on_the_page_work(url, clip, transcript, tmp_path):
    import about_tab

    if not shutil.which("curl"):
        pytest.skip("needs curl")
    commands = {name: command.replace("ORIGIN", url) for name, command in about_tab.API_EXAMPLES.items()}
    shutil.copy(clip, tmp_path / "speech.wav")

    def run(*arguments):
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout

    assert run("sh", "-c", commands["curl"]).startswith("1\n00:00:00,000 --> ")
    assert run(sys.executable, "-c", commands["Python"]).strip() == transcript.text
    if shutil.which("node"):
        (tmp_path / "ask.mjs").write_text(commands["JavaScript"], encoding="utf-8")
        assert run("node", "ask.mjs").strip() == transcript.text


def test_the_api_reports_what_is_wrong_with_a_file(client, silent_clip, tmp_path):
    from gradio_client.exceptions import AppError

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    bomb = tmp_path / "bomb.flac"  # 100 minutes of silence in a few kilobytes
    soundfile.write(bomb, np.zeros(6000 * 8000, np.int16), 8000)
    sound_files = (tmp_path / "good.flac", tmp_path / "cut.flac")
    soundfile.write(sound_files[0], np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    for file, message in (
        (write("text.wav", b"This is no sound. " * 99), "No readable audio in this file"),
        (write("empty.mp3", b""), "empty"),
        (write("playlist.mp3", playlist), "No readable audio"),
        (write("cut.flac", sound_files[0].read_bytes()[:60]), "(No readable audio|is empty)"),
        (silent_clip, "The recording is silent"),
        (bomb, "longer than the 2 minutes"),
    ):
        with pytest.raises(AppError, match=message):
            call(client, file)
    with pytest.raises(AppError, match="There is no recording yet"):
        client.predict(None, api_name="/transcribe")


def test_a_too_large_upload_is_refused(client, tmp_path):
    import httpx

    (tmp_path / "big.wav").write_bytes(bytes(MAX_MEGABYTES * 1_000_000 + 1))
    with pytest.raises((httpx.HTTPStatusError, ValueError), match=r"413|exceeds|maximum"):
        call(client, tmp_path / "big.wav")


def test_health_responds_during_a_long_transcription(url, client, speech, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.tile(np.concatenate(speech), 3)[: 110 * 16_000], 16_000)
    transcription = threading.Thread(target=call, args=(client, tmp_path / "long.flac"))
    transcription.start()
    while transcription.is_alive():
        with urllib.request.urlopen(f"{url}/health", timeout=1) as response:
            health = json.load(response)
    transcription.join()
    assert set(health) == {"model", "run", "revision", "uptime"}
    assert (health["model"], health["run"]) == ("tiny", "1763")
    assert health["uptime"] > 0


def test_the_log_contains_no_text_and_no_path_of_a_recording(url, client, clip, transcript, log):
    call(client, clip)
    log_text = log.read_text()
    assert "is listening on" in log_text
    assert transcript.text not in log_text and "sentence.wav" not in log_text


def test_without_a_model_the_app_exits_with_one_line_on_how_to_make_one(tmp_path, monkeypatch):
    shutil.copytree(APP.parent, tmp_path / "space")  # not where this checkout's releases are
    monkeypatch.delenv("MODEL_ID", raising=False)
    process = subprocess.run([sys.executable, "space/app.py"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    (line,) = process.stderr.strip().splitlines()
    assert "make one with `python flows/whisper_flow.py run`" in line
