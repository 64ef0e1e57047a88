"""The README's pictures, taken of the page with a trained release:

PICTURES=.github MODEL=released/latest python -m pytest tests/space/test_pictures.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from visit import CHROMIUM, serve, visit

SAMPLE = Path(__file__).parents[2] / "flows" / "sample" / "test"
PICTURES, MODEL = os.environ.get("PICTURES"), os.environ.get("MODEL")


@pytest.mark.skipif(not (PICTURES and MODEL and CHROMIUM.exists()), reason="PICTURES, MODEL or Chromium is not there")
def test_pictures_are_taken_of_text_and_of_the_model(tmp_path):
    parts = []
    for clip in sorted(SAMPLE.glob("*.ogg"))[:200:30]:
        parts += [soundfile.read(clip, dtype="float32")[0], np.zeros(16_000, np.float32)]
    soundfile.write(tmp_path / "samtal.wav", np.concatenate(parts), 16_000)
    with serve(Path(str(MODEL)).resolve()) as url:
        for name, width, dark in (("transcribe", 1100, False), ("transcribe-phone", 390, True)):
            with visit(url, width=width, dark=dark) as seen:
                seen.upload(tmp_path / "samtal.wav")
                seen.shoot(Path(str(PICTURES), f"{name}.png"))
                assert len(seen.lines()) >= 5
                assert not seen.errors
