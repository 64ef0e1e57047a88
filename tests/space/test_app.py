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
from browser import APP, CHROMIUM, MEGABYTES, visit
from text import clean_text
from transcriber import Transcriber

in_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")


@pytest.fixture(scope="module")
def heard(tiny_release, clip):
    """The engine's own transcript of the clip."""
    return Transcriber(tiny_release).transcribe_file(clip)


@pytest.fixture(scope="module")
def client(url):
    from gradio_client import Client

    return Client(url, verbose=False)


def call(client, file):
    from gradio_client import handle_file

    return client.predict(handle_file(file), api_name="/transcribe")


@in_browser
def test_an_uploaded_sound_becomes_text_with_times_that_play_and_downloads(url, clip, heard, tmp_path):
    with visit(url, locale="en-GB") as seen:
        assert "Up to 2 minutes and 3 MB" in seen.read("#component-0, .main")  # shown before it bites
        seen.page.get_by_label("Names and terms to listen for").fill("Kiruna, Norra Kvarken")
        seen.upload(clip)
        assert " ".join(seen.lines()) == heard.text
        seen.page.locator("#result [data-at]").first.click()
        seen.page.wait_for_function("document.querySelector('#result audio').currentTime > 0.05")
        taken = {}
        for form in ("TXT", "SRT", "VTT", "JSON"):
            with seen.page.expect_download() as download:
                seen.page.get_by_role("button", name=form, exact=True).click()
            taken[download.value.suggested_filename] = download.value.path().read_text(encoding="utf-8")
        assert set(taken) == {f"sentence.{form}" for form in ("txt", "srt", "vtt", "json")}
        assert json.loads(taken["sentence.json"])["text"] == clean_text(heard.text)
        assert taken["sentence.vtt"].startswith("WEBVTT") and " --> " in taken["sentence.srt"]
        assert taken["sentence.txt"].split() == clean_text(heard.text).split()
        seen.tab("about")
        told = seen.read("#model")
        for part in ("tiny", "8.3\u00a0%", "about 8 wrong", "6.9 to 9.8", "1763", "2026-11-22"):
            assert part in told
        assert f'base_url="{url}/v1"' in seen.read("#program")
        seen.page.locator("#program [data-copy]").first.click()
        seen.page.locator("#program .done").wait_for()
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)


@in_browser
def test_a_word_plays_from_its_time_and_keys_control_the_player(url, clip):
    with visit(url) as seen:
        seen.upload(clip)
        words = seen.page.locator("#result li p [data-at]")
        last = words.last
        last.click()
        seen.page.locator("#result .said").wait_for()
        at = float(last.get_attribute("data-at"))
        time = "document.querySelector('#result audio').currentTime"
        assert seen.page.evaluate(time) >= at - 0.05
        seen.page.keyboard.press("Alt+KeyK")
        seen.page.wait_for_function("document.querySelector('#result audio').paused")
        seen.page.keyboard.press("Alt+KeyJ")
        assert seen.page.evaluate(time) <= max(0, at - 2)
        seen.page.keyboard.press("Alt+Period")
        assert seen.page.evaluate("document.querySelector('#result audio').playbackRate") == pytest.approx(1.1)
        assert (seen.errors, seen.overflow) == ([], 0)


@in_browser
def test_a_corrected_text_is_in_every_download(url, clip, tmp_path):
    import docx

    def download(name):
        with seen.page.expect_download() as taken:
            seen.page.locator("#result .paper").get_by_role("button", name=name, exact=True).click()
        return taken.value

    with visit(url) as seen:
        seen.upload(clip)
        seen.page.get_by_role("button", name="Correct the text").click()
        line = seen.page.locator("#result li p").first
        line.fill("Hej <b>på</b> dig & mig!")
        seen.page.get_by_role("button", name="Correct the text").click()
        lines = seen.lines()
        assert lines[0] == "Hej <b>på</b> dig & mig!"
        assert download("TXT").path().read_text(encoding="utf-8").splitlines() == lines
        assert "Hej <b>på</b> dig & mig!" in " ".join(download("SRT").path().read_text(encoding="utf-8").split())
        told = json.loads(download("JSON").path().read_text(encoding="utf-8"))
        assert [one["text"] for one in told["segments"]] == lines
        assert told["segments"][0]["words"] == [] and told["segments"][0]["end"] > 0
        taken = download("DOCX")
        assert taken.suggested_filename == "sentence.docx"
        told = [one.text for one in docx.Document(taken.path()).paragraphs]
        assert told[0] == "sentence.wav" and " ".join(told[1:]) == " ".join(lines)
        seen.page.get_by_role("button", name="Give the correction to training").click()
        seen.page.wait_for_function(
            "text => document.querySelector('#said textarea')?.value === text", arg=" ".join(lines)
        )
        assert seen.page.get_by_role("tab", selected=True).inner_text() == "Teach it"
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)


@in_browser
def test_a_correction_survives_another_upload_and_all_texts_download_as_one_archive(url, clip, speech, tmp_path):
    soundfile.write(tmp_path / "sentence.flac", speech[1], 16_000)
    with visit(url) as seen:
        seen.upload(clip)
        seen.page.get_by_role("button", name="Correct the text").click()
        seen.page.locator("#result li p").first.fill("Rättat.")
        seen.upload(tmp_path / "sentence.flac")  # beside the first
        seen.page.locator("#result .all").wait_for()
        assert seen.lines()[0] == "Rättat."
        assert seen.read("#status").startswith("Done: 0:0")
        with seen.page.expect_download() as taken:
            seen.page.locator("#result .all [data-form=txt]").click()
        with zipfile.ZipFile(taken.value.path()) as archive:
            assert archive.namelist() == ["sentence.txt", "sentence 2.txt"]
            assert archive.read("sentence.txt").decode().startswith("Rättat.\n")
        seen.page.locator("#files").get_by_role("button", name=re.compile("remove", re.I)).first.click()
        seen.page.wait_for_function("document.querySelectorAll('#result .paper').length === 1")
        assert seen.page.locator("#result h2").inner_text() == "sentence.flac"
        assert (seen.errors, seen.foreign) == ([], [])


@in_browser
def test_a_stopped_transcription_keeps_the_text_so_far(url, speech, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.concatenate(speech * 4)[: 115 * 16_000], 16_000)
    with visit(url) as seen:
        seen.page.locator("#files input[type=file]").set_input_files(tmp_path / "long.flac")
        seen.page.locator("#result li").first.wait_for()
        seen.page.locator("#halt").click()
        seen.page.get_by_text("Stopped. What was heard so far stays.").wait_for()
        heard = len(seen.lines())
        seen.page.wait_for_timeout(1_500)
        assert len(seen.lines()) == heard > 0
        assert not seen.page.locator("#halt").is_visible()
        assert seen.errors == []


@pytest.mark.parametrize(
    ("asked", "status"),
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
def test_invalid_exports_are_refused(url, asked, status):
    answer = httpx.post(f"{url}/export", json=asked)
    assert answer.status_code == status
    if asked["form"] == "srt":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == ["text.srt", "text 2.srt", "text 3.srt"]


def test_a_too_large_export_is_refused(url):
    assert httpx.post(f"{url}/export", content=b" " * 21_000_000).status_code == 413


@in_browser
def test_each_of_several_files_gets_its_text_or_its_error(url, clip, heard, silent_clip, tmp_path):
    hostile = tmp_path / "<img src=x onerror=alert(1)>.wav"
    hostile.write_bytes(b"This is no sound. " * 99)
    with visit(url, locale="sv-SE", width=390, dark=True) as seen:
        assert "Tal till text på svenska" in seen.read("#page-header")
        seen.upload(clip, silent_clip, hostile)
        assert " ".join(seen.lines()) == heard.text
        assert seen.page.locator("#result .wrong p").all_inner_texts() == [
            "Inspelningen är tyst.",
            "Filen innehåller inget läsbart ljud.",
        ]
        assert seen.page.locator("#result img").count() == 0
        assert "2 av 3 filer gav ingen text" in seen.read("#status")
        for tab in ("live", "teach", "about"):
            seen.tab(tab)
            assert seen.overflow == 0
        assert "8,3\u00a0%" in seen.read("#model")
        assert (seen.errors, seen.foreign) == ([], [])


@in_browser
def test_a_file_of_any_name_is_read_and_a_truncated_one_is_reported(url, speech, tmp_path):
    names = ("voice.caf", "camera.mts", "studio.w64", "no suffix")
    for name, form in zip(names, ("CAF", "WAV", "W64", "FLAC"), strict=True):
        soundfile.write(tmp_path / name, speech[0], 16_000, format=form)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "no suffix").read_bytes()[:-8_000])
    (tmp_path / "notes.docx").write_bytes(b"PK\x03\x04 no sound")
    with visit(url) as seen:
        seen.upload(*(tmp_path / name for name in (*names, "cut.flac", "notes.docx")))
        assert "1 of 6 files gave no text" in seen.read("#status")
        assert seen.page.locator("#result .paper:has(li) h2").all_inner_texts() == [*names, "cut.flac"]
        assert seen.page.locator("#result .note").inner_text() == "A part of this recording is damaged or missing."
        assert seen.page.locator("#result .wrong h2").inner_text() == "notes.docx"
        assert (seen.errors, seen.foreign) == ([], [])


@in_browser
def test_a_recorded_clip_is_contributed_only_with_consent(url, clip, taught):
    from asr.corpus import folder

    with visit(url, speak=clip, width=390) as seen:
        seen.record("#sound", soundfile.info(clip).duration)
        seen.stop("#sound")
        seen.page.locator("#result .foot").wait_for()
        assert seen.lines()
        seen.tab("teach")
        seen.page.wait_for_function("document.querySelector('#said textarea').value")
        seen.page.locator("#said textarea").fill('Hon sade "hej",\när det rätt?')
        seen.page.locator("#give").click()
        seen.page.locator("#answer .wrong").wait_for()
        assert "tick the box" in seen.read("#answer")
        assert not list(taught.rglob("*"))  # no consent, no file
        seen.page.locator("#consent input").check()
        seen.page.locator("#give").click()
        seen.page.locator("#answer .good").wait_for()
        assert not seen.page.locator("#consent input").is_checked()  # the next clip needs its own
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)
        name = re.search(r"\w+\.wav", seen.read("#answer"))
    (row,) = folder.list_rows(taught, max_seconds=30.0)
    assert (row.problem, row.split, row.text) == (None, "train", 'Hon sade "hej", är det rätt?')
    assert name and name[0] in row.clip
    assert soundfile.info(str(row.audio)).samplerate == 16_000
    with visit(url, locale="sv-SE") as seen:  # somebody else's browser: the code is enough
        seen.tab("teach")
        seen.page.get_by_text("Ta tillbaka ett klipp").click()
        for code, answer in (
            ("0123456789ab.wav", "Det finns inget klipp"),
            (name[0], "Klippet och texten är raderade"),
        ):
            seen.page.locator("#code textarea, #code input").fill(code)
            seen.page.get_by_role("button", name="Radera klippet").click()
            seen.page.locator("#taken").get_by_text(answer).wait_for()
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)
    assert folder.list_rows(taught, max_seconds=30.0) == [] and not list(taught.rglob("*.wav"))


@in_browser
def test_live_shows_words_during_speech_and_all_are_final_at_the_end(url, clip):
    with visit(url, speak=clip, dark=True) as seen:
        seen.tab("live")
        seen.speak()
        seen.page.wait_for_function("document.querySelector('#words .words').innerText.trim()")
        taken = seen.stop_speaking()
        assert taken > 0 and not seen.read("#words .words i").strip()
        before = seen.read("#words .words")
        assert before
        seen.page.locator("#words [data-do=resume]").click()  # what was said stays, and more comes after it
        seen.page.wait_for_function(f"document.querySelector('#words .words').innerText.length > {len(before) + 5}")
        assert seen.stop_speaking() > taken
        assert seen.read("#words .words").startswith(before)
        seen.page.locator("#words [data-do=anew]").click()
        assert not seen.read("#words .words").strip()
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)


@in_browser
def test_live_loses_no_audio_during_a_lost_connection(url, clip):
    with visit(url, speak=clip) as seen:
        seen.allow_cuts()
        seen.tab("live")
        seen.speak()
        seen.page.wait_for_function("document.querySelector('#words .words').innerText.trim()")
        seen.cut()
        seen.page.locator("#words [data-state=reconnecting]").wait_for()
        seen.page.wait_for_timeout(3_000)
        seen.restore()
        seen.page.locator("#words [data-state=listening]").wait_for()
        seen.page.wait_for_timeout(500)
        assert seen.stop_speaking() > 3 * 44_100  # no sample is missing of what was said meanwhile


@in_browser
def test_live_reports_a_missing_microphone(url):
    with visit(url) as seen:
        seen.tab("live")
        seen.speak()
        seen.page.locator("#words :is([data-state=missing], [data-state=denied])").wait_for()
        assert re.search(
            "No microphone was found|does not let this page use the microphone", seen.read("#words .state")
        )
        assert seen.page.locator("#words [data-do=start]").is_visible()


@in_browser
def test_tabs_work_by_keyboard_and_every_control_has_a_name(url):
    with visit(url) as seen:
        seen.page.get_by_role("tab").first.focus()
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        assert seen.page.get_by_role("tab", selected=True).inner_text() == "Live"
        nameless = seen.page.evaluate("""[...document.querySelectorAll('button, a, input, select, textarea')]
          .filter((one) => one.checkVisibility({ visibilityProperty: true }))
          .filter((one) => !(one.innerText || one.ariaLabel || one.title || one.labels?.length))
          .map((one) => one.outerHTML)""")
        assert nameless == []


def test_the_api_gives_text_language_seconds_segments_and_words(client, clip, heard):
    answer = call(client, clip)
    assert (answer["text"], answer["language"], answer["seconds"]) == (heard.text, "sv", heard.seconds)
    assert [part["text"] for part in answer["segments"]] == [part.text for part in heard.segments]
    assert len(answer["words"]) == sum(len(part.words) for part in heard.segments)
    assert all({"start", "end", "text", "confidence"} == set(part) for part in answer["segments"] + answer["words"])
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/transcribe"]


@pytest.mark.parametrize("name", ["a.caf", "a.mts", "a.w64", "no suffix"])
def test_the_api_reads_a_file_of_any_name_and_reports_its_fault(client, speech, tmp_path, name):
    soundfile.write(tmp_path / name, speech[0], 16_000, format="FLAC")
    answer = call(client, tmp_path / name)
    assert (answer["seconds"], answer["fault"]) == (round(len(speech[0]) / 16_000, 2), None)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-8_000])
    assert call(client, tmp_path / name)["fault"] == "incomplete"


def test_the_commands_on_the_page_work(url, clip, heard, tmp_path):
    import about_tab

    if not shutil.which("curl"):
        pytest.skip("needs curl")
    programs = {name: sample.replace("ORIGIN", url) for name, sample in about_tab.API_EXAMPLES.items()}
    shutil.copy(clip, tmp_path / "speech.wav")

    def run(*command):
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout

    assert run("sh", "-c", programs["curl"]).startswith("1\n00:00:00,000 --> ")
    assert run(sys.executable, "-c", programs["Python"]).strip() == heard.text
    if shutil.which("node"):
        (tmp_path / "ask.mjs").write_text(programs["JavaScript"], encoding="utf-8")
        assert run("node", "ask.mjs").strip() == heard.text


def test_the_api_says_what_is_wrong_with_a_file(client, silent_clip, tmp_path):
    from gradio_client.exceptions import AppError

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    bomb = tmp_path / "bomb.flac"  # 100 minutes of silence in a few kilobytes
    soundfile.write(bomb, np.zeros(6000 * 8000, np.int16), 8000)
    good = (tmp_path / "good.flac", tmp_path / "cut.flac")
    soundfile.write(good[0], np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    for file, said in (
        (write("text.wav", b"This is no sound. " * 99), "No readable audio in this file"),
        (write("empty.mp3", b""), "empty"),
        (write("playlist.mp3", playlist), "No readable audio"),
        (write("cut.flac", good[0].read_bytes()[:60]), "(No readable audio|is empty)"),
        (silent_clip, "The recording is silent"),
        (bomb, "longer than the 2 minutes"),
    ):
        with pytest.raises(AppError, match=said):
            call(client, file)
    with pytest.raises(AppError, match="There is no recording yet"):
        client.predict(None, api_name="/transcribe")


def test_a_too_large_upload_is_refused(client, tmp_path):
    import httpx

    (tmp_path / "big.wav").write_bytes(bytes(MEGABYTES * 1_000_000 + 1))
    with pytest.raises((httpx.HTTPStatusError, ValueError), match=r"413|exceeds|maximum"):
        call(client, tmp_path / "big.wav")


def test_health_answers_during_a_long_transcription(url, client, speech, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.tile(np.concatenate(speech), 3)[: 110 * 16_000], 16_000)
    busy = threading.Thread(target=call, args=(client, tmp_path / "long.flac"))
    busy.start()
    while busy.is_alive():
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            health = json.load(answer)
    busy.join()
    assert set(health) == {"model", "run", "revision", "uptime"}
    assert (health["model"], health["run"]) == ("tiny", "1763")
    assert health["uptime"] > 0


def test_the_log_holds_no_text_and_no_path_of_a_recording(url, client, clip, heard, log):
    call(client, clip)
    printed = log.read_text()
    assert "is listening on" in printed
    assert heard.text not in printed and "sentence.wav" not in printed


def test_without_a_model_the_app_exits_with_one_line_on_how_to_make_one(tmp_path, monkeypatch):
    shutil.copytree(APP.parent, tmp_path / "space")  # away from what may have been released here
    monkeypatch.delenv("MODEL_ID", raising=False)
    run = subprocess.run([sys.executable, "space/app.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert "make one with `python flows/whisper_flow.py run`" in line
