"""Speech and shards in Google Cloud Storage, over HTTP from an emulator."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from asr.corpus import sources
from servers.bucket import Bucket

FLOWS = Path(sources.__file__).parents[2]
PACK_CORPUS = """
import json, sys
from pathlib import Path
sys.path.insert(0, {flows!r})
from asr import InputError
from asr.corpus import manifest, shards, sources
from asr.settings import Settings
from asr.store import Store
from asr.metaflow_internals import Location
settings = Settings.model_validate({{"corpus": {corpus!r}}})
store = Store(Location.at("WhisperFlow", "gs", "gs://speech/metaflow"))
try:
    packed = [shards.build_part(part, settings, store)[0] for part in sources.list_parts(settings.corpus)]
    joined = manifest.merge_parts(packed, settings.corpus)
    speech = shards.SpeechDataset(joined.shards, Path({folder!r}), store.fetch).split("train")
    summary = {{**joined.summary, "reused": [part.is_reused for part in packed], "texts": speech["text"][:]}}
    print(json.dumps(summary))
except InputError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with Bucket(tmp_path_factory.mktemp("bucket")) as running:
        yield running


@pytest.fixture
def pack(bucket, tmp_path):
    """A function that packs a corpus in a separate process, with shards in the bucket, and returns its summary."""

    def run(**corpus):
        code = PACK_CORPUS.format(flows=str(FLOWS), corpus=corpus, folder=str(tmp_path / "shards"))
        process = subprocess.run(
            [sys.executable, "-c", code], env=bucket.env(), capture_output=True, text=True, timeout=100
        )
        assert "Traceback" not in process.stderr, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


def test_a_folder_in_a_bucket_is_the_same_corpus_as_a_local_one(bucket, pack, audiofolder, tone):
    import soundfile

    rows = [{"file_name": f"{at}.flac", "text": f"mening {at}"} for at in range(3)]
    parts = {"train": [*rows, {"file_name": "gone.flac", "text": "borta"}], "dev": rows, "test": rows}
    local = Path(audiofolder(parts).corpus.path)
    (local / "train" / "gone.flac").unlink()
    bucket.put(local, "corpora/one")
    summary = pack(source="folder", path="gs://speech/corpora/one")
    assert (summary["found"], summary["kept"], summary["reasons"]) == (10, 9, {"missing file": 1})
    assert summary["texts"] == ["mening 0", "mening 1", "mening 2"]
    assert summary["fingerprint"] == pack(source="folder", path=str(local))["fingerprint"]

    second = pack(source="folder", path="gs://speech/corpora/one")
    assert second["reused"] == [True, True, True]
    soundfile.write(local / "test" / "0.flac", tone(hertz=900), 16_000)
    bucket.put(local / "test", "corpora/one/test")
    changed = pack(source="folder", path="gs://speech/corpora/one")
    assert changed["reused"] == [True, True, False]
    assert changed["fingerprint"] != summary["fingerprint"]


def test_an_empty_path_in_a_bucket_is_refused_in_one_line(pack):
    assert pack(source="folder", path="gs://speech/nothing") == "[corpus] path: there is no folder gs://speech/nothing"


def test_a_missing_bucket_is_refused_in_one_line(pack):
    line = pack(source="folder", path="gs://nobodys/corpus")
    assert line.startswith("[corpus] path: gs://nobodys/corpus cannot be listed: ")
    assert "\n" not in line


READ_EXCERPTS = """
import hashlib, multiprocessing, sys
sys.path.insert(0, {flows!r})
import numpy as np
from asr.corpus import recordings
def hash_excerpts(_):
    sounds = [train.random_excerpt(9_000, np.random.default_rng(seed)) for seed in range(6)]
    return [hashlib.sha256(sound.tobytes()).hexdigest()[:16] for sound in sounds]
train, held_out = recordings.list_recordings({folder!r}, "noise")
with multiprocessing.get_context("fork").Pool(2) as pool:  # like the processes of a data loader
    print(len(held_out.paths), *{{",".join(hashes) for hashes in pool.map(hash_excerpts, range(4), chunksize=1)}})
"""


def test_noise_in_a_bucket_equals_local_noise_in_every_process(bucket, tmp_path, tone):
    import soundfile

    for at in range(6):
        (tmp_path / "noise" / "deep").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "noise" / "deep" / f"{at}.ogg", tone(1.0, hertz=300 + 100 * at), 16_000)
    bucket.put(tmp_path / "noise", "noise")
    outputs = []
    for folder in (str(tmp_path / "noise"), "gs://speech/noise"):
        code = READ_EXCERPTS.format(flows=str(FLOWS), folder=folder)
        process = subprocess.run(
            [sys.executable, "-c", code], env=bucket.env(), capture_output=True, text=True, timeout=100
        )
        assert process.returncode == 0, process.stderr
        outputs.append(process.stdout.split())
    assert outputs[0] == outputs[1]
    assert (outputs[0][0], len(outputs[0])) == ("2", 2)  # all processes read the same excerpts
