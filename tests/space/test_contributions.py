"""Contributed clips: what is stored, deleted and refused."""

import csv

import contributions
import numpy as np
import pytest
from asr.corpus import folder

RATE = 16_000


def test_the_flow_reads_contributed_clips_whatever_was_typed(tmp_path):
    store = contributions.ContributionStore(tmp_path)
    typed = ['Hej, "du"!', "=1+1", "två\nrader\x00", "å ä ö, 日本"]
    names = [store.add(np.full(RATE, 0.5, np.float32), text) for text in typed]
    rows = folder.list_rows(tmp_path, max_seconds=30.0)
    # A leading "=" would be a formula in a spreadsheet.
    assert [row.text for row in rows] == ['Hej, "du"!', "1+1", "två rader", "å ä ö, 日本"]
    assert [row.clip for row in rows] == [f"train/{name}" for name in names]
    assert all(row.problem is None and row.split == "train" for row in rows)
    with (tmp_path / "train" / "metadata.csv").open(newline="") as table:
        assert next(csv.reader(table)) == ["file_name", "transcription"]


def test_a_full_store_refuses_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(contributions, "MAX_CLIPS", 1)
    store = contributions.ContributionStore(tmp_path)
    store.add(np.zeros(RATE, np.float32), "ett")
    with pytest.raises(OSError, match="enough"):
        store.add(np.zeros(RATE, np.float32), "två")


def test_a_clip_is_deleted_by_its_code_only(tmp_path):
    store = contributions.ContributionStore(tmp_path)
    assert not store.delete("3f2a9c81d04e.wav")  # nothing was contributed yet
    names = [store.add(np.zeros(RATE, np.float32), text) for text in ("ett", 'två, "2"', "tre")]
    for wrong_code in ("", "file_name", "../train/" + names[0], "*", names[0][:6]):
        assert not store.delete(wrong_code)
    assert store.delete(f" {names[1].removesuffix('.wav')} ")
    assert not store.delete(names[1])
    assert [(row.clip, row.text) for row in folder.list_rows(tmp_path, max_seconds=30.0)] == [
        (f"train/{names[0]}", "ett"), (f"train/{names[2]}", "tre"),
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "train").glob("*.wav")) == sorted([names[0], names[2]])


def test_the_flow_excludes_a_clip_by_its_code(tmp_path):
    name = contributions.ContributionStore(tmp_path).add(np.zeros(RATE, np.float32), "ett")
    (row,) = folder.list_rows(tmp_path, max_seconds=30.0)
    assert name in row.names


def test_a_space_without_a_dataset_stores_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("TEACH_REPO", "TEACH_FOLDER", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    store = contributions.open_store()
    assert store and store.folder == tmp_path / "taught" and not store.folder.exists()
    monkeypatch.setenv("SPACE_ID", "me/space")
    assert contributions.open_store() is None


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A dataset on the Hub with one row; its attributes record the calls."""
    import huggingface_hub

    class Scheduler:
        private = True

        def __init__(self, **options):
            import threading

            hub.options, self.lock, self.repo_id, self.api = options, threading.Lock(), options["repo_id"], self

        def repo_info(self, *_, **__):
            return self

        def stop(self):
            hub.stopped = True

        def delete_file(self, path, repo, repo_type):
            hub.deleted = (path, repo, repo_type)

    class hub:
        scheduler = Scheduler

    table = tmp_path / "existing.csv"
    table.write_text("file_name,transcription\nold.wav,gammal\n")
    monkeypatch.setattr(huggingface_hub, "CommitScheduler", Scheduler)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(table))
    monkeypatch.setenv("TEACH_REPO", "me/taught")
    monkeypatch.setenv("TEACH_FOLDER", str(tmp_path / "taught"))
    return hub


def test_a_hub_dataset_keeps_its_rows_when_a_space_restarts(hub, tmp_path):
    store = contributions.open_store()
    assert (hub.options["repo_type"], hub.options["private"], store.repo) == ("dataset", True, "me/taught")
    name = store.add(np.zeros(RATE, np.float32), "ny")
    table = (tmp_path / "taught" / "train" / "metadata.csv").read_text().splitlines()
    assert table == ["file_name,transcription", "old.wav,gammal", f"{name},ny"]
    assert store.delete("old")
    assert hub.deleted == ("train/old.wav", "me/taught", "dataset")


def test_a_public_dataset_is_refused(hub):
    hub.scheduler.private = False
    with pytest.raises(ValueError, match="TEACH_REPO=me/taught cannot be used: it is public"):
        contributions.open_store()
    assert hub.stopped
