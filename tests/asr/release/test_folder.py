"""The release folder: complete or absent, and without information about the machine."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from asr.release import folder, model_card, training_curve
from asr.training import decoding, models


@pytest.fixture
def ready(tmp_path):
    """A folder to publish."""
    folder_to_publish = tmp_path / "ready"
    (folder_to_publish / "ct2-int8").mkdir(parents=True)
    (folder_to_publish / "config.json").write_text("{}")
    (folder_to_publish / "ct2-int8" / "model.bin").write_bytes(b"weights")
    return folder_to_publish


@pytest.fixture
def released(tmp_path):
    return tmp_path / "some" / "released"


def files(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_published_folder_is_an_exact_copy(ready, released):
    path = folder.publish_folder(ready, released, "svenska-1", newest=True)
    assert path == released / "svenska-1"
    assert files(path) == files(ready)
    assert sorted(entry.name for entry in released.iterdir()) == ["latest", "svenska-1"]


def test_latest_moves_only_to_the_newest_release(ready, released):
    folder.publish_folder(ready, released, "svenska-1", newest=True)
    folder.publish_folder(ready, released, "svenska-2", newest=False)
    assert (released / "latest").resolve() == released / "svenska-1"
    folder.publish_folder(ready, released, "svenska-3", newest=True)
    assert (released / "latest").resolve() == released / "svenska-3"
    assert (released / "svenska-2" / "config.json").is_file()


def test_a_release_that_is_held_back_does_not_become_latest(ready, released):
    folder.publish_folder(ready, released, "svenska-1", newest=False)
    assert not (released / "latest").is_symlink()


def test_a_release_is_never_overwritten(ready, released, refusal):
    folder.publish_folder(ready, released, "svenska-1", newest=True)
    (ready / "config.json").write_text("other")
    line = refusal(folder.publish_folder, ready, released, "svenska-1", True)
    assert "[release] folder" in line
    assert str(released / "svenska-1") in line
    assert (released / "svenska-1" / "config.json").read_text() == "{}"


def test_latest_can_be_read_at_every_moment_while_it_moves(ready, released):
    folder.publish_folder(ready, released, "svenska-0", newest=True)
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
        folder.publish_folder(ready, released, f"svenska-{number}", newest=True)
    done.set()
    watcher.join()
    assert missing == []
    assert (released / "latest").resolve().name == "svenska-29"


def test_a_release_that_does_not_fit_leaves_nothing_and_names_its_disk(ready, released, monkeypatch, refusal):
    folder.publish_folder(ready, released, "svenska-1", newest=True)
    copy = shutil.copytree

    def full_disk(*arguments, **options):
        copy(*arguments, **options)
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copytree", full_disk)
    line = refusal(folder.publish_folder, ready, released, "svenska-2", True)
    assert line.startswith(f"the disk that holds {released} is full")
    assert sorted(entry.name for entry in released.iterdir()) == ["latest", "svenska-1"]
    assert (released / "latest").resolve() == released / "svenska-1"


def test_releases_can_be_moved_as_a_whole(ready, released, tmp_path):
    folder.publish_folder(ready, released, "svenska-1", newest=True)
    moved = released.rename(tmp_path / "elsewhere")
    assert (moved / "latest" / "config.json").is_file()


def test_the_same_run_may_publish_twice(ready, released):
    first = folder.publish_folder(ready, released, "svenska-1", newest=True)
    assert folder.publish_folder(ready, released, "svenska-1", newest=True) == first


def write_releases(released, *names):
    for name in names:
        (released / name).mkdir(parents=True)
        (released / name / "release.json").write_text("{}")


def test_pruning_keeps_the_newest_releases_of_a_profile(released):
    write_releases(
        released, "svenska-9", "svenska-10", "svenska-11", "svenska-8", "svenska-small-1", "digits-1", "svenska-x"
    )
    (released / "latest").symlink_to("svenska-8")
    assert [path.name for path in folder.prune_releases(released, "svenska", 2)] == ["svenska-9"]
    assert sorted(path.name for path in released.iterdir()) == [
        "digits-1", "latest", "svenska-10", "svenska-11", "svenska-8", "svenska-small-1", "svenska-x",
    ]  # fmt: skip
    assert folder.prune_releases(released, "svenska", 9) == []


def test_a_folder_that_is_not_a_release_is_never_deleted(released):
    (released / "svenska-1").mkdir(parents=True)
    (released / "svenska-1" / "mine.txt").write_text("mine")
    write_releases(released, "svenska-2")
    assert folder.prune_releases(released, "svenska", 1) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"format": 99, "program": "whisper-flow 9.0"}', "format 99"),
        ("[", "no readable release.json"),
        (None, "no readable"),
    ],
)
def test_a_folder_without_a_readable_record_of_this_format_is_refused(tmp_path, refusal, text, expected):
    if text:
        (tmp_path / "release.json").write_text(text)
    assert expected in refusal(folder.read_record, tmp_path)


def test_a_release_of_another_format_is_refused_as_a_base(built, tmp_path, refusal):
    newer = Path(shutil.copytree(built, tmp_path / "newer"))
    (newer / "release.json").write_text('{"format": 3, "program": "whisper-flow 9.0"}')
    for read in (models.load, models.base_config):
        line = refusal(read, newer)
        assert "format 3" in line and "update whisper-flow" in line and "9.0" in line
    (newer / "release.json").write_text('{"format": 0}')
    assert "train it again" in refusal(models.load, newer)


def test_the_record_does_not_contain_the_path_of_the_base(tmp_path, monkeypatch):
    """It is uploaded to the Hub with the rest of the folder."""
    monkeypatch.setattr(model_card, "render_card", lambda record: f"base: {record['base']}")
    monkeypatch.setattr(training_curve, "render_curve", lambda record: b"picture")
    folder.write_description(tmp_path, {"base": "/home/asa/secret/released/sample-1", "program": "åäö"})
    record = json.loads((tmp_path / "release.json").read_text(encoding="utf-8"))
    assert record == {"base": "sample-1", "base_is_local": True, "program": "åäö"}
    assert "åäö" in (tmp_path / "release.json").read_text(encoding="utf-8")
    assert (tmp_path / "README.md").read_text() == "base: sample-1"
    assert (tmp_path / "training.png").read_bytes() == b"picture"
    folder.write_description(tmp_path, {"base": "KBLab/kb-whisper-tiny"})
    assert json.loads((tmp_path / "release.json").read_text())["base"] == "KBLab/kb-whisper-tiny"


@pytest.fixture(scope="module")
def built(base, tmp_path_factory):
    """A release built from a tiny model that was loaded from a base."""
    release_folder = tmp_path_factory.mktemp("release")
    folder.build_release(release_folder, base, "sv")
    return release_folder


def test_a_release_holds_the_files_of_every_reader(built):
    names = {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "processor_config.json",
        "preprocessor_config.json", "ct2-int8/model.bin", "ct2-int8/tokenizer.json",
    }  # fmt: skip
    assert names - files(built).keys() == set()


def test_a_release_contains_no_path_of_the_machine_that_built_it(built, base):
    leaks = [name for name, content in files(built).items() if str(base).encode() in content]
    assert leaks == []


def test_a_release_can_be_the_next_base(built):
    model, processor = models.load(built)
    assert (model.generation_config.language, model.config.d_model) == ("sv", 32)
    assert processor.tokenizer.decode(processor.tokenizer("åäö").input_ids, skip_special_tokens=True) == "åäö"


def test_ctranslate2_reads_the_served_format(built):
    import ctranslate2

    model = ctranslate2.models.Whisper(str(built / folder.SERVED), device="cpu", intra_threads=1)
    assert model.n_mels == 80
    assert Path(built, folder.SERVED, "model.bin").stat().st_size < Path(built, "model.safetensors").stat().st_size


def test_a_release_in_half_precision_is_half_as_large_and_can_be_used(built, base, tmp_path):
    folder.build_release(tmp_path, base, "sv", half=True)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 0.6 * (built / "model.safetensors").stat().st_size
    assert folder.count_parameters(tmp_path) == folder.count_parameters(built) > 10_000
    assert models.load(tmp_path)[0].config.d_model == 32


def test_the_same_model_gives_the_same_bytes(built, base, tmp_path):
    folder.build_release(tmp_path, base, "sv")
    assert files(tmp_path) == files(built)


@pytest.fixture
def sounds(tone):
    return [tone(1.0), tone(0.7, hertz=300)]


def test_every_format_loads_and_transcribes_alike(built, whisper, sounds):
    transcripts = decoding.transcribe_sounds(*whisper, sounds)
    assert folder.check_formats(built, sounds, transcripts, "sv", 0) == []
    (fault,) = folder.check_formats(built, sounds, ["något helt annat"] * 2, "sv", 0)
    assert fault.startswith("transformers writes")


def test_a_format_that_does_not_load_is_reported_in_one_line(built, sounds, tmp_path):
    broken = Path(shutil.copytree(built, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"nothing")
    (fault,) = folder.check_formats(broken, sounds, ["a", "b"], "sv", 0)
    assert fault.startswith("transformers cannot use it: ")
    assert "\n" not in fault


def test_faster_whisper_is_checked_only_with_the_full_vocabulary(built, sounds, whisper, monkeypatch):
    """It treats a smaller one as English only."""
    transcripts = decoding.transcribe_sounds(*whisper, sounds)
    monkeypatch.setattr(folder, "_transcribe_with_transformers", lambda *_: transcripts)
    monkeypatch.setattr(folder, "vocabulary_size", lambda folder: 51_865)
    monkeypatch.setattr(folder, "_transcribe_with_faster_whisper", lambda *_: ["helt fel ord här"] * 2)
    assert any("faster-whisper" in fault for fault in folder.check_formats(built, sounds, transcripts, "sv", 0))


def test_in_a_language_without_spaces_one_different_character_is_accepted(built, sounds, monkeypatch):
    monkeypatch.setattr(folder, "_transcribe_with_transformers", lambda *_: ["今天天气很号我们出门"] * 2)
    assert folder.check_formats(built, sounds, ["今天天气很好我们出门"] * 2, "zh", 0) == []
    (fault,) = folder.check_formats(built, sounds, ["没有人在这里说话"] * 2, "zh", 0)
    assert "of the characters differently" in fault
