"""Transcripts in the browser: search, correct, save, subtitles, examples."""

import av
import numpy as np
import pytest
import soundfile
from browser import CHROMIUM

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")

RATE = 16_000


@pytest.fixture(scope="module")
def two_sentences(speech, tmp_path_factory):
    """Two sentences with a long pause between them."""
    file = tmp_path_factory.mktemp("sounds") / "talk.flac"
    soundfile.write(file, np.concatenate([speech[0], np.zeros(3 * RATE, np.float32), speech[1]]), RATE)
    return file


@pytest.fixture(scope="module")
def video_file(speech, tmp_path_factory):
    file = tmp_path_factory.mktemp("films") / "film.webm"
    with av.open(str(file), "w") as container:
        video = container.add_stream("libvpx", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("libopus", rate=48_000, layout="mono")
        for brightness in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 25 * brightness, np.uint8))
            container.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray((speech[0][None] * 32767).astype(np.int16), format="s16", layout="mono")
        samples.rate = RATE
        for frame in av.AudioResampler(format="s16", layout="mono", rate=48_000).resample(samples):
            container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return file


def test_a_text_is_searched_and_read_in_paragraphs_without_times(url, visit, two_sentences):
    with visit(url) as visitor:
        visitor.upload(two_sentences)
        text = " ".join(visitor.lines())
        letter = max(set(text.lower()) - {" "}, key=text.lower().count)
        hit_count = text.lower().count(letter)
        search_box = visitor.page.locator("#result [data-search]")
        search_box.fill(letter)
        assert visitor.read("#result output") == f"1/{hit_count}"
        search_box.press("Enter")
        assert visitor.read("#result output") == f"2/{hit_count}"
        search_box.press("Shift+Enter")
        search_box.press("Shift+Enter")
        assert visitor.read("#result output") == f"{hit_count}/{hit_count}"
        assert visitor.page.evaluate("CSS.highlights.get('found').size") == hit_count
        search_box.fill("no such words")
        assert visitor.read("#result output") == "0/0"
        assert visitor.page.locator("#result li[data-new]").count() >= 1
        visitor.page.get_by_role("button", name="Hide times").click()
        assert not visitor.page.locator("#result li > button").first.is_visible()
        visitor.page.locator("#result [data-copy]").click()
        visitor.page.locator("#result .done").wait_for()
        copied = visitor.page.evaluate("navigator.clipboard.readText()")
        assert len(copied.split("\n\n")) == 1 + visitor.page.locator("#result li[data-new]").count()
        assert (visitor.errors, visitor.overflow) == ([], 0)


def test_unsure_words_are_described_and_reached_by_a_button(url, visit, clip):
    with visit(url) as visitor:
        visitor.upload(clip)
        unsure = visitor.page.locator("#result :is(.u1, .u2, .u3)")
        words = unsure.all_inner_texts()
        assert words  # the model was never trained
        for word in [*words, words[0]][:4]:  # after the last match the search returns to the first
            visitor.page.get_by_role("button", name="Next unsure word").click()
            assert visitor.read("#result .sure").startswith(f"“{word}”: the model is ")
            assert visitor.page.locator("#result .unsure").inner_text() == word
        assert visitor.page.locator("#result li p").first.get_attribute("title") is None


def test_texts_with_corrections_survive_a_reload_until_they_are_deleted(url, visit, clip, two_sentences):
    with visit(url) as visitor:
        visitor.upload(clip)
        visitor.page.get_by_role("button", name="Correct the text").click()
        visitor.page.locator("#result li p").first.fill("Rättat <i>här</i>.")
        visitor.page.wait_for_function("localStorage.transcripts?.includes('Rättat')")
        visitor.tab("about")
        visitor.page.reload()
        visitor.page.get_by_role("tab", name="About", selected=True).wait_for()  # the URL names the tab
        visitor.page.go_back()
        visitor.page.locator(".kept .paper").wait_for()
        assert visitor.page.locator(".kept li p").first.inner_text() == "Rättat <i>här</i>."
        assert visitor.page.locator(".kept i").count() == 0
        with visitor.page.expect_download() as download:
            visitor.page.locator(".kept [data-form=txt]").click()
        assert download.value.path().read_text(encoding="utf-8").startswith("Rättat <i>här</i>.\n")
        visitor.upload(two_sentences)
        assert visitor.page.locator(".kept summary").all_inner_texts()[0].startswith("sentence.wav")
        visitor.page.reload()
        visitor.page.locator(".kept summary").nth(1).wait_for()
        visitor.page.get_by_role("button", name="Forget this text").click()
        assert visitor.page.locator(".kept summary").count() == 1
        visitor.page.get_by_role("button", name="Forget all").click()
        assert not visitor.page.locator(".kept").is_visible()
        assert visitor.page.evaluate("localStorage.transcripts") == "[]"
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_full_browser_storage_keeps_the_newest_texts(url, visit, clip):
    with visit(url) as visitor:
        visitor.page.evaluate("""() => {
          const old = (id, size) => ({ id, at: 1, title: id, html: 'x'.repeat(size) });
          const fits = (size) => {
            try { localStorage.transcripts = JSON.stringify([old('newer', 1000), old('oldest', size)]); }
            catch { return false; }
            return true;
          };
          let [size, tooLarge] = [0, 12e6];  // to within 2,000 characters of a full storage
          while (tooLarge - size > 2000) {
            const middle = Math.round((size + tooLarge) / 2);
            if (fits(middle)) size = middle; else tooLarge = middle;
          }
          fits(size);
        }""")
        visitor.upload(clip)
        titles = visitor.page.evaluate("JSON.parse(localStorage.transcripts).map((entry) => entry.title)")
        assert titles == ["sentence.wav", "newer"]
        assert visitor.errors == []


def test_a_video_shows_subtitles_that_follow_corrections(url, visit, video_file):
    read_cues = "[...document.querySelector('#result video').textTracks[0].cues].map((cue) => cue.text)"
    with visit(url) as visitor:
        visitor.upload(video_file)
        visitor.page.wait_for_function("document.querySelector('#result video').videoWidth === 64")
        assert visitor.page.evaluate(read_cues) == visitor.lines()
        assert visitor.page.evaluate("document.querySelector('#result video').textTracks[0].mode") == "showing"
        visitor.page.get_by_role("button", name="Correct the text").click()
        visitor.page.locator("#result li p").first.fill("Rättat.")
        assert visitor.page.evaluate(read_cues)[0] == "Rättat."
        assert (visitor.errors, visitor.overflow) == ([], 0)


def test_an_example_clip_is_transcribed_and_cannot_be_contributed(url, visit):
    with visit(url) as visitor:
        visitor.page.locator(".examples button").first.click()
        visitor.page.locator("#result .foot").wait_for()
        assert visitor.page.locator("#result h2").inner_text() == "Klockan är kvart över åtta."
        visitor.page.wait_for_function("document.querySelector('#result .sound').duration > 1")
        assert visitor.page.locator("#result [data-teach]").count() == 0
        assert (visitor.errors, visitor.foreign) == ([], [])


def test_files_are_added_to_earlier_ones(url, visit, clip, two_sentences):
    with visit(url) as visitor:
        visitor.upload(clip)
        with visitor.page.expect_file_chooser() as file_chooser:
            visitor.page.get_by_role("button", name="Add files").click()
        file_chooser.value.set_files(two_sentences)
        visitor.page.locator("#result .all").wait_for()
        assert visitor.page.locator("#result h2").all_inner_texts() == ["sentence.wav", "talk.flac"]
        assert visitor.errors == []
