"""Transcription in retained languages, and of clips that are padded to 30 s."""

import pytest
from asr.settings import Corpus
from asr.training import decoding, models
from asr.training.dataset import FeatureDataset


def languages_of(model, processor):
    tokens = processor.tokenizer("").input_ids
    return processor.tokenizer.convert_ids_to_tokens(tokens)[1], model.generation_config.language


def test_each_language_is_transcribed_as_itself_and_the_corpus_language_is_set_again(tiny, base, speech, monkeypatch):
    model, processor = models.load(base)
    models.set_language(model, processor, "sv")
    calls = []

    def transcribe(model, processor, clips, chosen, log, context, exact):
        calls.append((*languages_of(model, processor), list(chosen), context, exact))
        return [clips.texts[clip] for clip in chosen]

    monkeypatch.setattr(decoding, "transcribe_clips", transcribe)
    clips = FeatureDataset(speech.split("test").select(range(3)), processor)
    corpus = Corpus.model_validate({"sources": [{}, {"name": "english", "language": "en"}]})
    settings = tiny.model_copy(update={"corpus": corpus})
    errors_by_language = decoding.errors_by_language(
        model, processor, {"en": clips, "de": clips}, settings, context=3000
    )
    assert calls == [(f"<|{code}|>", code, [0, 1, 2], 3000, False) for code in ("en", "de")]
    assert {language: [clip.word_errors for clip in errors] for language, errors in errors_by_language.items()} == {
        "en": [0, 0, 0], "de": [0, 0, 0],
    }  # fmt: skip
    assert languages_of(model, processor) == ("<|sv|>", "sv")


def test_one_model_transcribes_another_language(tiny, whisper, speech):
    clips = FeatureDataset(speech.split("test").select(range(2)), whisper[1])
    errors_by_language = decoding.errors_by_language(*whisper, {"en": clips}, tiny)
    assert [len(errors) for errors in errors_by_language.values()] == [2]
    assert languages_of(*whisper) == ("<|sv|>", "sv")


@pytest.mark.parametrize("exact", [True, False])
def test_the_token_limit_at_30_s_is_that_of_the_clips_own_length(whisper, speech, exact, monkeypatch):
    clips, frame_counts = FeatureDataset(speech.split("test").select(range(2)), whisper[1]), []
    max_tokens = models.max_tokens
    monkeypatch.setattr(models, "max_tokens", lambda frames: frame_counts.append(frames) or min(8, max_tokens(frames)))
    for context in (0, models.WINDOW_FRAMES):
        decoding.transcribe_clips(*whisper, clips, [0, 1], lambda line: None, context, exact)
    longest = max(clips.features(clip).shape[1] for clip in (0, 1))
    assert set(frame_counts) == {longest + decoding.TAIL_FRAMES}
