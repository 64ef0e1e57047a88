"""Data sets of the Hub, read as a stream over real HTTP from a small Hub, and the same from a local folder."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from asr.corpus import sources
from asr.settings import Corpus
from servers.hub import Hub

FLOWS = Path(sources.__file__).parents[2]
FEATURES = {"audio": {"sampling_rate": 16_000, "_type": "Audio"}, "raw_transcription": {"dtype": "string"}}
READ = """
import json, sys
sys.path.insert(0, {flows!r})
from asr import Refused
from asr.corpus import sources
from asr.settings import Corpus
for corpus in {corpora!r}:
    try:
        parts = sources.parts(Corpus.model_validate({{"source": "hub", **corpus}}))
        rows = [row for part in parts for row in sources.read(part)]
        told = [[r.clip, r.split, r.text, r.speaker, r.problem, len(r.audio or b"")] for r in rows]
        print(json.dumps([told, len(parts)]))
    except Refused as mistake:
        print(json.dumps(str(mistake)))
"""


def sound(number: int) -> bytes:
    file = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * (200 + number) * np.arange(8_000) / 16_000)
    soundfile.write(file, wave, 16_000, format="FLAC")
    return file.getvalue()


def parquet(path: Path, clips: range, features: dict | None = None, **more: list) -> None:
    """A Parquet of half a second a clip, as the Hub has them, with sentences "Mening NUMBER."."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({
        "id": [str(at) for at in clips],
        "audio": [{"bytes": sound(at), "path": f"{at}.flac"} for at in clips],
        "raw_transcription": [f"Mening {at}." for at in clips],
        **more,
    })  # fmt: skip
    if features:
        told = {"info": {"features": {name: {"_type": "Value", **features[name]} for name in features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pq.write_table(table, path, row_group_size=2)


@pytest.fixture
def speech(tmp_path):
    """A data set of two training files, a dev and a test one, with the speaker's name in a column."""
    folder = tmp_path / "hub" / "datasets" / "owner" / "speech"
    for at, clips in enumerate((range(4), range(4, 7))):
        who = [f"person {clip}" for clip in clips]
        parquet(folder / f"data/train-{at:05d}-of-00002.parquet", clips, speaker_id=who)
    parquet(folder / "data/validation-00000-of-00001.parquet", range(10, 12), speaker_id=["a", None])
    parquet(folder / "data/test-00000-of-00001.parquet", range(20, 23), speaker_id=["b"] * 3)
    return folder


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def read(hub, tmp_path):
    """A function from the keys of sources to what a process of its own makes of each: the rows and the number of
    parts, or the line with which it is refused."""

    def run(*corpora):
        code = READ.format(flows=str(FLOWS), corpora=corpora)
        done = subprocess.run(
            [sys.executable, "-c", code], env=hub.env(tmp_path / "home"), capture_output=True, text=True, timeout=100
        )
        assert "Traceback" not in done.stderr, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(told) == len(corpora)
        return told

    return run


def test_every_clip_is_read_in_one_part_a_file(speech, read):
    [(rows, parts)] = read({"id": "owner/speech"})
    assert parts == 4
    assert [row[2] for row in rows] == [f"Mening {at}." for at in [*range(7), 10, 11, 20, 21, 22]]
    assert [row[1] for row in rows] == ["train"] * 7 + ["validation"] * 2 + ["test"] * 3
    assert rows[0][:4] == ["train/0-0", "train", "Mening 0.", "person 0"]
    assert rows[8][3] is None
    assert len({row[0] for row in rows}) == len(rows)
    assert all(row[5] == len(sound(0)) or row[5] > 100 for row in rows)


def test_only_the_files_that_a_limit_needs_are_read(speech, read, hub):
    [(rows, parts)] = read({"id": "owner/speech", "limit_clips": 2})
    assert parts == 3
    assert [row[2] for row in rows] == [f"Mening {at}." for at in (0, 1, 10, 11, 20, 21)]
    assert not any("GET" in asked and "train-00001" in asked for asked in hub.requests)


def test_columns_and_splits_go_by_the_names_that_the_profile_gives(speech, read):
    parquet(speech / "data/train-00000-of-00002.parquet", range(4), speaker_id=["x"] * 4, label=["ett"] * 4)
    parquet(speech / "data/train-00001-of-00002.parquet", range(4, 7), speaker_id=["x"] * 3, label=["ett"] * 3)
    for name in ("validation", "test"):
        (speech / f"data/{name}-00000-of-00001.parquet").unlink()
    parquet(speech / "data/extra-00000-of-00001.parquet", range(30, 32), speaker_id=["y"] * 2, label=["två"] * 2)
    [(rows, _)] = read({
        "id": "owner/speech",
        "splits": {"train": "train", "validation": "extra", "test": "extra"},
        "columns": {"text": "label", "speaker": "id", "clip": "id"},
    })  # fmt: skip
    assert rows[0][:4] == ["0", "train", "ett", "0"]
    assert rows[7][:4] == ["30", "validation", "två", "30"]


def test_a_data_set_with_one_split_is_carved_by_speaker(tmp_path, read):
    many = range(60)
    names = [f"person {at // 2}" for at in many]
    parquet(tmp_path / "hub/datasets/owner/one/data/train-00000-of-00001.parquet", many, speaker_id=names)
    [(rows, _)] = read({"id": "owner/one"})
    splits = {name: {row[1] for row in rows if row[3] == name} for name in names}
    assert {len(found) for found in splits.values()} == {1}
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}


def test_the_configuration_of_a_parquet_copy_is_its_folder(tmp_path, read):
    """A data set that is a script is read from the Hub's copy, and of that only the language that was asked for."""
    root = tmp_path / "hub" / "datasets" / "google"
    (root / "fleurs").mkdir(parents=True)
    (root / "fleurs" / "fleurs.py").write_text("raise SystemExit")
    copy = root / "fleurs@refs%2Fconvert%2Fparquet"
    for config, start in (("sv_se", 0), ("da_dk", 100)):
        for at, split in enumerate(("train", "validation", "test")):
            clips = range(start + 2 * at, start + 2 * at + 2)
            parquet(copy / config / split / "0000.parquet", clips, FEATURES)
    [(rows, parts)] = read({"id": "google/fleurs", "config": "sv_se"})
    assert parts == 3
    assert [row[2] for row in rows] == [f"Mening {at}." for at in range(6)]


def test_a_connection_that_breaks_off_costs_no_clip(speech, read, hub):
    hub.drop(times=2, match="/resolve/")
    hub.fail(times=1, status=503, match="train-00001")
    [(rows, _)] = read({"id": "owner/speech"})
    assert len(rows) == 12


def test_a_folder_of_parquet_is_read_the_same(speech, read, hub):
    [(rows, parts)] = read({"id": str(speech)})
    assert (len(rows), parts) == (12, 4)
    assert not any("resolve" in asked for asked in hub.requests)


def test_an_audiofolder_on_the_hub_is_read_as_one_at_home(tmp_path, read, hub):
    for split, clips in (("train", (1, 2)), ("validation", (3,)), ("test", (4,))):
        folder = tmp_path / "hub/datasets/owner/recordings" / split
        folder.mkdir(parents=True)
        for clip in clips:
            (folder / f"{clip}.flac").write_bytes(sound(clip))
        lines = [f"{clip}.flac,mening {clip}" for clip in (*clips, 9)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]))
    [(rows, parts)] = read({"id": "owner/recordings"})
    assert parts == 3
    assert [row[0] for row in rows if not row[4]] == [
        "train/1.flac",
        "train/2.flac",
        "validation/3.flac",
        "test/4.flac",
    ]
    assert [row[4] for row in rows if row[4]] == ["missing file"] * 3
    assert rows[0][5] == len(sound(1))


def test_a_path_that_leads_out_of_the_data_set_is_not_followed(speech, read, tmp_path):
    (tmp_path / "secret.flac").write_bytes(sound(5))
    hostile = [{"bytes": None, "path": path} for path in (
        str(tmp_path / "secret.flac"), "../../secret.flac", "hf://datasets/owner/other@main/secret.flac", "", None,
    )]  # fmt: skip
    table = pa.table({"audio": hostile, "text": ["hej"] * 5})
    for split in ("train", "validation", "test"):
        path = tmp_path / "hub/datasets/owner/hostile/data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    for rows, _ in read({"id": "owner/hostile"}, {"id": str(tmp_path / "hub/datasets/owner/hostile")}):
        assert {row[4] for row in rows} == {"outside the folder", "missing file"}
        assert {row[5] for row in rows} == {0}


def test_what_is_not_there_is_named_in_one_line(speech, read):
    wrong = [
        ({"id": "owner/nothing"}, ("[corpus] id", "owner/nothing")),
        ({"id": "no such id"}, ("[corpus] id", "no such id")),
        ({"id": "owner/speech", "revision": "nothing"}, ("[corpus] id", "owner/speech", "nothing")),
        ({"id": "owner/speech", "config": "sv_xx"}, ("[corpus]", "sv_xx")),
        ({"id": "owner/speech", "splits": {"train": "tren"}}, ("[corpus] splits", "tren", "validation")),
        ({"id": "owner/speech", "columns": {"text": "txt"}}, ("[corpus] columns.text", "txt", "raw_transcription")),
    ]
    for line, (keys, named) in zip(read(*(keys for keys, _ in wrong)), wrong, strict=True):
        assert isinstance(line, str), keys
        assert "\n" not in line
        assert [word for word in named if word not in line] == []


def test_a_data_set_without_text_says_what_it_has(speech, read):
    for file in speech.rglob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.rename_columns(["id", "audio", "said", "speaker_id"]), file)
    [line] = read({"id": "owner/speech"})
    assert "columns.text" in line
    assert "said" in line


def test_the_commit_is_pinned_when_the_run_begins(speech):
    part = sources.parts(Corpus(source="hub", id=str(speech)))[0]
    parquet(speech / "data/test-00000-of-00001.parquet", range(20, 24), speaker_id=["b"] * 4)
    assert sources.parts(Corpus(source="hub", id=str(speech)))[0].stretch.place.commit != part.stretch.place.commit
