"""Datasets of the Hub, read as a stream over real HTTP from a small Hub, and the same from a local folder."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from asr import InputError
from asr.corpus import hub as hub_module
from asr.corpus import sources
from asr.settings import Corpus
from servers.hub import Hub

FLOWS = Path(sources.__file__).parents[2]
FEATURES = {"audio": {"sampling_rate": 16_000, "_type": "Audio"}, "raw_transcription": {"dtype": "string"}}
READ_SOURCES = """
import json, sys
sys.path.insert(0, {flows!r})
from asr import InputError
from asr.corpus import hub as hub_module
from asr.corpus import sources
from asr.settings import Corpus
for corpus in {corpora!r}:
    try:
        parts = sources.list_parts(Corpus.model_validate({{"source": "hub", **corpus}}))
        rows = [row for part in parts for row in sources.read_part(part)]
        fields = [[r.clip, r.split, r.text, r.speaker, r.problem, len(r.audio or b"")] for r in rows]
        print(json.dumps([fields, len(parts)]))
    except InputError as error:
        print(json.dumps(str(error)))
"""


def sound(number: int) -> bytes:
    file = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * (200 + number) * np.arange(8_000) / 16_000)
    soundfile.write(file, wave, 16_000, format="FLAC")
    return file.getvalue()


def parquet(path: Path, clips: range, features: dict | None = None, **columns: list) -> None:
    """A Parquet file of clips of half a second, as on the Hub, with sentences "Mening NUMBER."."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({
        "id": [str(at) for at in clips],
        "audio": [{"bytes": sound(at), "path": f"{at}.flac"} for at in clips],
        "raw_transcription": [f"Mening {at}." for at in clips],
        **columns,
    })  # fmt: skip
    if features:
        metadata = {"info": {"features": {name: {"_type": "Value", **features[name]} for name in features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path, row_group_size=2)


@pytest.fixture
def speech(tmp_path):
    """A dataset of two files for training, one for validation and one for test, with a column of speakers."""
    folder = tmp_path / "hub" / "datasets" / "owner" / "speech"
    for at, clips in enumerate((range(4), range(4, 7))):
        speakers = [f"person {clip}" for clip in clips]
        parquet(folder / f"data/train-{at:05d}-of-00002.parquet", clips, speaker_id=speakers)
    parquet(folder / "data/validation-00000-of-00001.parquet", range(10, 12), speaker_id=["a", None])
    parquet(folder / "data/test-00000-of-00001.parquet", range(20, 23), speaker_id=["b"] * 3)
    return folder


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def read(hub, tmp_path):
    """A function that reads sources in a separate process: for each, its rows and number of parts, or its refusal."""

    def run(*corpora):
        code = READ_SOURCES.format(flows=str(FLOWS), corpora=corpora)
        process = subprocess.run(
            [sys.executable, "-c", code], env=hub.env(tmp_path / "home"), capture_output=True, text=True, timeout=100
        )
        assert "Traceback" not in process.stderr, process.stderr
        results = [json.loads(line) for line in process.stdout.splitlines()]
        assert len(results) == len(corpora)
        return results

    return run


def test_every_clip_is_read_in_one_part_per_file(speech, read):
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
    assert not any("GET" in request and "train-00001" in request for request in hub.requests)


def test_columns_and_splits_have_the_names_in_the_profile(speech, read):
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


def test_a_dataset_with_one_split_is_split_by_speaker(tmp_path, read):
    clips = range(60)
    names = [f"person {at // 2}" for at in clips]
    parquet(tmp_path / "hub/datasets/owner/one/data/train-00000-of-00001.parquet", clips, speaker_id=names)
    [(rows, _)] = read({"id": "owner/one"})
    splits = {name: {row[1] for row in rows if row[3] == name} for name in names}
    assert {len(assigned) for assigned in splits.values()} == {1}
    assert {split for assigned in splits.values() for split in assigned} == {"train", "validation", "test"}


def test_the_configuration_of_a_parquet_copy_is_its_folder(tmp_path, read):
    """A dataset that is a script is read from the Hub's Parquet copy, and only in the requested language."""
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


def test_an_interrupted_connection_loses_no_clip(speech, read, hub):
    hub.drop(times=2, match="/resolve/")
    hub.fail(times=1, status=503, match="train-00001")
    [(rows, _)] = read({"id": "owner/speech"})
    assert len(rows) == 12


def test_a_local_folder_of_parquet_is_read_the_same(speech, read, hub):
    [(rows, parts)] = read({"id": str(speech)})
    assert (len(rows), parts) == (12, 4)
    assert not any("resolve" in request for request in hub.requests)


def test_an_audiofolder_on_the_hub_is_read_as_a_local_one(tmp_path, read, hub):
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


def test_a_path_that_leads_out_of_the_dataset_is_not_followed(speech, read, tmp_path):
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


def test_a_missing_dataset_split_or_column_is_named_in_one_line(speech, read):
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


def test_a_dataset_without_text_is_refused_with_its_columns(speech, read):
    for file in speech.rglob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.rename_columns(["id", "audio", "said", "speaker_id"]), file)
    [line] = read({"id": "owner/speech"})
    assert "columns.text" in line
    assert "said" in line


def test_the_commit_is_pinned_when_the_run_begins(speech):
    part = sources.list_parts(Corpus(source="hub", id=str(speech)))[0]
    parquet(speech / "data/test-00000-of-00001.parquet", range(20, 24), speaker_id=["b"] * 4)
    assert sources.list_parts(Corpus(source="hub", id=str(speech)))[0].file.dataset.commit != part.file.dataset.commit


SECRET = "hemlig"


@pytest.fixture
def bad_dataset(tmp_path, refusal):
    """A folder of valid Parquet files to damage, functions that read it, and next to it a secret folder."""
    for split in ("train", "validation", "test"):
        parquet(tmp_path / f"mine/data/{split}-00000-of-00001.parquet", range(2))
    parquet(tmp_path / "secret/train-00000-of-00001.parquet", range(2), text=[SECRET] * 2)
    corpus = Corpus(source="hub", id=str(tmp_path / "mine"))

    def read():
        return [row for part in sources.list_parts(corpus) for row in sources.read_part(part)]

    return SimpleNamespace(folder=tmp_path / "mine", read=read, refusal=lambda: refusal(read), mark=tmp_path / "mark")


def card(folder: Path, content: object, name: str = "README.md") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(f"---\n{text}\n---\n" if name == "README.md" else text)


def configs(path: object, key: str = "data_files") -> dict:
    return {"configs": [{"config_name": "default", key: path}]}


OUTSIDE_PATHS = [
    "{secret}", "../secret/train-00000-of-00001.parquet", "data/../../secret/*", "~/x.parquet", "file://{secret}",
    "local://{secret}", "memory://x.parquet", "http://127.0.0.1:9/x.parquet", "hf://datasets/other/x/x.parquet",
    "gs://bucket/x.parquet", "s3://bucket/x.parquet", "zip://x.parquet::{secret}", "simplecache::file://{secret}",
    "zip://*::http://127.0.0.1:9/x.zip",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE_PATHS)
def test_a_card_that_names_a_file_elsewhere_is_refused(bad_dataset, path):
    path = path.format(secret=bad_dataset.folder.parent / "secret/train-00000-of-00001.parquet")
    good = {"split": "test", "path": "data/test-00000-of-00001.parquet"}
    for files in (path, [path], [{"split": "train", "path": path}, good], {"train": [path]}):
        card(bad_dataset.folder, configs(files))
        assert bad_dataset.refusal().endswith("leads out of the folder")
        assert path in bad_dataset.refusal()
    (bad_dataset.folder / "README.md").unlink()
    card(bad_dataset.folder, configs(path), ".huggingface.yaml")
    assert bad_dataset.refusal().endswith("leads out of the folder")


@pytest.mark.parametrize("path", ["../secret", "{secret}", "http://127.0.0.1:9/"])
def test_a_card_that_names_a_folder_elsewhere_is_refused(bad_dataset, path):
    card(bad_dataset.folder, configs(path.format(secret=bad_dataset.folder.parent / "secret"), "data_dir"))
    assert bad_dataset.refusal().endswith("leads out of the folder")


@pytest.mark.parametrize("name", ["data/train-00000-of-00001.parquet", "README.md", "data"])
def test_a_link_that_leads_out_of_a_folder_of_parquet_is_not_followed(bad_dataset, name):
    secret = bad_dataset.folder.parent / "secret" / "train-00000-of-00001.parquet"
    link = bad_dataset.folder / name
    if link.is_dir():
        link.rename(bad_dataset.folder.parent / "old")
    link.unlink(missing_ok=True)
    link.symlink_to(secret.parent if name == "data" else secret)
    assert bad_dataset.refusal().startswith("[corpus]")


def yaml_bomb() -> str:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12)]
    return "\n".join([*rows, "configs: *a11"])


CARDS = {
    "no UTF-8": b"---\n\xff\xfe\n---\n",
    "a bomb": f"---\n{yaml_bomb()}\n---\n".encode(),
    "deep": b"---\nconfigs: " + b"[" * 20_000 + b"\n---\n",
    "a number": b"---\nconfigs: 5\n---\n",
    "odd kinds": b"---\nconfigs:\n- config_name: [1]\n  data_files: {a: {b: 1}}\n---\n",
    "a call": b"---\nconfigs: !!python/object/apply:os.system ['touch MARK']\n---\n",
    "a pickle": b"---\nconfigs:\n- config_name: default\n  data_files: '*.pkl'\n---\n",
}


@pytest.mark.parametrize("content", CARDS.values(), ids=CARDS)
def test_a_broken_card_is_refused_and_runs_nothing(bad_dataset, content):
    (bad_dataset.folder / "README.md").write_bytes(content.replace(b"MARK", str(bad_dataset.mark).encode()))
    (bad_dataset.folder / "a.pkl").write_bytes(f"cos\nsystem\n(S'touch {bad_dataset.mark}'\ntR.".encode())
    assert bad_dataset.refusal().startswith("[corpus] id: ")
    assert not bad_dataset.mark.exists()


def test_a_card_of_gigabytes_is_not_read(bad_dataset):
    (bad_dataset.folder / "README.md").touch()
    os.truncate(bad_dataset.folder / "README.md", 1 << 34)
    assert "more than 16,777,216 bytes" in bad_dataset.refusal()


def test_a_script_is_not_run_and_other_files_are_not_trusted(bad_dataset):
    false_info = {
        "default": {"features": {"x": {"dtype": "int8", "_type": "Value"}}, "splits": {"train": {"name": "train"}}}
    }
    card(bad_dataset.folder, false_info, "dataset_infos.json")
    assert len(bad_dataset.read()) == 6
    (bad_dataset.folder / "mine.py").write_text(f"open({str(bad_dataset.mark)!r}, 'w')")
    assert "scripts" in bad_dataset.refusal()
    assert not bad_dataset.mark.exists()
    (bad_dataset.folder / "mine.py").unlink()
    card(bad_dataset.folder, "[" * 100_000, "dataset_infos.json")
    assert bad_dataset.refusal().startswith("[corpus] id: ")


GOOD = {"bytes": b"x", "path": "x"}
ODD = {
    # The columns, and the expected (problem, text) of a clip; None: the file is refused.
    "audio of numbers": ({"audio": [1], "text": ["a"]}, None),
    "audio of words": ({"audio": ["/etc/passwd"], "text": ["a"]}, None),
    "bytes that are a number": ({"audio": [{"bytes": 5}], "text": ["a"]}, ("no audio", "a")),
    "bytes that are a list": ({"audio": [{"bytes": [5]}], "text": ["a"]}, ("no audio", "a")),
    "bytes that are words": ({"audio": [{"bytes": "a"}], "text": ["a"]}, ("no audio", "a")),
    "text of tables": ({"audio": [GOOD], "text": [{"a": 1}]}, (None, "")),
    "text of lists": ({"audio": [GOOD], "text": [["a"]]}, (None, "")),
    "text of broken letters": ({"audio": [GOOD], "text": [b"\xffa"]}, (None, "\ufffda")),
    "speakers of lists": ({"audio": [GOOD], "text": ["a"], "speaker": [[1]]}, (None, "a")),
    "a text of megabytes": ({"audio": [GOOD], "text": ["a" * 2_000_000]}, ("text too long", "")),
}


@pytest.mark.parametrize(("columns", "expected"), ODD.values(), ids=ODD)
def test_columns_of_another_type_are_refused_or_their_clips_rejected(bad_dataset, columns, expected):
    for file in bad_dataset.folder.rglob("*.parquet"):
        pq.write_table(pa.table(columns), file)
    if expected is None:
        assert "columns.audio" in bad_dataset.refusal()
    else:
        assert {(row.problem, row.text) for row in bad_dataset.read()} == {expected}


FALSE_SCHEMAS = {"huggingface": "{", "ARROW:schema": "AAAA"}


@pytest.mark.parametrize("key", FALSE_SCHEMAS)
def test_what_a_file_declares_about_its_columns_is_not_trusted(bad_dataset, key):
    for file in bad_dataset.folder.rglob("*.parquet"):
        pq.write_table(
            pa.table({"audio": [GOOD], "text": ["a"]}).replace_schema_metadata({key: FALSE_SCHEMAS[key]}), file
        )
    try:
        assert [row.text for row in bad_dataset.read()] == ["a"] * 3
    except InputError as error:
        assert str(error).startswith("[corpus] id: ")


def test_a_file_cut_short_or_of_endless_rows_is_refused(bad_dataset, monkeypatch):
    file = bad_dataset.folder / "data/train-00000-of-00001.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert str(file) in bad_dataset.refusal()
    rows = pa.table({"audio": pa.nulls(1_000_001, pa.struct({"bytes": pa.binary()})), "text": pa.nulls(1_000_001)})
    pq.write_table(rows, file)
    assert "1,000,001 rows" in bad_dataset.refusal()
    file.write_bytes(content)
    monkeypatch.setattr(hub_module, "MAX_GROUP_BYTES", 1_000)
    assert "a row group has" in bad_dataset.refusal()


def test_a_hub_dataset_reads_no_other_dataset_and_no_url(speech, read, hub, tmp_path):
    parquet(tmp_path / "hub/datasets/owner/other/data/train-00000-of-00001.parquet", range(3))
    paths = ["hf://datasets/owner/other@main/data/train-00000-of-00001.parquet", f"{hub.url}/x", "../other/data/*"]
    for at, path in enumerate(paths):
        shutil.copytree(speech, tmp_path / f"hub/datasets/owner/poisoned{at}")
        card(tmp_path / f"hub/datasets/owner/poisoned{at}", configs(path))
    for line, path in zip(read(*({"id": f"owner/poisoned{at}"} for at in range(len(paths)))), paths, strict=True):
        assert isinstance(line, str)
        assert line.endswith(f"{path} leads out of the folder")
    assert not any("owner/other" in request or request.endswith("/x") for request in hub.requests)
