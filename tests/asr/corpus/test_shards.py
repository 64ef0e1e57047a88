"""Shards: no clip is lost, any Parquet reader reads them, and unchanged ones are reused."""

import io
import shutil
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from asr.corpus import clips, shards, sources
from asr.corpus.rows import Row
from asr.corpus.shards import SpeechDataset
from asr.settings import Settings

SPLITS = ("train", "validation", "test")
SRT = "1\n00:00:00,000 --> 00:00:00,400\nHej!\n\n2\n00:00:00,500 --> 00:00:00,900\nJa.\n"


@pytest.fixture
def corpus(audiofolder, tmp_path):
    """Two valid clips per split and an empty file in train, with one clip per shard."""
    parts = {
        split: [
            {"file_name": f"{at}.flac", "text": f"hej {split} {at}", "speaker_id": f"{split} {at}"} for at in range(2)
        ]
        for split in SPLITS
    }
    parts["train"].append({"file_name": "none.wav", "text": "hej", "speaker_id": "Åsa"})
    settings = audiofolder(parts, shard_clips=1)
    (tmp_path / "corpus" / "train" / "none.wav").write_bytes(b"")
    return settings


@pytest.fixture
def train(tmp_path):
    """The folder of the training clips."""
    return tmp_path / "corpus" / "train"


def is_reused(packed):
    return [part.is_reused for part in packed]


def changed(settings, table, **keys):
    profile = settings.model_dump()
    return Settings.model_validate({**profile, table: {**profile[table], **keys}})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 500])
def test_every_clip_found_is_accepted_or_rejected_whatever_the_shards(corpus, store, preprocess, size):
    packed, joined = preprocess(changed(corpus, "corpus", shard_clips=size), store)
    summary = joined.summary
    assert (summary["found"], summary["kept"], summary["rejected"]) == (7, 6, 1)
    assert summary["clips"] == {"train": 2, "validation": 2, "test": 2}
    assert summary["hours"] == pytest.approx(6 / 3600)
    assert all(len(shard.clips) <= size for shard in joined.shards)
    assert joined.rejected.to_dict("records") == [
        {"clip": "train/none.wav", "reason": "unreadable audio", "split": "train"}
    ]
    assert all(str(part).endswith("rejected") for part in packed)


def test_every_clip_of_the_sample_is_accepted(joined):
    assert joined.summary["reasons"] == {}
    assert joined.summary["clips"] == dict.fromkeys(SPLITS, 16)


def test_pandas_reads_a_shard(joined, speech):
    import pandas as pd

    speech.split("test")
    shard = next(shard for shard in joined.shards if shard.split == "test")
    table = pd.read_parquet(speech.folder / shard.key)
    assert list(table) == ["clip", "split", "source", "text", "speaker", "seconds", "segments", "audio"]
    assert table["clip"].tolist() == shard.clips["clip"].tolist()
    assert set(table["source"]) == {"sample"}
    assert table["segments"].isna().all()
    sound, rate = soundfile.read(io.BytesIO(table["audio"][0]["bytes"]))
    assert rate == 16_000
    assert len(sound) / rate == pytest.approx(table["seconds"][0], abs=0.001)
    assert any(set("åäö") & set(text) for text in table["text"])


def test_datasets_loads_a_shard_with_its_audio(joined, speech, tmp_path):
    import datasets

    speech.split("train")
    files = [str(speech.folder / shard.key) for shard in joined.shards if shard.split == "train"]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "hub"))
    loaded = loaded.cast_column("audio", datasets.Audio(decode=False))
    assert len(loaded) == 16
    assert loaded[0]["audio"]["bytes"][:4] == b"fLaC"
    assert loaded[0]["audio"]["path"] == loaded[0]["clip"]


def test_a_shard_carries_the_fingerprint_of_its_clips(corpus, store, preprocess, tmp_path, tone, train):
    def fingerprints(settings):
        joined = preprocess(settings, store)[1]
        store.fetch([shard.key for shard in joined.shards], tmp_path / "shards")
        return [
            pq.read_metadata(tmp_path / "shards" / shard.key).metadata[b"fingerprint"].decode()
            for shard in joined.shards
        ]

    before = fingerprints(corpus)
    assert len(set(before)) == 6
    assert all(len(fingerprint) == 16 for fingerprint in before)
    soundfile.write(train / "0.flac", np.roll(tone(hertz=200), 5), 16_000)
    assert [old == new for old, new in zip(before, fingerprints(corpus), strict=True)] == [False] + [True] * 5


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_read_in_order_across_shards(joined, speech, split):
    dataset = speech.split(split)
    expected = [clip for shard in joined.shards if shard.split == split for clip in shard.clips["clip"]]
    assert len([shard for shard in joined.shards if shard.split == split]) == 2
    assert dataset["clip"][:] == expected
    assert dataset[0]["audio"]["bytes"][:4] == b"fLaC"


def test_only_accepted_clips_of_a_shard_are_read(audiofolder, store, preprocess, tmp_path):
    """Clips that were rejected while joining are still in the Parquet file."""
    parts = {
        split: [
            {"file_name": f"{at}.flac", "text": f"hej {at}", "speaker_id": str(at + 2 * (split == "test"))}
            for at in range(4)
        ]
        for split in SPLITS
    }
    joined = preprocess(audiofolder(parts, shard_clips=3), store)[1]
    speech = SpeechDataset(joined.shards, tmp_path / "shards", store.fetch)
    clips_read = {split: speech.split(split)["clip"][:] for split in SPLITS if joined.summary["clips"][split]}
    assert clips_read == {
        "validation": ["validation/0.flac", "validation/1.flac"], "test": [f"test/{at}.flac" for at in range(4)],
    }  # fmt: skip
    assert joined.summary["reasons"] == {"speaker in another split": 6}


def test_reading_writes_only_to_the_folder_of_the_shards(joined, tiny_store, tmp_path, monkeypatch):
    """Otherwise every trial of every run would leave the whole corpus in the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    SpeechDataset(joined.shards, tmp_path / "shards", tiny_store.fetch).split("train")
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    assert list((tmp_path / "shards").rglob("*.arrow"))


def test_times_of_a_recording_are_kept_beside_its_clips(corpus, store, preprocess, read_clips, train, tmp_path, tone):
    soundfile.write(train / "möte.wav", tone(2, 440), 16_000)
    (train / "möte.srt").write_text(SRT, encoding="utf-8")
    (train / "metadata.csv").write_text("file_name,transcript_file\nmöte.wav,möte.srt\n", encoding="utf-8")
    table = read_clips(preprocess(corpus, store)[1], store, tmp_path / "shards")
    row = table.loc["train/möte.wav#0.00-0.90"]
    assert (row["text"], row["seconds"]) == ("Hej! Ja.", 0.9)
    assert list(row["segments"]) == [
        {"start": 0.0, "end": 0.4, "text": "Hej!"}, {"start": 0.5, "end": 0.9, "text": "Ja."},
    ]  # fmt: skip


def test_training_texts_are_normalised_as_the_profile_says(corpus, store, preprocess, read_clips, train, tmp_path):
    text = "”Kl 8 – t ex” sa hon…"
    (train / "metadata.csv").write_text(f"file_name,text\n0.flac,{text}\n", encoding="utf-8")
    for writing, written in (
        (["unicode", "quotes", "dashes"], '"Kl 8 – t ex" sa hon...'),
        ([], text),
        (["lower", "numbers", "unpunctuated"], "kl åtta t ex sa hon"),
    ):
        joined = preprocess(changed(corpus, "text", writing=writing), store)[1]
        assert read_clips(joined, store, tmp_path / "shards").loc["train/0.flac", "text"] == written


def test_the_same_clips_are_the_same_bytes_and_the_same_fingerprint_anywhere(corpus, store, preprocess, tmp_path):
    first = preprocess(corpus, store)[1]
    moved = shutil.copytree(tmp_path / "corpus", tmp_path / "elsewhere" / "speech")
    settings = changed(corpus, "corpus", path=str(moved))
    second = preprocess(settings, store.in_folder(tmp_path / "other store"))[1]
    assert [shard.key for shard in first.shards] == [shard.key for shard in second.shards]
    assert first.summary == second.summary
    assert len(first.summary["fingerprint"]) == 16


@pytest.mark.parametrize("change", [{"text": "hej då"}, {"split": "test"}, {"speaker": "Björn"}, {"clip": "other"}])
def test_the_key_changes_with_any_field_of_a_clip(tone, change):
    row = Row("a", "train", "hej", "Åsa", clips.encode_flac(clips.to_pcm16(tone())))
    blobs = {}
    for variant in (row, row, replace(row, **change)):
        packed, _ = shards.pack_rows([variant], Settings(), lambda blob: blobs.setdefault(blob, str(len(blobs))))
        assert packed.shards[0].split == variant.split
    assert len(blobs) == 2


def test_a_second_run_rebuilds_nothing_and_reports_it(corpus, store, preprocess):
    first, before = preprocess(corpus, store)
    second, after = preprocess(corpus, store)
    assert not any(is_reused(first))
    assert all(is_reused(second))
    assert all("unchanged since an earlier run, not made again" in str(part) for part in second)
    assert after.summary == before.summary
    assert after.rejected.equals(before.rejected)


def test_a_reused_part_is_not_read(corpus, store, preprocess, monkeypatch):
    preprocess(corpus, store)
    monkeypatch.setattr(clips, "Recording", lambda file: pytest.fail("opened again"))
    assert all(is_reused(preprocess(corpus, store)[0]))


def test_a_moved_part_is_reused(corpus, store, preprocess, tmp_path):
    preprocess(corpus, store)
    moved = (tmp_path / "corpus").rename(tmp_path / "moved")
    assert all(is_reused(preprocess(changed(corpus, "corpus", path=str(moved)), store)[0]))


def rewrite(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


CHANGES = {
    # A change to the corpus, or keys of the profile, and how many of the seven parts are rebuilt.
    "a sound": (lambda train: (train / "0.flac").write_bytes((train.parent / "test" / "0.flac").read_bytes()), {}, 1),
    "a text": (lambda train: rewrite(train / "metadata.csv", "hej train 1", "hej då"), {}, 1),
    "a speaker": (lambda train: rewrite(train / "metadata.csv", "train 1\n", "Bo\n"), {}, 1),
    "a removed clip": (lambda train: (train / "1.flac").unlink(), {}, 1),
    "an added clip": (lambda train: (train / "none.wav").write_bytes((train / "1.flac").read_bytes()[:-1]), {}, 1),
    "its time stamp": (lambda train: (train / "0.flac").touch(), {}, 0),
    "an excluded speaker": (None, {"corpus": {"exclude": ["train 1"]}}, 1),
    "an unknown excluded speaker": (None, {"corpus": {"exclude": ["Åke"]}}, 0),
    "a threshold": (None, {"corpus": {"min_peak": 0.002}}, 7),
    "how texts are written": (None, {"text": {"writing": []}}, 7),
    "the alphabet": (None, {"text": {"alphabet": "abcdefghijklmnopqrstuvwxyzåäö"}}, 7),
    "the language": (None, {"corpus": {"language": "en"}}, 7),
    "how words are compared": (None, {"text": {"scoring": "lenient"}}, 0),
    "which duplicates are allowed": (None, {"corpus": {"speakers_may_cross": True, "duplicates_may_stay": True}}, 0),
    "training": (None, {"training": {"steps": 7}, "corpus": {"weight": 2.0}}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_only_changed_parts_are_rebuilt(corpus, store, preprocess, train, name):
    change, tables, rebuilt = CHANGES[name]
    preprocess(corpus, store)
    if change:
        change(train)
    for table, keys in tables.items():
        corpus = changed(corpus, table, **keys)
    assert Counter(is_reused(preprocess(corpus, store)[0]))[False] == rebuilt


def test_another_version_of_the_code_rebuilds_everything(corpus, store, preprocess, monkeypatch):
    preprocess(corpus, store)
    monkeypatch.setattr(shards, "_hash_code", lambda: "other")
    assert not any(is_reused(preprocess(corpus, store)[0]))


@pytest.mark.parametrize("lost", ["a record", "half a record", "a shard"])
def test_shards_lost_from_the_datastore_are_rebuilt(corpus, store, preprocess, tmp_path, lost):
    _, before = preprocess(corpus, store)
    part = sources.list_parts(corpus.corpus)[0]
    record = next((tmp_path / "store").rglob(shards.part_cache_key(part, corpus)))
    if lost == "a record":
        record.unlink()
    elif lost == "half a record":
        record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
    else:
        next((tmp_path / "store").rglob(before.shards[0].key)).unlink()
    packed, after = preprocess(corpus, store)
    assert is_reused(packed) == [False] + [True] * 6
    assert after.summary["fingerprint"] == before.summary["fingerprint"]
    assert store.has(before.shards[0].key)


def test_an_excluded_speaker_is_in_no_later_shard(corpus, store, preprocess, read_clips, tmp_path):
    before = preprocess(corpus, store)[1]
    assert "train 1" in set(read_clips(before, store, tmp_path / "shards")["speaker"])
    after = preprocess(changed(corpus, "corpus", exclude=["train 1"]), store)[1]
    assert "train 1" not in set(read_clips(after, store, tmp_path / "shards")["speaker"])
    assert after.summary["reasons"]["excluded"] == 1
    assert before.summary["fingerprint"] != after.summary["fingerprint"]


def test_packing_reports_progress(tone, monkeypatch):
    monkeypatch.setattr(shards, "REPORT_SECONDS", -1.0)
    rows = [
        Row(f"{at}", "train", "hej", None, clips.encode_flac(clips.to_pcm16(tone(hertz=300 + at)))) for at in range(3)
    ]
    lines = []
    shards.pack_rows([*rows, replace(rows[0], text="")], Settings(), lambda blob: "key", log=lines.append)
    assert lines[-1] == "3 clips accepted (0.00 h) so far, 0 rejected"


def test_example_clips_are_of_different_speakers(tone):
    rows = [
        Row(f"{at}", "train", "hej", f"p{at // 5}", clips.encode_flac(clips.to_pcm16(tone(hertz=300 + at))))
        for at in range(20)
    ]
    _, examples = shards.pack_rows(rows, Settings(), lambda blob: "key")
    assert len(examples) == shards.EXAMPLES_PER_SPLIT
    assert len({clip.speaker for clip in examples}) == len(examples)


def test_a_stream_of_several_splits_becomes_a_shard_for_each(tone):
    rows = [
        Row(f"{at}", SPLITS[at % 3], "hej", None, clips.encode_flac(clips.to_pcm16(tone(hertz=300 + at))))
        for at in range(9)
    ]
    packed, _ = shards.pack_rows(rows, Settings.model_validate({"corpus": {"shard_clips": 2}}), lambda blob: "key")
    assert Counter((shard.split, len(shard.clips)) for shard in packed.shards) == {
        (split, count): 1 for split in SPLITS for count in (2, 1)
    }


def test_the_code_hash_is_the_same_in_any_thread(corpus, store, preprocess):
    """Two tasks may build the same part in parallel and share its record."""
    results = []
    tasks = [threading.Thread(target=lambda: results.append(preprocess(corpus, store)[1])) for _ in range(2)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert results[0].summary["fingerprint"] == results[1].summary["fingerprint"]
