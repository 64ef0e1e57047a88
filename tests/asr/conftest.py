"""Small corpora, small settings and a small model, for the tests of every wing."""

import json

import numpy as np
import pytest
import soundfile
from asr import Refused
from asr.corpus import shards, sources
from asr.settings import Corpus, Settings

RATE = 16_000
TEXTS = ["Klockan är halv åtta.", "Åsa köper ägg på lördag.", "I Örebro är det sju grader i natt."]


@pytest.fixture(scope="session")
def tone():
    """A function to (samples,) or (samples, channels) float32 of a sine."""

    def make(seconds=1.0, hertz=440, rate=RATE, loud=0.3, channels=1):
        wave = loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
        return np.repeat(wave[:, None], channels, axis=1).squeeze().astype(np.float32)

    return make


@pytest.fixture
def refusal():
    """A function to the one line with which a call is refused."""

    def of(function, *arguments):
        with pytest.raises(Refused) as caught:
            function(*arguments)
        line = str(caught.value)
        assert line.strip()
        assert "\n" not in line
        return line

    return of


@pytest.fixture
def audiofolder(tmp_path, tone):
    """A function from {folder: rows of metadata} to the settings of a corpus with a second of sound a clip."""

    def make(parts, metadata="metadata.csv", encoding="utf-8", **more):
        import pandas as pd

        for part, rows in parts.items():
            folder = tmp_path / "corpus" / part
            folder.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame(rows)
            for name in table.get("file_name", ()):
                sound = folder / name
                if sound.resolve().is_relative_to(tmp_path / "corpus") and not sound.exists():
                    sound.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(sound, tone(), RATE, format="FLAC")
            if metadata.endswith("csv"):
                table.to_csv(folder / metadata, index=False, encoding=encoding)
            elif metadata.endswith("parquet"):
                table.to_parquet(folder / metadata)
            else:
                lines = [json.dumps(row, ensure_ascii=False) for row in rows]
                (folder / metadata).write_text("\n".join(lines), encoding=encoding)
        return Corpus(source="folder", path=tmp_path / "corpus", **more)

    return make


@pytest.fixture(scope="session")
def tiny():
    """Settings of a model that trains in seconds, on four dozen clips of the sample."""
    return Settings.model_validate(
        {
            "corpus": {"limit_clips": 16},
            "model": {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "vocabulary": 300},
            "training": {"steps": 24, "batch_size": 4, "evaluations": 3, "validation_clips": 4},
        }
    )


@pytest.fixture(scope="session")
def packed(tiny):
    """The Parquet of the tiny corpus, its clips and its rejects."""
    return shards.pack(sources.rows(tiny.corpus), tiny.corpus)


@pytest.fixture
def shard(packed, tmp_path, monkeypatch):
    """The Parquet of the tiny corpus as a file; what `datasets` keeps of it goes when the test does."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "shards" / "tiny.parquet"
    path.parent.mkdir()
    path.write_bytes(packed[0])
    return path


@pytest.fixture(scope="session")
def whisper(tiny):
    """A tiny Whisper that was never trained, and its processor."""
    import torch
    from asr.training import models

    torch.manual_seed(0)
    model, processor = models.prepare(tiny, TEXTS)
    return model.eval(), processor


@pytest.fixture(scope="session")
def base(whisper, tmp_path_factory):
    """The same, saved: a base to fine-tune."""
    from asr.training import models

    return models.save(tmp_path_factory.mktemp("base"), *whisper)


@pytest.fixture
def offline(monkeypatch):
    """What is not here is told at once, and never asked of the Hub."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def one_thread():
    """Two busy cores are slower with two threads than with one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
