"""Retained speech in another language: validated by its own rules, and kept separate."""

import pytest
from asr.corpus import manifest, shards, sources
from asr.corpus.shards import SpeechDataset
from asr.settings import Settings

SPLITS = ("train", "validation", "test")
SWEDISH = [{"file_name": f"{at}.flac", "text": "Åsa har 7 ägg"} for at in range(2)]
RUSSIAN = [{"file_name": f"{at}.flac", "text": "Аня видит 7 птиц"} for at in range(3)]


@pytest.fixture
def two(audiofolder):
    """A function to the settings of a Swedish corpus with Russian beside it."""

    def make(russian=SPLITS, given=RUSSIAN, text=None, **more):
        swedish = audiofolder(dict.fromkeys(SPLITS, SWEDISH), place="swedish").corpus.path
        beside = audiofolder(dict.fromkeys(russian, given), place="russian").corpus.path
        own = {"source": "folder", "path": swedish, "name": "own"}
        other = {"source": "folder", "path": beside, "name": "other", "language": "ru", **more}
        return Settings.model_validate(
            {"corpus": {"sources": [own, other]}, "model": {"base": "a/whisper"}, "text": text or {}}
        )

    return make


@pytest.fixture
def spoken(store, tmp_path):
    """A function to a corpus as training reads it."""
    return lambda joined: SpeechDataset(joined.shards, tmp_path / "shards", store.fetch)


def test_every_clip_is_validated_by_the_rules_of_its_own_language(two, store, preprocess, heard, tmp_path):
    writing = ["unicode", "numbers"]
    clips = heard(preprocess(two(text={"writing": writing}), store)[1], store, tmp_path / "shards")
    assert clips.loc["own/train/0.flac", "text"] == "Åsa har sju ägg"
    assert clips.loc["other/train/0.flac", "text"] == "Аня видит семь птиц"


def test_an_alphabet_is_that_of_the_corpus_own_language(two, store, preprocess):
    joined = preprocess(two(text={"alphabet": "abcdefghijklmnopqrstuvwxyzåäö"}), store)[1]
    assert joined.rejected.empty


def test_letters_that_neither_has_are_foreign(two, store, preprocess):
    joined = preprocess(two(given=[*RUSSIAN, {"file_name": "x.flac", "text": "ω"}]), store)[1]
    assert set(joined.rejected["clip"]) == {f"other/{split}/x.flac" for split in SPLITS}
    assert set(joined.rejected["reason"]) == {"foreign letters"}


def test_training_holds_both_and_the_other_splits_the_corpus_own(two, store, preprocess, spoken):
    speech = spoken(preprocess(two(), store)[1])
    assert sorted(speech.split("train")["source"]) == ["other"] * 3 + ["own"] * 2
    for split in ("validation", "test"):
        assert speech.split(split)["source"][:] == ["own"] * 2
        retained = speech.retained(split)
        assert list(retained) == ["ru"]
        assert retained["ru"]["source"][:] == ["other"] * 3


def test_where_every_source_speaks_the_corpus_language_there_is_none(speech):
    assert speech.retained("validation") == speech.retained("test") == {}


def test_retained_speech_with_weight_zero_is_not_prepared_for_training(two, store, preprocess, spoken):
    joined = preprocess(two(weight=0.0), store)[1]
    assert joined.summary["retained"] == {"ru": {"train": 0, "validation": 3, "test": 3}}
    assert set(spoken(joined).split("train")["source"]) == {"own"}


def test_the_summary_separates_both_and_found_is_kept_plus_rejected(two, store, preprocess):
    summary = preprocess(two(given=[*RUSSIAN, {"file_name": "x.flac", "text": "ω"}]), store)[1].summary
    assert (summary["found"], summary["kept"], summary["rejected"]) == (18, 15, 3)
    assert summary["clips"] == dict.fromkeys(SPLITS, 2)
    assert summary["retained"] == {"ru": dict.fromkeys(SPLITS, 3)}
    assert summary["hours"] == pytest.approx(6 / 3600) == pytest.approx(sum(summary["split_hours"].values()))
    assert summary["sources"] == pytest.approx({"own": 6 / 3600, "other": 9 / 3600})


def test_retained_speech_needs_validation_and_no_test(two, store, preprocess, spoken, refusal):
    joined = preprocess(settings := two(russian=("train", "validation")), store)[1]
    manifest.check_splits(joined, settings.corpus)
    assert spoken(joined).retained("test") == {}


def test_without_validation_it_is_refused(two, refusal):
    assert refusal(sources.list_parts, two(russian=("train", "test")).corpus).endswith(
        "russian lists no clip for validation"
    )


def test_an_empty_retained_validation_split_is_refused_with_its_language(two, store, preprocess, refusal):
    joined = preprocess(settings := two(given=[{"file_name": "x.flac", "text": "ω"}]), store)[1]
    line = refusal(manifest.check_splits, joined, settings.corpus)
    assert line == "[corpus] no usable clip of validation in ru; rejected: 1 foreign letters"


def test_retained_speech_does_not_replace_a_split(two, store, refusal, preprocess):
    settings = two()
    only = settings.model_copy(update={"corpus": settings.corpus.model_copy(update={
        "sources": (settings.corpus.sources[0].model_copy(update={"weight": 0.0}), settings.corpus.sources[1])
    })})  # fmt: skip
    joined = preprocess(only, store)[1]
    assert refusal(manifest.check_splits, joined, only.corpus).endswith("training clips in sv has the weight 0")
    packed = preprocess(settings, store)[0][::-1]
    assert [packed[at].shards[0].retained for at in manifest.example_parts(packed)] == [None] * 3


def test_the_same_folder_in_another_language_is_another_part(two):
    settings = two()
    part = sources.list_parts(settings.corpus)[-1]
    other = settings.corpus.sources[1].model_copy(update={"language": "uk"})
    changed = settings.corpus.model_copy(update={"sources": (settings.corpus.sources[0], other)})
    recipes = [shards.part_cache_key(part, one) for one in (settings, settings.model_copy(update={"corpus": changed}))]
    assert part.source == "other" and recipes[0] != recipes[1]
