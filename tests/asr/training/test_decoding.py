"""What a model hears: in languages that it is not to forget, and in clips that are padded to 30 s."""

import pytest
from asr.settings import Corpus
from asr.training import decoding, models
from asr.training.dataset import FeatureDataset


def spoken(model, processor):
    tokens = processor.tokenizer("").input_ids
    return processor.tokenizer.convert_ids_to_tokens(tokens)[1], model.generation_config.language


def test_each_language_is_heard_in_its_own_and_the_corpus_is_spoken_again(tiny, base, speech, monkeypatch):
    model, processor = models.load(base)
    models.set_language(model, processor, "sv")
    asked = []

    def hear(model, processor, clips, chosen, say, context, exact):
        asked.append((*spoken(model, processor), list(chosen), context, exact))
        return [clips.texts[clip] for clip in chosen]

    monkeypatch.setattr(decoding, "transcribe_clips", hear)
    clips = FeatureDataset(speech.split("test").select(range(3)), processor)
    corpus = Corpus.model_validate({"sources": [{}, {"name": "english", "language": "en"}]})
    settings = tiny.model_copy(update={"corpus": corpus})
    found = decoding.errors_by_language(model, processor, {"en": clips, "de": clips}, settings, context=3000)
    assert asked == [(f"<|{code}|>", code, [0, 1, 2], 3000, False) for code in ("en", "de")]
    assert {language: [one.word_errors for one in errors] for language, errors in found.items()} == {
        "en": [0, 0, 0], "de": [0, 0, 0],
    }  # fmt: skip
    assert spoken(model, processor) == ("<|sv|>", "sv")


def test_both_languages_are_heard_by_one_model(tiny, whisper, speech, one_thread):
    clips = FeatureDataset(speech.split("test").select(range(2)), whisper[1])
    found = decoding.errors_by_language(*whisper, {"en": clips}, tiny)
    assert [len(errors) for errors in found.values()] == [2]
    assert spoken(*whisper) == ("<|sv|>", "sv")


@pytest.mark.parametrize("exact", [True, False])
def test_a_loop_is_no_longer_at_30_s_than_at_the_clips_own_length(whisper, speech, exact, monkeypatch, one_thread):
    clips, asked = FeatureDataset(speech.split("test").select(range(2)), whisper[1]), []
    most_tokens = models.max_tokens
    monkeypatch.setattr(models, "max_tokens", lambda frames: asked.append(frames) or min(8, most_tokens(frames)))
    for context in (0, models.WINDOW_FRAMES):
        decoding.transcribe_clips(*whisper, clips, [0, 1], lambda line: None, context, exact)
    longest = max(clips.features(clip).shape[1] for clip in (0, 1))
    assert set(asked) == {longest + decoding.TAIL_FRAMES}
