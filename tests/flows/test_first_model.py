"""The profile `swedish-tiny`, from dataset to release, over HTTP from a small Hub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from servers.hub import Hub

PROFILE = Path(__file__).parents[2] / "flows" / "profiles" / "swedish-tiny.toml"
WRITE_HUB = """
import io, json, sys
sys.path.insert(0, {flows!r})
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from asr.corpus import SAMPLE, audio, clips, folder
from asr.settings import Settings
from asr.training import models
root = Path({root!r})
tiny = Settings.model_validate({{"model": {{"width": 32, "heads": 2, "encoder_layers": 1, "vocabulary": 300}}}})
models.save(root / "models/KBLab/kb-whisper-tiny", *models.prepare(tiny, ["Klockan är halv åtta."]))
script = root / "datasets/google/fleurs/fleurs.py"
script.parent.mkdir(parents=True)
script.write_text("raise SystemExit('scripts are not run')")
rows = folder.list_rows(SAMPLE, 30.0)
for split in ("train", "validation", "test"):
    some = [row for row in rows if row.split == split][:8]
    for config, word in (("sv_se", ""), ("da_dk", "Dansk ")):
        path = root / f"datasets/google/fleurs@refs%2Fconvert%2Fparquet/{{config}}/{{split}}/0000.parquet"
        path.parent.mkdir(parents=True)
        sounds = [clips.encode_flac(clips.to_pcm16(audio.Recording(row.audio).sound().samples)) for row in some]
        pq.write_table(pa.table({{
            "id": list(range(len(some))),
            "audio": [{{"bytes": sound, "path": f"{{at}}.wav"}} for at, sound in enumerate(sounds)],
            "transcription": [row.text.lower() for row in some],
            "raw_transcription": [word + row.text for row in some],
            "gender": [0] * len(some),
        }}), path)
"""

READ_RUN = """
import json
from metaflow import Flow
artifacts = Flow("WhisperFlow").latest_run["end"].task.data
data = {"corpus": artifacts.corpus, "report": artifacts.report, "release": artifacts.release}
print(json.dumps({**data, "references": artifacts.scores["reference"].tolist()}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, flow_file):
    folder = tmp_path_factory.mktemp("first")
    code = WRITE_HUB.format(flows=str(flow_file.parent), root=str(folder / "hub"))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    profile = folder / "first.toml"
    shorter = (
        PROFILE.read_text(encoding="utf-8").replace("steps = 300", "steps = 4").replace("trials = 2", "trials = 1")
    )
    profile.write_text(shorter, encoding="utf-8")
    with Hub(folder / "hub") as hub:
        hub.drop(times=1, match="sv_se/train")
        command = [sys.executable, str(flow_file), "--config", "profile", str(profile), "run"]
        environment = {**hub.env(folder / "home"), "METAFLOW_USER": "tests"}
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stdout + process.stderr
        # In another process, since the Client of this one reads the runs of other tests.
        client = subprocess.run(
            [sys.executable, "-c", READ_RUN], cwd=folder, env=environment, capture_output=True, text=True
        )
        yield hub.requests, json.loads(client.stdout)


def test_the_model_is_trained_on_the_dataset_of_its_language_only(run):
    requests, artifacts = run
    assert artifacts["corpus"]["clips"] == {"train": 8, "validation": 8, "test": 8}
    assert artifacts["corpus"]["sources"].keys() == {"google-fleurs"}
    assert not any(text.startswith("Dansk") for text in artifacts["references"])
    assert all(text[0].isupper() for text in artifacts["references"])
    assert not any("GET" in request and "da_dk" in request and "resolve" in request for request in requests)


def test_it_is_fine_tuned_from_the_hub_base_and_released(run):
    requests, artifacts = run
    assert artifacts["report"]["baseline_wer"] is not None
    assert Path(artifacts["release"]["path"], "model.safetensors").is_file()
    assert any("KBLab/kb-whisper-tiny" in request for request in requests)
