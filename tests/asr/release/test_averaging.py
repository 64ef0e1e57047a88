"""Averages of a tuned model and its base: their weights, and which one is released."""

from dataclasses import replace

import pytest
import torch
from asr.release import averaging
from asr.release.averaging import Average
from asr.training import models


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """The base with every weight moved by one."""
    model, processor = models.load(base)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    return models.save(tmp_path_factory.mktemp("tuned"), model, processor)


def test_an_average_lies_between_the_tuned_model_and_its_base(base, tuned):
    base_weights = models.load(base)[0].state_dict()
    for share in (0.0, 0.25, 1.0):
        weights = averaging.average_weights(tuned, base, share)[0].state_dict()
        for name, weight in base_weights.items():
            torch.testing.assert_close(weights[name], weight + 1 - share, msg=f"{name} at {share}")


def test_a_model_of_another_shape_cannot_be_averaged(tuned, tmp_path):
    model, processor = models.load(tuned)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    models.save(tmp_path, model, processor)
    with pytest.raises(ValueError, match="other weights"):
        averaging.average_weights(tuned, tmp_path, 0.5)


def test_the_tuned_language_counts_as_much_as_all_retained_ones_together():
    near, far = Average(0.0, 5.0, {"en": 30.0, "de": 30.0}), Average(0.1, 9.0, {"en": 28.0, "de": 26.0})
    assert near.cost < far.cost
    assert Average(0.1, 5.5, {"en": 30.0}).cost < Average(0.0, 5.0, {"en": 40.0}).cost


@pytest.fixture
def fine_tuned_settings(tiny, base):
    """Settings of a model that is tuned from `base`."""
    return tiny.model_copy(update={"model": tiny.model.model_copy(update={"base": str(base)})})


@pytest.fixture(scope="module")
def two_languages(speech):
    """The tiny corpus with one of its validation shards in English."""
    english_shard = next(shard for shard in speech.shards if shard.split == "validation")
    return replace(
        speech, shards=[replace(shard, retained="en") if shard is english_shard else shard for shard in speech.shards]
    )


def test_averages_of_a_model_with_itself_are_all_the_same(fine_tuned_settings, base, two_languages, tmp_path):
    lines = []
    _, choice = averaging.choose_average(base, fine_tuned_settings, two_languages, tmp_path, lines.append)
    assert [average["base_share"] for average in choice["averages"]] == list(averaging.BASE_SHARES)
    assert len({average["wer"] for average in choice["averages"]}) == 1
    assert {average["retained"].keys() == {"en"} for average in choice["averages"]} == {True}
    assert choice["base_share"] == 0.0
    assert len(lines) == len(averaging.BASE_SHARES)


def test_no_larger_share_is_tried_after_a_hopeless_one(fine_tuned_settings, base, two_languages, tmp_path, monkeypatch):
    wers = iter([5.0, 40.0, 5.5, 30.0, 9.0, 30.0])  # of Swedish and English in turn
    monkeypatch.setattr(averaging.rates, "wer", lambda _: next(wers))
    path, choice = averaging.choose_average(base, fine_tuned_settings, two_languages, tmp_path, lambda line: None)
    assert [average["wer"] for average in choice["averages"]] == [5.0, 5.5, 9.0]
    assert choice["base_share"] == 0.1
    assert path == tmp_path


def test_a_share_in_the_profile_is_used_without_evaluation(fine_tuned_settings, base, tuned, speech, tmp_path):
    settings = fine_tuned_settings.model_copy(
        update={"release": fine_tuned_settings.release.model_copy(update={"base_share": 0.5})}
    )
    path, choice = averaging.choose_average(tuned, settings, speech, tmp_path)
    weights, base_weights = (dict(models.load(source)[0].named_parameters()) for source in (path, base))
    for name, weight in base_weights.items():
        torch.testing.assert_close(weights[name], weight + 0.5)
    assert choice == {"base_share": 0.5, "averages": []}


def test_without_retained_speech_nothing_is_averaged(fine_tuned_settings, tuned, speech, tmp_path):
    assert averaging.choose_average(tuned, fine_tuned_settings, speech, tmp_path) == (
        tuned,
        {"base_share": 0.0, "averages": []},
    )


@pytest.mark.parametrize("share", ["auto", 0.0])
def test_a_model_trained_from_scratch_is_not_averaged(tiny, share, tuned, speech, tmp_path):
    settings = tiny.model_copy(update={"release": tiny.release.model_copy(update={"base_share": share})})
    assert averaging.choose_average(tuned, settings, speech, tmp_path) == (tuned, {"base_share": 0.0, "averages": []})
