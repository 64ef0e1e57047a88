"""From sources to parts: splits, limits, names and mixtures."""

import hashlib
from collections import Counter

import pytest
from asr.corpus import sources
from asr.corpus.splits import assign_split
from asr.settings import Corpus, Settings

SPLITS = ("train", "validation", "test")


def in_each_split(names=("a.flac",), **cells):
    """The same rows in each of train, validation and test."""
    return {split: [{"file_name": name, "text": "hej", **cells} for name in names] for split in SPLITS}


def speaker_rows(count):
    return {
        "": [
            {"file_name": f"{speaker}-{number}.flac", "text": "hej", "speaker_id": f"p{speaker}"}
            for speaker in range(count)
            for number in range(2)
        ]
    }


def listed(settings):
    return [row for part in sources.list_parts(settings.corpus) for row in part.rows]


def test_the_sample_needs_no_path():
    rows = listed(Settings.model_validate({"corpus": {"limit_clips": 1}}))
    assert [row.split for row in rows] == [*SPLITS]
    assert all(row.audio.is_file() and row.source == "sample" for row in rows)


@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_a_part_holds_some_rows_of_one_split_and_all_rows_are_in_one(audiofolder, size):
    parts = sources.list_parts(audiofolder(in_each_split("abcde"), shard_clips=size).corpus)
    assert [len(part.rows) for part in parts] == 3 * ([size] * (5 // size) + [5 % size] * (5 % size > 0))
    assert all(len({row.split for row in part.rows}) == 1 for part in parts)
    assert [row.clip for part in parts for row in part.rows] == [
        f"{split}/{name}" for split in SPLITS for name in "abcde"
    ]


def test_without_split_folders_no_speaker_is_in_two_splits(audiofolder):
    speaker_splits = {(row.speaker, row.split) for row in listed(audiofolder(speaker_rows(60)))}
    assert len(speaker_splits) == 60
    shares = Counter(split for _, split in speaker_splits)
    assert set(shares) == {*SPLITS}
    assert shares["train"] > 40


def test_an_assigned_split_stays_as_the_corpus_grows(audiofolder):
    before = {row.clip: row.split for row in listed(audiofolder(speaker_rows(40)))}
    after = {row.clip: row.split for row in listed(audiofolder(speaker_rows(60)))}
    assert len(after) > len(before)
    assert {clip: after[clip] for clip in before} == before


def test_an_assigned_split_is_the_same_on_every_machine(audiofolder):
    """Python's own hash differs between processes; this one does not."""
    rows = sorted(listed(audiofolder(speaker_rows(60))), key=lambda row: (int(row.speaker[1:]), row.clip))
    listing = " ".join(f"{row.clip}:{row.split}" for row in rows).encode()
    assert hashlib.sha256(listing).hexdigest()[:8] == "7040b7bc"


def test_a_limit_takes_the_first_clips_of_each_split(audiofolder):
    rows = listed(audiofolder(in_each_split(["a.flac", "b.flac", "c.flac"]), limit_clips=2))
    assert [row.clip for row in rows] == [f"{split}/{name}.flac" for split in SPLITS for name in "ab"]


@pytest.mark.parametrize("size", [3, 5, 500])
def test_a_limit_of_hours_holds_for_each_split_over_all_its_parts(audiofolder, preprocess, store, size):
    settings = audiofolder(in_each_split(list(map(str, range(20)))), limit_hours=9.5 / 3600, shard_clips=size)
    packed, joined = preprocess(settings, store)
    max_seconds = 9.5 + len(packed) / 3  # each part ends with the clip that reaches its share
    assert all(9 < hours * 3600 < max_seconds for hours in joined.summary["split_hours"].values())


@pytest.mark.parametrize("missing", SPLITS)
def test_a_missing_split_is_refused_by_its_name(audiofolder, refusal, missing):
    parts = in_each_split()
    del parts[missing]
    assert f"lists no clip for {missing}" in refusal(sources.list_parts, audiofolder(parts).corpus)


def test_a_split_missing_from_metadata_at_the_top_is_not_assigned(audiofolder, refusal):
    names = [f"{split}/{at}.flac" for split in ("train", "test") for at in range(20)]
    corpus = audiofolder({"": [{"file_name": name, "text": "hej"} for name in names]}).corpus
    assert "lists no clip for validation" in refusal(sources.list_parts, corpus)


def test_an_empty_corpus_is_refused(audiofolder, refusal, tmp_path):
    settings = audiofolder(in_each_split())
    for split in SPLITS:
        (tmp_path / "corpus" / split / "metadata.csv").write_text("file_name,transcription\n")
    line = refusal(sources.list_parts, settings.corpus)
    assert "lists no clip for train" in line
    assert str(tmp_path / "corpus") in line


@pytest.mark.parametrize("repeated_name", ["a.flac", "./a.flac", "b/../a.flac"])
def test_a_clip_listed_twice_is_rejected_and_the_first_stays(audiofolder, repeated_name):
    parts = in_each_split()
    parts["train"].append({"file_name": repeated_name, "text": "hej då"})
    first, second, *_ = listed(audiofolder(parts))
    assert (first.text, first.problem, second.text, second.problem) == ("hej", None, "hej då", "listed twice")
    assert second.audio is None


def test_a_row_with_a_problem_keeps_it_when_listed_twice(audiofolder):
    parts = in_each_split()
    parts["train"] += [{"file_name": "../../b.flac", "text": "hej"}] * 2
    assert [row.problem for row in listed(audiofolder(parts))][1:3] == ["outside the folder"] * 2


def test_a_name_in_two_unicode_forms_is_one_speaker(audiofolder):
    """macOS writes å as two code points, and Windows as one."""
    parts = in_each_split(speaker_id="Åsa")
    parts["train"] = in_each_split(speaker_id="A\u030asa")["train"]
    assert {row.speaker for row in listed(audiofolder(parts))} == {"Åsa"}
    assert assign_split("Åsa") == assign_split("A\u030asa")


@pytest.fixture
def mixed(audiofolder):
    """A function from keys of [corpus] to the settings of a mixture of two folders."""

    def make(first=None, second=None, **keys):
        first_folder = audiofolder(in_each_split(speaker_id="Åsa"), folder_name="one").corpus.path
        second_folder = audiofolder(in_each_split(["b.flac"], speaker_id="Åsa"), folder_name="two").corpus.path
        source_list = [
            {"source": "folder", "name": "one", "path": first_folder, **(first or {})},
            {"source": "folder", "name": "two", "path": second_folder, **(second or {})},
        ]
        return Settings.model_validate({"corpus": {"sources": source_list, "speakers_may_cross": True, **keys}})

    return make


def test_mixed_sources_keep_their_names_clips_and_speakers_apart(mixed):
    rows = listed(mixed())
    assert {(row.source, row.speaker) for row in rows} == {("one", "one/Åsa"), ("two", "two/Åsa")}
    assert {row.clip for row in rows if row.split == "test"} == {"one/test/a.flac", "two/test/b.flac"}


def test_each_of_several_sources_has_its_own_limit(mixed):
    rows = listed(
        mixed(first={"limit_clips": 1}, second={"source": "sample", "name": "sample", "path": None, "limit_clips": 2})
    )
    assert Counter((row.source, row.split) for row in rows) == {
        (name, split): count for name, count in (("one", 1), ("sample", 2)) for split in SPLITS
    }


def test_one_of_several_sources_may_lack_a_split(mixed, tmp_path):
    settings = mixed()
    for split in ("validation", "test"):
        (tmp_path / "two" / split / "metadata.csv").unlink()
        (tmp_path / "two" / split / "b.flac").unlink()
    assert Counter(row.source for row in listed(settings)) == {"one": 3, "two": 1}


@pytest.mark.parametrize(
    ("exclude", "excluded_count"),
    [
        (["Åsa"], 6), (["two/Åsa"], 3), (["one/test/a.flac"], 1), (["test/a.flac", "train/a.flac"], 2),
        (["two/train/b.flac", "one/Åsa"], 4), (["Anna", "a.flac", "one", ""], 0),
    ],
)  # fmt: skip
def test_a_clip_or_speaker_of_a_mixture_is_excluded_with_or_without_its_source(
    mixed, preprocess, store, exclude, excluded_count
):
    _, joined = preprocess(mixed(exclude=exclude), store)
    assert joined.summary["reasons"] == ({"excluded": excluded_count} if excluded_count else {})
    assert joined.summary["kept"] == 6 - excluded_count


def test_every_report_of_a_mixture_names_its_sources(mixed, preprocess, store, read_clips, tmp_path):
    settings = mixed()
    _, joined = preprocess(settings, store)
    assert joined.summary["sources"] == pytest.approx({"one": 3 / 3600, "two": 3 / 3600})
    assert Counter(read_clips(joined, store, tmp_path / "shards")["source"]) == {"one": 3, "two": 3}


def test_a_corpus_of_one_source_is_its_only_source():
    corpus = Corpus()
    assert corpus.all_sources == (corpus,)
