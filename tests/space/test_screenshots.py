"""The documentation's screenshots, taken with a trained release:

PICTURES=flows/docs/images MODEL=released/latest python -m pytest tests/space/test_screenshots.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import serve
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "flows" / "sample" / "test"
PICTURES, MODEL = os.environ.get("PICTURES"), os.environ.get("MODEL")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Seven sentences with pauses of a second, as a WAV for Chromium's fake microphone."""
    import soxr

    parts, file = [], tmp_path_factory.mktemp("sounds") / "samtal.wav"
    for clip in sorted(SAMPLE.glob("*.ogg"))[:200:30]:
        samples, rate = soundfile.read(clip, dtype="float32")
        parts += [soxr.resample(samples, rate, 48_000), np.zeros(48_000, np.float32)]
    soundfile.write(file, np.concatenate(parts), 48_000)
    return file


def show_transcript(visitor, recording):
    visitor.upload(recording)
    assert len(visitor.lines()) >= 5


def show_correction(visitor, recording):
    visitor.upload(recording)
    visitor.page.locator("#result [data-edit]").click()
    visitor.page.locator("#result [data-search]").fill("klockan")


def show_live(visitor, recording):
    visitor.tab("live")
    visitor.speak()
    visitor.page.wait_for_function("document.querySelectorAll('#words .words span')[0].innerText.length > 60")


def show_contribution(visitor, recording):
    visitor.tab("teach")
    visitor.page.locator("#clip input[type=file], #clip .record-button").first.wait_for(state="attached")


def show_about(visitor, recording):
    visitor.tab("about")
    visitor.page.locator("#model .rate").wait_for()


@pytest.mark.skipif(not (PICTURES and MODEL), reason="needs PICTURES and MODEL")
@pytest.mark.parametrize(
    ("name", "show", "width", "dark", "locale"),
    [
        ("transcribe", show_transcript, 1100, False, "en-GB"),
        ("transcribe-phone", show_transcript, 390, True, "sv-SE"),
        ("correct", show_correction, 1100, True, "en-GB"),
        ("live", show_live, 1100, False, "sv-SE"),
        ("teach-phone", show_contribution, 390, False, "sv-SE"),
        ("about", show_about, 1100, False, "en-GB"),
    ],
)
def test_a_screenshot_is_taken(visit, name, show, width, dark, locale, recording, tmp_path):
    folders = {"TEACH_FOLDER": str(tmp_path / "taught"), "GRADIO_TEMP_DIR": str(tmp_path)}
    with (
        serve(Path(str(MODEL)).resolve(), **folders) as url,
        visit(url, microphone=recording, width=width, dark=dark, locale=locale) as visitor,
    ):
        show(visitor, recording)
        visitor.screenshot(tmp_path / "page.png")
        Image.open(tmp_path / "page.png").convert("RGB").save(Path(str(PICTURES), f"{name}.webp"), quality=90)
        assert not visitor.errors
