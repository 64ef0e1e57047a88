"""A release with random weights, audio for it, and a running Space."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "space"), str(ROOT / "flows")]

from browser import CHROMIUM, MAX_MEGABYTES, Browsers, serve  # noqa: E402

RATE = 16_000
TEXTS = [
    "Klockan är kvart över åtta.",
    "I morgon blir det blåsigt och kallt i Göteborg.",
    "Jag köper sju äpplen och två böcker på lördag.",
]


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory):
    """A release folder as the flow writes it, with an untrained model, which writes random words."""
    import torch
    from asr.settings import Model, Settings
    from asr.training import models
    from ctranslate2.converters import TransformersConverter

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("release")
    model, processor = models.prepare(Settings(model=Model(decoder_layers=2)), TEXTS)
    # An untrained model writes timestamps as often as words, and the page would have nothing to show.
    words = processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    model.generation_config.suppress_tokens = list(range(words, len(processor.tokenizer)))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(folder / "ct2-int8"), quantization="int8")
    release = {
        "name": "tiny",
        "run_id": "1763",
        "language": "sv",
        "test_wer": 8.24,
        "test_wer_ci": [6.9, 9.8],
        "test_wer_ci_unit": "speaker",
        "baseline_wer": None,
        "served_wer": 8.3,
        "served_wer_ci": [6.9, 9.8],
        "clips": 216,
        "created": "2026-11-22T18:20:00",
        "program": "whisper_flow",
        "examples": [{"file": f"examples/{number}.flac", "text": text} for number, text in enumerate(TEXTS)],
    }
    (folder / "examples").mkdir()
    for number, clip in enumerate(sorted((ROOT / "flows" / "sample" / "train").glob("*.ogg"))[: len(TEXTS)]):
        soundfile.write(folder / "examples" / f"{number}.flac", soundfile.read(clip)[0], RATE)
    (folder / "release.json").write_text(json.dumps(release), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def speech():
    """A dozen sentences of the sample, (samples,) float32 at 16 kHz, about 2 to 4 s each."""
    clips = sorted((ROOT / "flows" / "sample" / "train").glob("*.ogg"))[:12]
    return [soundfile.read(clip, dtype="float32")[0] for clip in clips]


@pytest.fixture(scope="session")
def clip(speech, tmp_path_factory):
    """A sentence as a WAV at 48 kHz, which Chromium's fake microphone takes, too."""
    import soxr

    file = tmp_path_factory.mktemp("sounds") / "sentence.wav"
    soundfile.write(file, soxr.resample(speech[0], RATE, 48_000), 48_000, subtype="PCM_16")
    return file


@pytest.fixture(scope="session")
def silent_clip(tmp_path_factory):
    file = tmp_path_factory.mktemp("sounds") / "silence.wav"
    soundfile.write(file, np.zeros(RATE, np.float32), RATE)
    return file


@pytest.fixture(scope="module")
def temporary_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def contributions_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contributions")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "space.log"


@pytest.fixture(scope="module")
def url(tiny_release, temporary_folder, contributions_folder, log):
    """A running Space for a test module, with low limits and its own folders."""
    environment = {"MAX_MEGABYTES": str(MAX_MEGABYTES), "MAX_MINUTES": "2", "TEACH_FOLDER": str(contributions_folder)}
    with serve(tiny_release, log, GRADIO_TEMP_DIR=str(temporary_folder), **environment) as url:
        yield url


@pytest.fixture(scope="module")
def visit():
    """A function that opens the page in a browser which the tests of a module share, and gives its `Visitor`."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with Browsers() as browsers:
        yield browsers.visit
