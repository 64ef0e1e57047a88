"""Small corpora, small settings and a small model, for all tests of `asr`."""

import itertools
import json

import av
import numpy as np
import pytest
import soundfile
from asr import InputError
from asr.corpus import manifest, shards, sources
from asr.corpus.shards import SpeechDataset
from asr.settings import Settings
from asr.store import Store

RATE = 16_000
TEXTS = ["Klockan är halv åtta.", "Åsa köper ägg på lördag.", "I Örebro är det sju grader i natt."]


@pytest.fixture(scope="session")
def tone():
    """A function that returns a sine as (samples,) or (samples, channels) float32."""

    def make(seconds=1.0, hertz=440, rate=RATE, peak=0.3, channels=1):
        wave = peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
        return np.repeat(wave[:, None], channels, axis=1).squeeze().astype(np.float32)

    return make


@pytest.fixture(scope="session")
def encoded():
    """A function that writes (samples,) or (samples, channels) float32 with FFmpeg; the suffix sets the container."""

    def write(path, sound, rate, codec, layout="mono", film=False):
        with av.open(str(path), "w") as file:
            video = file.add_stream("mpeg4", rate=5) if film else None
            stream = file.add_stream(codec, rate=rate, layout=layout)
            context = stream.codec_context
            if video:
                video.width = video.height = 32
                video.pix_fmt = "yuv420p"
                black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
                for image in [black] * (5 * len(sound) // rate) + [None]:
                    file.mux(video.encode(image))
            context.is_open or context.open()
            resampler = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size)
            planes = np.broadcast_to(sound.T, (av.AudioLayout(layout).nb_channels, len(sound)))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format="fltp", layout=layout)
            frame.sample_rate = rate
            for audio in (*resampler.resample(frame), *resampler.resample(None), None):
                file.mux(stream.encode(audio))
        return path

    return write


@pytest.fixture
def refusal():
    """A function that makes a call, which must be refused in one line, and returns the line."""

    def refuse(function, *arguments):
        with pytest.raises(InputError) as error:
            function(*arguments)
        line = str(error.value)
        assert line.strip()
        assert "\n" not in line
        return line

    return refuse


@pytest.fixture
def audiofolder(tmp_path, tone):
    """A function from {folder: rows of metadata} to the settings of a corpus with one second of sound per clip.

    No two clips sound the same. Further keyword arguments go to [corpus].
    """
    pitch = itertools.count(200, 7)

    def make(parts, metadata="metadata.csv", encoding="utf-8", folder_name="corpus", **corpus_keys):
        import pandas as pd

        root = tmp_path / folder_name
        for part, rows in parts.items():
            folder = root / part
            folder.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame(rows)
            for name in table.get("file_name", ()):
                sound = folder / name
                if sound.resolve().is_relative_to(root) and not sound.exists():
                    sound.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(sound, tone(hertz=next(pitch)), RATE, format="FLAC")
            if metadata.endswith(("csv", "tsv")):
                table.to_csv(folder / metadata, index=False, encoding=encoding, sep=",\t"[metadata.endswith("tsv")])
            elif metadata.endswith("parquet"):
                table.to_parquet(folder / metadata)
            else:
                lines = [json.dumps(row, ensure_ascii=False) for row in rows]
                (folder / metadata).write_text("\n".join(lines), encoding=encoding)
        return Settings.model_validate({"corpus": {"source": "folder", "path": str(root), **corpus_keys}})

    return make


@pytest.fixture
def store(tmp_path):
    """An empty datastore."""
    return Store.in_folder(tmp_path / "store")


@pytest.fixture(scope="session")
def preprocess():
    """A function that preprocesses a corpus like the flow: it returns the packed parts and the manifest."""

    def make(settings, store):
        packed = [shards.build_part(part, settings, store)[0] for part in sources.list_parts(settings.corpus)]
        return packed, manifest.merge_parts(packed, settings.corpus)

    return make


@pytest.fixture(scope="session")
def read_clips():
    """A function that reads the clips of all shards into one table, by name."""
    import pandas as pd

    def make(joined, store, folder):
        store.fetch([shard.key for shard in joined.shards], folder)
        tables = [pd.read_parquet(folder / shard.key) for shard in joined.shards]
        return pd.concat(tables).set_index("clip") if tables else pd.DataFrame()

    return make


@pytest.fixture(scope="session")
def tiny():
    """Settings of a model that trains in seconds, on four dozen clips of the sample in six shards."""
    return Settings.model_validate(
        {
            "corpus": {"limit_clips": 16, "shard_clips": 10},
            "model": {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "vocabulary": 300},
            "training": {"steps": 24, "batch_size": 4, "evaluations": 3, "validation_clips": 4},
        }
    )


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    return Store.in_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def joined(tiny, tiny_store, preprocess):
    """The tiny corpus, packed and joined."""
    return preprocess(tiny, tiny_store)[1]


@pytest.fixture(scope="session")
def speech(joined, tiny_store, tmp_path_factory):
    """The tiny corpus as training and release read it."""
    return SpeechDataset(joined.shards, tmp_path_factory.mktemp("speech"), tiny_store.fetch)


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
    """The tiny Whisper, saved as a base to fine-tune."""
    from asr.training import models

    return models.save(tmp_path_factory.mktemp("base"), *whisper)


@pytest.fixture
def offline(monkeypatch):
    """A missing file is reported immediately, without a request to the Hub."""
    from asr import network
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    network.unreachable_reason.cache_clear()
    yield
    network.unreachable_reason.cache_clear()
