"""Retained speech in another language: validated by its own rules, and kept separate."""

import pytest
from asr.corpus import manifest, shards, sources
from asr.corpus.shards import SpeechDataset
from asr.settings import Settings

SPLITS = ("train", "validation", "test")
SWEDISH = [{"file_name": f"{at}.flac", "text": "Åsa har 7 ägg"} for at in range(2)]
RUSSIAN = [{"file_name": f"{at}.flac", "text": "Аня видит 7 птиц"} for at in range(3)]


@pytest.fixture
def two_languages(audiofolder):
    """A function that returns the settings of a Swedish corpus with retained Russian."""

    def make(russian_splits=SPLITS, russian_rows=RUSSIAN, text=None, **keys):
        swedish_path = audiofolder(dict.fromkeys(SPLITS, SWEDISH), folder_name="swedish").corpus.path
        russian_path = audiofolder(dict.fromkeys(russian_splits, russian_rows), folder_name="russian").corpus.path
        own = {"source": "folder", "path": swedish_path, "name": "own"}
        other = {"source": "folder", "path": russian_path, "name": "other", "language": "ru", **keys}
        return Settings.model_validate(
            {"corpus": {"sources": [own, other]}, "model": {"base": "a/whisper"}, "text": text or {}}
        )

    return make


@pytest.fixture
def read_speech(store, tmp_path):
    """A function that returns a corpus as training reads it."""
    return lambda joined: SpeechDataset(joined.shards, tmp_path / "shards", store.fetch)


def test_every_clip_is_validated_by_the_rules_of_its_own_language(
    two_languages, store, preprocess, read_clips, tmp_path
):
    writing = ["unicode", "numbers"]
    clips = read_clips(preprocess(two_languages(text={"writing": writing}), store)[1], store, tmp_path / "shards")
    assert clips.loc["own/train/0.flac", "text"] == "Åsa har sju ägg"
    assert clips.loc["other/train/0.flac", "text"] == "Аня видит семь птиц"


def test_the_alphabet_applies_only_to_the_corpus_own_language(two_languages, store, preprocess):
    joined = preprocess(two_languages(text={"alphabet": "abcdefghijklmnopqrstuvwxyzåäö"}), store)[1]
    assert joined.rejected.empty


def test_letters_of_neither_language_are_foreign(two_languages, store, preprocess):
    joined = preprocess(two_languages(russian_rows=[*RUSSIAN, {"file_name": "x.flac", "text": "ω"}]), store)[1]
    assert set(joined.rejected["clip"]) == {f"other/{split}/x.flac" for split in SPLITS}
    assert set(joined.rejected["reason"]) == {"foreign letters"}


def test_training_mixes_both_languages_and_other_splits_keep_them_apart(two_languages, store, preprocess, read_speech):
    speech = read_speech(preprocess(two_languages(), store)[1])
    assert sorted(speech.split("train")["source"]) == ["other"] * 3 + ["own"] * 2
    for split in ("validation", "test"):
        assert speech.split(split)["source"][:] == ["own"] * 2
        retained = speech.retained(split)
        assert list(retained) == ["ru"]
        assert retained["ru"]["source"][:] == ["other"] * 3


def test_a_corpus_of_one_language_has_no_retained_speech(speech):
    assert speech.retained("validation") == speech.retained("test") == {}


def test_retained_speech_with_weight_zero_is_not_prepared_for_training(two_languages, store, preprocess, read_speech):
    joined = preprocess(two_languages(weight=0.0), store)[1]
    assert joined.summary["retained"] == {"ru": {"train": 0, "validation": 3, "test": 3}}
    assert set(read_speech(joined).split("train")["source"]) == {"own"}


def test_the_summary_separates_the_languages_and_adds_up(two_languages, store, preprocess):
    summary = preprocess(two_languages(russian_rows=[*RUSSIAN, {"file_name": "x.flac", "text": "ω"}]), store)[1].summary
    assert (summary["found"], summary["kept"], summary["rejected"]) == (18, 15, 3)
    assert summary["clips"] == dict.fromkeys(SPLITS, 2)
    assert summary["retained"] == {"ru": dict.fromkeys(SPLITS, 3)}
    assert summary["hours"] == pytest.approx(6 / 3600) == pytest.approx(sum(summary["split_hours"].values()))
    assert summary["sources"] == pytest.approx({"own": 6 / 3600, "other": 9 / 3600})


def test_retained_speech_needs_validation_and_no_test(two_languages, store, preprocess, read_speech, refusal):
    joined = preprocess(settings := two_languages(russian_splits=("train", "validation")), store)[1]
    manifest.check_splits(joined, settings.corpus)
    assert read_speech(joined).retained("test") == {}


def test_retained_speech_without_validation_is_refused(two_languages, refusal):
    assert refusal(sources.list_parts, two_languages(russian_splits=("train", "test")).corpus).endswith(
        "russian lists no clip for validation"
    )


def test_an_empty_retained_validation_split_is_refused_with_its_language(two_languages, store, preprocess, refusal):
    joined = preprocess(settings := two_languages(russian_rows=[{"file_name": "x.flac", "text": "ω"}]), store)[1]
    line = refusal(manifest.check_splits, joined, settings.corpus)
    assert line == "[corpus] no usable clip of validation in ru; rejected: 1 foreign letters"


def test_retained_speech_does_not_replace_a_split(two_languages, store, refusal, preprocess):
    settings = two_languages()
    only = settings.model_copy(update={"corpus": settings.corpus.model_copy(update={
        "sources": (settings.corpus.sources[0].model_copy(update={"weight": 0.0}), settings.corpus.sources[1])
    })})  # fmt: skip
    joined = preprocess(only, store)[1]
    assert refusal(manifest.check_splits, joined, only.corpus).endswith("training clips in sv has the weight 0")
    packed = preprocess(settings, store)[0][::-1]
    assert [packed[at].shards[0].retained for at in manifest.example_parts(packed)] == [None] * 3


def test_the_same_folder_in_another_language_is_another_part(two_languages):
    settings = two_languages()
    part = sources.list_parts(settings.corpus)[-1]
    other = settings.corpus.sources[1].model_copy(update={"language": "uk"})
    changed = settings.corpus.model_copy(update={"sources": (settings.corpus.sources[0], other)})
    cache_keys = [
        shards.part_cache_key(part, profile) for profile in (settings, settings.model_copy(update={"corpus": changed}))
    ]
    assert part.source == "other" and cache_keys[0] != cache_keys[1]
