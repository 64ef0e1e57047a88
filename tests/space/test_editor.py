"""Transcripts in the browser: search, correct, save, subtitles, examples."""

import av
import numpy as np
import pytest
import soundfile
from browser import CHROMIUM, visit

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")
RATE = 16_000


@pytest.fixture(scope="module")
def two_parts(speech, tmp_path_factory):
    """Two sentences with a long pause between them."""
    file = tmp_path_factory.mktemp("sounds") / "talk.flac"
    soundfile.write(file, np.concatenate([speech[0], np.zeros(3 * RATE, np.float32), speech[1]]), RATE)
    return file


@pytest.fixture(scope="module")
def film(speech, tmp_path_factory):
    file = tmp_path_factory.mktemp("films") / "film.webm"
    with av.open(str(file), "w") as container:
        picture = container.add_stream("libvpx", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("libopus", rate=48_000, layout="mono")
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 25 * number, np.uint8))
            container.mux(picture.encode(frame))
        samples = av.AudioFrame.from_ndarray((speech[0][None] * 32767).astype(np.int16), format="s16", layout="mono")
        samples.rate = RATE
        for frame in av.AudioResampler(format="s16", layout="mono", rate=48_000).resample(samples):
            container.mux(sound.encode(frame))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    return file


def test_a_text_is_searched_and_read_in_paragraphs_without_times(url, two_parts):
    with visit(url) as seen:
        seen.upload(two_parts)
        text = " ".join(seen.lines())
        letter = max(set(text.lower()) - {" "}, key=text.lower().count)
        hits = text.lower().count(letter)
        field = seen.page.locator("#result [data-search]")
        field.fill(letter)
        assert seen.read("#result output") == f"1/{hits}"
        field.press("Enter")
        assert seen.read("#result output") == f"2/{hits}"
        field.press("Shift+Enter")
        field.press("Shift+Enter")
        assert seen.read("#result output") == f"{hits}/{hits}"
        assert seen.page.evaluate("CSS.highlights.get('found').size") == hits
        field.fill("no such words")
        assert seen.read("#result output") == "0/0"
        assert seen.page.locator("#result li[data-new]").count() >= 1
        seen.page.get_by_role("button", name="Hide times").click()
        assert not seen.page.locator("#result li > button").first.is_visible()
        seen.page.locator("#result [data-copy]").click()
        seen.page.locator("#result .done").wait_for()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert len(copied.split("\n\n")) == 1 + seen.page.locator("#result li[data-new]").count()
        assert (seen.errors, seen.overflow) == ([], 0)


def test_unsure_words_are_described_and_reached_by_a_button(url, clip):
    with visit(url) as seen:
        seen.upload(clip)
        unsure = seen.page.locator("#result :is(.u1, .u2, .u3)")
        words = unsure.all_inner_texts()
        assert words  # the model was never trained
        for word in [*words, words[0]][:4]:  # and round again
            seen.page.get_by_role("button", name="Next unsure word").click()
            assert seen.read("#result .sure").startswith(f"“{word}”: the model is ")
            assert seen.page.locator("#result .unsure").inner_text() == word
        assert seen.page.locator("#result li p").first.get_attribute("title") is None


def test_texts_with_corrections_survive_a_reload_until_they_are_deleted(url, clip, two_parts):
    with visit(url) as seen:
        seen.upload(clip)
        seen.page.get_by_role("button", name="Correct the text").click()
        seen.page.locator("#result li p").first.fill("Rättat <i>här</i>.")
        seen.page.wait_for_function("localStorage.transcripts?.includes('Rättat')")
        seen.tab("about")
        seen.page.reload()
        seen.page.get_by_role("tab", name="About", selected=True).wait_for()  # it stands in the address
        seen.page.go_back()
        seen.page.locator(".kept .paper").wait_for()
        assert seen.page.locator(".kept li p").first.inner_text() == "Rättat <i>här</i>."
        assert seen.page.locator(".kept i").count() == 0
        with seen.page.expect_download() as taken:
            seen.page.locator(".kept [data-form=txt]").click()
        assert taken.value.path().read_text(encoding="utf-8").startswith("Rättat <i>här</i>.\n")
        seen.upload(two_parts)
        assert seen.page.locator(".kept summary").all_inner_texts()[0].startswith("sentence.wav")
        seen.page.reload()
        seen.page.locator(".kept summary").nth(1).wait_for()
        seen.page.get_by_role("button", name="Forget this text").click()
        assert seen.page.locator(".kept summary").count() == 1
        seen.page.get_by_role("button", name="Forget all").click()
        assert not seen.page.locator(".kept").is_visible()
        assert seen.page.evaluate("localStorage.transcripts") == "[]"
        assert (seen.errors, seen.foreign) == ([], [])


def test_full_browser_storage_keeps_the_newest_texts(url, clip):
    with visit(url) as seen:
        seen.page.evaluate("""() => {
          const old = (id, size) => ({ id, at: 1, title: id, html: 'x'.repeat(size) });
          for (let size = 12e6; ; size -= 2000) {  // as much as it takes
            try { return localStorage.transcripts = JSON.stringify([old('newer', 1000), old('oldest', size)]); }
            catch {}
          }
        }""")
        seen.upload(clip)
        titles = seen.page.evaluate("JSON.parse(localStorage.transcripts).map((one) => one.title)")
        assert titles == ["sentence.wav", "newer"]
        assert seen.errors == []


def test_a_video_shows_subtitles_that_follow_corrections(url, film):
    cues = "[...document.querySelector('#result video').textTracks[0].cues].map((cue) => cue.text)"
    with visit(url) as seen:
        seen.upload(film)
        seen.page.wait_for_function("document.querySelector('#result video').videoWidth === 64")
        assert seen.page.evaluate(cues) == seen.lines()
        assert seen.page.evaluate("document.querySelector('#result video').textTracks[0].mode") == "showing"
        seen.page.get_by_role("button", name="Correct the text").click()
        seen.page.locator("#result li p").first.fill("Rättat.")
        assert seen.page.evaluate(cues)[0] == "Rättat."
        assert (seen.errors, seen.overflow) == ([], 0)


def test_an_example_clip_is_transcribed_and_cannot_be_contributed(url):
    with visit(url) as seen:
        seen.page.locator(".examples button").first.click()
        seen.page.locator("#result .foot").wait_for()
        assert seen.page.locator("#result h2").inner_text() == "Klockan är kvart över åtta."
        seen.page.wait_for_function("document.querySelector('#result .sound').duration > 1")
        assert seen.page.locator("#result [data-teach]").count() == 0
        assert (seen.errors, seen.foreign) == ([], [])


def test_files_are_added_to_earlier_ones(url, clip, two_parts):
    with visit(url) as seen:
        seen.upload(clip)
        with seen.page.expect_file_chooser() as asked:
            seen.page.get_by_role("button", name="Add files").click()
        asked.value.set_files(two_parts)
        seen.page.locator("#result .all").wait_for()
        assert seen.page.locator("#result h2").all_inner_texts() == ["sentence.wav", "talk.flac"]
        assert seen.errors == []
