"""From a folder of speech to rows: what is read, and what is refused."""

import hashlib
from collections import Counter

import pytest
from asr.corpus import sources
from asr.settings import Corpus

SPLITS = ("train", "validation", "test")
SWEDISH = ["Åsa köper ägg på lördag.", 'Hon sade: "Hej, du!"', "noll", "NA", "007"]


def each(names=("a.flac",), **more):
    """The same rows below train, validation and test."""
    return {split: [{"file_name": name, "transcription": "hej", **more} for name in names] for split in SPLITS}


def said(rows):
    return [row.text for row in rows if row.split == "train"]


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_is_read_from_csv_jsonl_and_parquet_word_for_word(audiofolder, metadata):
    parts = each(speaker_id="kvinna 1")
    parts["train"] = [
        {"file_name": f"{at}.flac", "transcription": text, "speaker_id": "17"} for at, text in enumerate(SWEDISH)
    ]
    corpus = audiofolder(parts, metadata)
    rows = sources.rows(corpus)
    assert said(rows) == SWEDISH
    assert {row.speaker for row in rows} == {"17", "kvinna 1"}
    assert Counter(row.split for row in rows) == {"train": len(SWEDISH), "validation": 1, "test": 1}
    assert all(row.audio.is_file() for row in rows)
    assert rows[0].clip == "train/0.flac"


@pytest.mark.parametrize("column", ["transcription", "sentence", "text"])
def test_the_text_may_stand_under_any_of_the_usual_names(audiofolder, column):
    corpus = audiofolder({split: [{"file_name": "a.flac", column: "hej på dig"}] for split in SPLITS})
    assert said(sources.rows(corpus)) == ["hej på dig"]


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_a_byte_order_mark_does_not_hide_a_column(audiofolder, metadata):
    parts = each()
    parts["train"][0]["transcription"] = SWEDISH[0]
    assert said(sources.rows(audiofolder(parts, metadata, encoding="utf-8-sig"))) == [SWEDISH[0]]


def test_without_speakers_every_clip_speaks_for_itself(audiofolder):
    assert {row.speaker for row in sources.rows(audiofolder(each()))} == {None}


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("nobody", [None, ""])
def test_an_empty_cell_of_a_speaker_is_no_speaker(audiofolder, metadata, nobody):
    """Else all clips without one would count as one person's."""
    parts = each(speaker_id=nobody)
    parts["train"].append({"file_name": "b.flac", "transcription": "hej", "speaker_id": "Åsa"})
    assert {row.speaker for row in sources.rows(audiofolder(parts, metadata))} == {None, "Åsa"}


def test_a_missing_text_is_an_empty_one_for_the_judge_to_set_aside(audiofolder):
    parts = each()
    parts["train"].append({"file_name": "b.flac", "transcription": None})
    assert said(sources.rows(audiofolder(parts, "metadata.parquet"))) == ["hej", ""]


def test_clips_may_lie_in_folders_of_their_own(audiofolder):
    rows = sources.rows(audiofolder(each(["åäö/1.flac"])))
    assert rows[0].clip == "train/åäö/1.flac"
    assert rows[0].audio.is_file()


def people(count):
    return {
        "": [
            {"file_name": f"{who}-{take}.flac", "text": "hej", "speaker_id": f"p{who}"}
            for who in range(count)
            for take in range(2)
        ]
    }


def test_without_split_folders_no_speaker_stands_on_two_sides(audiofolder):
    rows = sources.rows(audiofolder(people(60)))
    sides = {(row.speaker, row.split) for row in rows}
    assert len(sides) == 60
    shares = Counter(split for _, split in sides)
    assert set(shares) == set(SPLITS)
    assert shares["train"] > 40


def test_a_carved_split_stays_as_the_corpus_grows(audiofolder):
    before = {row.clip: row.split for row in sources.rows(audiofolder(people(40)))}
    after = {row.clip: row.split for row in sources.rows(audiofolder(people(60)))}
    assert len(after) > len(before)
    assert {clip: after[clip] for clip in before} == before


def test_a_carved_split_is_the_same_on_every_machine(audiofolder):
    """Python's own hash differs from process to process; this does not."""
    rows = sources.rows(audiofolder(people(60)))
    listing = " ".join(f"{row.clip}:{row.split}" for row in rows).encode()
    assert hashlib.sha256(listing).hexdigest()[:8] == "7040b7bc"


def test_a_limit_takes_the_first_clips_of_each_split(audiofolder):
    rows = sources.rows(audiofolder(each(["a.flac", "b.flac", "c.flac"]), limit_clips=2))
    assert [row.clip for row in rows] == [f"{split}/{name}.flac" for split in SPLITS for name in "ab"]


def test_the_sample_needs_no_path():
    rows = sources.rows(Corpus(limit_clips=1))
    assert [row.split for row in rows] == list(SPLITS)
    assert all(row.audio.is_file() for row in rows)


def test_a_missing_folder_is_refused(tmp_path, refusal):
    line = refusal(sources.rows, Corpus(source="folder", path=tmp_path / "nowhere"))
    assert "[corpus] path" in line
    assert str(tmp_path / "nowhere") in line


def test_a_file_instead_of_a_folder_is_refused(tmp_path, refusal):
    (tmp_path / "speech.zip").touch()
    assert "no folder" in refusal(sources.rows, Corpus(source="folder", path=tmp_path / "speech.zip"))


def test_a_folder_without_metadata_is_refused(tmp_path, refusal):
    line = refusal(sources.rows, Corpus(source="folder", path=tmp_path))
    assert "metadata.csv" in line
    assert str(tmp_path) in line


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00 neither \xe5 nor {"])
def test_metadata_that_cannot_be_read_is_refused(audiofolder, refusal, metadata, content):
    corpus = audiofolder(each(), metadata)
    (corpus.path / "train" / metadata).write_bytes(content)
    line = refusal(sources.rows, corpus)
    assert "[corpus] path" in line
    assert metadata in line


def test_a_missing_column_is_refused_with_those_that_are_there(audiofolder, refusal):
    line = refusal(sources.rows, audiofolder({split: [{"file_name": "a.flac", "words": "hej"}] for split in SPLITS}))
    assert "transcription or sentence or text" in line
    assert "file_name, words" in line


@pytest.mark.parametrize("missing", SPLITS)
def test_a_missing_split_is_refused_by_its_name(audiofolder, refusal, missing):
    parts = each()
    del parts[missing]
    assert f"no clip for {missing}" in refusal(sources.rows, audiofolder(parts))


def test_an_empty_corpus_is_refused(audiofolder, refusal):
    corpus = audiofolder(each())
    for split in SPLITS:
        (corpus.path / split / "metadata.csv").write_text("file_name,transcription\n")
    assert "no clip for train" in refusal(sources.rows, corpus)


@pytest.mark.parametrize("again", ["a.flac", "./a.flac", "b/../a.flac"])
def test_a_clip_that_is_listed_twice_is_refused(audiofolder, refusal, again):
    parts = each()
    parts["train"].append({"file_name": again, "transcription": "hej då"})
    line = refusal(sources.rows, audiofolder(parts))
    assert "more than once" in line
    assert "a.flac" in line


def test_training_cannot_borrow_a_clip_of_test(audiofolder, refusal):
    parts = each()
    parts["train"].append({"file_name": "../test/a.flac", "transcription": "hej"})
    refusal(sources.rows, audiofolder(parts))


@pytest.mark.parametrize("name", ["../../secret.flac", "/etc/passwd", "../../../etc/passwd"])
def test_a_name_that_leads_out_of_the_corpus_is_refused(audiofolder, refusal, name):
    parts = each()
    parts["train"].append({"file_name": name, "transcription": "hej"})
    line = refusal(sources.rows, audiofolder(parts))
    assert name in line
    assert "outside" in line
