"""Clips in Parquet: nothing is lost on the way, and the same clips are the same bytes."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from asr.corpus import shards, sources
from asr.settings import Corpus

SPLITS = ("train", "validation", "test")


@pytest.fixture
def corpus(audiofolder):
    """Two fit clips a split, and one of train that holds no sound."""
    parts = {
        split: [{"file_name": f"{at}.flac", "text": f"hej {split} {at}", "speaker_id": "Åsa"} for at in range(2)]
        for split in SPLITS
    }
    parts["train"].append({"file_name": "none.wav", "text": "hej", "speaker_id": "Åsa"})
    made = audiofolder(parts)
    (made.path / "train" / "none.wav").write_bytes(b"")
    return made


def records(rows, corpus):
    """The record of each shard, under the key that its bytes would get."""
    made = []
    for part in shards.plan(rows, corpus):
        blob, clips, rejected = shards.pack(part, corpus)
        made.append(shards.describe(hashlib.sha256(blob).hexdigest(), len(blob), clips, rejected))
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 7, 500])
def test_every_clip_found_is_kept_or_rejected_whatever_the_shards(corpus, size):
    corpus = corpus.model_copy(update={"shard_clips": size})
    found = sources.rows(corpus)
    parts = records(found, corpus)
    summary = shards.summary(parts)
    assert len(parts) == -(-len(found) // size)
    assert (summary["found"], summary["kept"], summary["rejected"]) == (7, 6, 1)
    assert summary["clips"] == {"train": 2, "validation": 2, "test": 2}
    assert summary["hours"] == pytest.approx(6 / 3600)


def test_what_was_set_aside_is_listed_with_its_reason(corpus):
    table = shards.rejects(records(sources.rows(corpus), corpus))
    assert table.to_dict("records") == [{"clip": "train/none.wav", "reason": "unreadable audio"}]


def test_where_nothing_was_set_aside_the_list_keeps_its_columns(tiny, packed):
    table = shards.rejects([shards.describe("key", 1, packed[1], packed[2])])
    assert list(table) == ["clip", "reason"]
    assert table.empty


def test_a_split_left_without_a_clip_is_refused_with_the_reasons(corpus, refusal):
    for at in range(2):
        (corpus.path / "validation" / f"{at}.flac").unlink()
    line = refusal(shards.check, records(sources.rows(corpus), corpus))
    assert "validation" in line
    assert "2 missing file" in line


def test_pandas_reads_a_shard_as_it_is(packed):
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(packed[0]))
    assert list(table) == ["clip", "split", "text", "speaker", "seconds", "audio"]
    assert len(table) == len(packed[1]) == 48
    sound, rate = soundfile.read(io.BytesIO(table["audio"][0]["bytes"]))
    assert rate == 16_000
    assert len(sound) / rate == pytest.approx(table["seconds"][0], abs=0.001)
    assert any(set("åäö") & set(text) for text in table["text"])


def test_datasets_loads_a_shard_as_it_is(shard, tmp_path):
    import datasets

    loaded = datasets.load_dataset("parquet", data_files=str(shard), split="train", cache_dir=str(tmp_path / "hub"))
    loaded = loaded.cast_column("audio", datasets.Audio(decode=False))
    assert len(loaded) == 48
    assert loaded[0]["audio"]["bytes"][:4] == b"fLaC"
    assert loaded[0]["audio"]["path"] == loaded[0]["clip"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_read_in_order_across_shards(packed, shard, tiny, split):
    rows = sources.rows(tiny.corpus)
    paths = []
    for at, part in enumerate((rows[:20], rows[20:])):
        paths.append(shard.parent / f"{at}.parquet")
        paths[-1].write_bytes(shards.pack(part, tiny.corpus)[0])
    read = shards.read(paths, split)
    assert read["clip"][:] == [clip.clip for clip in packed[1] if clip.split == split]
    assert read[0]["audio"]["bytes"][:4] == b"fLaC"


def test_a_shard_whose_clips_are_all_unfit_is_read_as_none(packed, shard, tiny):
    empty = shard.parent / "empty.parquet"
    rows = [replace(row, text="") for row in sources.rows(tiny.corpus)[:3]]
    empty.write_bytes(shards.pack(rows, tiny.corpus)[0])
    assert len(shards.read([empty, shard], "train")) == len(shards.read([shard], "train"))


def test_reading_leaves_nothing_behind_once_the_shards_are_gone(shard, tmp_path):
    """Else every trial of every run would leave the whole corpus in the user's cache, for good."""
    shards.read([shard], "train")
    assert list((tmp_path / "cache").rglob("*.arrow")) == []


def test_the_same_clips_are_the_same_bytes(packed, tiny):
    assert shards.pack(sources.rows(tiny.corpus), tiny.corpus)[0] == packed[0]


def test_the_fingerprint_stays_while_the_clips_do(corpus):
    rows = sources.rows(corpus)
    prints = {shards.summary(records(rows, corpus))["fingerprint"] for _ in range(2)}
    assert len(prints) == 1
    assert len(prints.pop()) == 16


@pytest.mark.parametrize("what", [{"text": "hej då"}, {"split": "test"}, {"speaker": "Björn"}, {"clip": "other"}])
def test_the_fingerprint_changes_with_any_word_of_a_clip(corpus, what):
    rows = sources.rows(corpus)
    changed = [replace(rows[0], **what), *rows[1:]]
    assert shards.fingerprint(records(rows, corpus)) != shards.fingerprint(records(changed, corpus))


def test_the_fingerprint_changes_with_the_sound(corpus, tone):
    rows = sources.rows(corpus)
    before = shards.fingerprint(records(rows, corpus))
    soundfile.write(rows[0].audio, np.roll(tone(), 5), 16_000)
    assert shards.fingerprint(records(rows, corpus)) != before


def test_only_training_texts_reach_the_tokenizer(packed):
    record = shards.describe("key", 1, packed[1], packed[2])
    assert record.texts == tuple(clip.text for clip in packed[1] if clip.clip.startswith("train/"))


def test_the_sample_is_fit_to_the_last_clip(packed):
    assert packed[2] == []


def test_a_corpus_with_no_limit_is_planned_whole():
    rows = list(range(1_234))
    assert [len(part) for part in shards.plan(rows, Corpus())] == [500, 500, 234]
    assert [row for part in shards.plan(rows, Corpus()) for row in part] == rows
