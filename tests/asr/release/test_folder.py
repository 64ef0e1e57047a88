"""The release: whole or not at all, and telling nothing of the machine that made it."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from asr.release import folder
from asr.training import models

RECORD = {
    "name": "svenska", "run_id": "17", "created": "2026-11-22T18:20:00+00:00", "program": "whisper-flow 0.1.0+abc",
    "language": "sv", "base": None, "hours": 1.25, "fingerprint": "0123456789abcdef", "trials": 3,
    "learning_rate": 0.002, "weight_decay": 0.1, "steps": 900, "test_wer": 8.236, "test_wer_ci": (6.9, 9.8),
    "test_wer_ci_unit": "clip", "test_cer": 3.1, "baseline_wer": None, "served_wer": 8.4, "clips": 216, "speakers": 10,
    "orthographic_wer": 11.5, "scoring": "basic", "speakers_crossing": 0,
}  # fmt: skip


@pytest.fixture
def ready(tmp_path):
    """A folder to publish."""
    made = tmp_path / "ready"
    (made / "ct2-int8").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "ct2-int8" / "model.bin").write_bytes(b"weights")
    return made


@pytest.fixture
def released(tmp_path):
    return tmp_path / "some" / "released"


def files(path):
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_what_is_published_is_that_very_folder(ready, released):
    path = folder.publish(ready, released, "svenska-1", newest=True)
    assert path == released / "svenska-1"
    assert files(path) == files(ready)
    assert sorted(one.name for one in released.iterdir()) == ["latest", "svenska-1"]


def test_latest_moves_only_for_the_newest(ready, released):
    folder.publish(ready, released, "svenska-1", newest=True)
    folder.publish(ready, released, "svenska-2", newest=False)
    assert (released / "latest").resolve() == released / "svenska-1"
    folder.publish(ready, released, "svenska-3", newest=True)
    assert (released / "latest").resolve() == released / "svenska-3"
    assert (released / "svenska-2" / "config.json").is_file()


def test_a_release_held_back_makes_no_latest(ready, released):
    folder.publish(ready, released, "svenska-1", newest=False)
    assert not (released / "latest").is_symlink()


def test_a_release_is_never_overwritten(ready, released, refusal):
    folder.publish(ready, released, "svenska-1", newest=True)
    (ready / "config.json").write_text("other")
    line = refusal(folder.publish, ready, released, "svenska-1", True)
    assert "[release] folder" in line
    assert str(released / "svenska-1") in line
    assert (released / "svenska-1" / "config.json").read_text() == "{}"


def test_latest_can_be_read_at_every_moment_while_it_moves(ready, released):
    folder.publish(ready, released, "svenska-0", newest=True)
    missing, done = [], threading.Event()

    def watch():
        while not done.is_set():
            try:
                os.readlink(released / "latest")
            except OSError as error:
                missing.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 30):
        folder.publish(ready, released, f"svenska-{number}", newest=True)
    done.set()
    watcher.join()
    assert missing == []
    assert (released / "latest").resolve().name == "svenska-29"


def test_a_release_that_fails_half_way_leaves_nothing(ready, released, monkeypatch):
    folder.publish(ready, released, "svenska-1", newest=True)
    copy = shutil.copytree

    def full_disk(*arguments, **options):
        copy(*arguments, **options)
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="No space"):
        folder.publish(ready, released, "svenska-2", newest=True)
    assert sorted(one.name for one in released.iterdir()) == ["latest", "svenska-1"]
    assert (released / "latest").resolve() == released / "svenska-1"


def test_releases_can_be_moved_as_a_whole(ready, released, tmp_path):
    folder.publish(ready, released, "svenska-1", newest=True)
    moved = released.rename(tmp_path / "elsewhere")
    assert (moved / "latest" / "config.json").is_file()


def test_the_hub_reads_the_score_from_the_card(tmp_path):
    from huggingface_hub import ModelCard

    folder.describe(tmp_path, RECORD)
    data = ModelCard.load(tmp_path / "README.md").data
    [result] = data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("automatic-speech-recognition", "wer", 8.24)
    assert (result.dataset_name, result.dataset_split) == ("svenska", "test")
    assert (data.language, data.license, data.model_name) == ("sv", "apache-2.0", "svenska")
    assert data.pipeline_tag == "automatic-speech-recognition"
    assert data.base_model is None


def test_the_card_names_a_base_from_the_hub():
    from huggingface_hub import ModelCard

    card = ModelCard(folder.card({**RECORD, "base": "KBLab/kb-whisper-tiny", "baseline_wer": 13.21}))
    assert card.data.base_model == "KBLab/kb-whisper-tiny"
    assert "13.2 %" in card.text


def test_the_card_does_not_tell_the_path_of_a_base():
    card = folder.card({**RECORD, "base": "/home/asa/secret/released/sample-1", "baseline_wer": 13.21})
    assert "asa" not in card
    assert "secret" not in card


def test_the_record_does_not_tell_the_path_of_a_base(tmp_path):
    """It goes to the Hub with the rest of the folder."""
    folder.describe(tmp_path, {**RECORD, "base": "/home/asa/secret/released/sample-1", "baseline_wer": 13.21})
    assert "secret" not in (tmp_path / "release.json").read_text()


@pytest.mark.parametrize(("unit", "says"), [("speaker", "speaks for new speakers"), ("clip", "not for new speakers")])
def test_the_card_says_whom_the_interval_speaks_for(unit, says):
    text = folder.card({**RECORD, "test_wer_ci_unit": unit})
    assert says in text
    assert "6.9 to 9.8" in text


def test_the_record_is_json_that_keeps_swedish_letters(tmp_path):
    folder.describe(tmp_path, {**RECORD, "program": "åäö"})
    text = (tmp_path / "release.json").read_text(encoding="utf-8")
    assert "åäö" in text
    assert json.loads(text)["test_wer"] == 8.236


@pytest.fixture(scope="module")
def built(base, tmp_path_factory):
    """A release built from a tiny model that was loaded from a base."""
    made = tmp_path_factory.mktemp("release")
    folder.build(made, *models.load(base))
    return made


def test_a_release_holds_what_every_reader_looks_for(built):
    names = {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "processor_config.json",
        "preprocessor_config.json", "ct2-int8/model.bin", "ct2-int8/tokenizer.json",
    }  # fmt: skip
    assert names - files(built).keys() == set()


def test_a_release_says_nothing_of_the_machine_that_made_it(built, base):
    told = [name for name, content in files(built).items() if str(base).encode() in content]
    assert told == []


def test_a_release_serves_as_the_next_base(built):
    model, processor = models.load(built)
    assert (model.generation_config.language, model.config.d_model) == ("sv", 32)
    assert processor.tokenizer.decode(processor.tokenizer("åäö").input_ids, skip_special_tokens=True) == "åäö"


def test_ctranslate2_reads_what_serves(built):
    import ctranslate2

    model = ctranslate2.models.Whisper(str(built / folder.SERVED), device="cpu", intra_threads=1)
    assert model.n_mels == 80
    assert Path(built, folder.SERVED, "model.bin").stat().st_size < Path(built, "model.safetensors").stat().st_size
