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
    first = models.load(base)[0].state_dict()
    for share in (0.0, 0.25, 1.0):
        weights = averaging.average_weights(tuned, base, share)[0].state_dict()
        for name, weight in first.items():
            torch.testing.assert_close(weights[name], weight + 1 - share, msg=f"{name} at {share}")


def test_a_model_of_another_shape_is_no_base(tuned, tmp_path):
    model, processor = models.load(tuned)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    models.save(tmp_path, model, processor)
    with pytest.raises(ValueError, match="other weights"):
        averaging.average_weights(tuned, tmp_path, 0.5)


def test_the_tuned_language_counts_as_much_as_all_that_is_retained():
    near, far = Average(0.0, 5.0, {"en": 30.0, "de": 30.0}), Average(0.1, 9.0, {"en": 28.0, "de": 26.0})
    assert near.cost < far.cost
    assert Average(0.1, 5.5, {"en": 30.0}).cost < Average(0.0, 5.0, {"en": 40.0}).cost


@pytest.fixture
def onward(tiny, base):
    """Settings of a model that is tuned from `base`."""
    return tiny.model_copy(update={"model": tiny.model.model_copy(update={"base": str(base)})})


@pytest.fixture(scope="module")
def two_languages(speech):
    """The tiny corpus with one of its validation shards in English."""
    english = next(shard for shard in speech.shards if shard.split == "validation")
    return replace(speech, shards=[replace(one, retained="en") if one is english else one for one in speech.shards])


def test_of_a_model_that_is_its_own_base_every_share_is_the_same(onward, base, two_languages, tmp_path):
    said = []
    _, told = averaging.choose_average(base, onward, two_languages, tmp_path, said.append)
    assert [one["base_share"] for one in told["averages"]] == list(averaging.BASE_SHARES)
    assert len({one["wer"] for one in told["averages"]}) == 1
    assert {one["retained"].keys() == {"en"} for one in told["averages"]} == {True}
    assert told["base_share"] == 0.0
    assert len(said) == len(averaging.BASE_SHARES)


def test_no_further_share_is_tried_where_one_is_hopeless(onward, base, two_languages, tmp_path, monkeypatch):
    wers = iter([5.0, 40.0, 5.5, 30.0, 9.0, 30.0])  # of Swedish and English in turn
    monkeypatch.setattr(averaging.rates, "wer", lambda _: next(wers))
    found, told = averaging.choose_average(base, onward, two_languages, tmp_path, lambda line: None)
    assert [one["wer"] for one in told["averages"]] == [5.0, 5.5, 9.0]
    assert told["base_share"] == 0.1
    assert found == tmp_path


def test_a_share_that_a_profile_gives_is_taken_unheard(onward, base, tuned, speech, tmp_path):
    given = onward.model_copy(update={"release": onward.release.model_copy(update={"base_share": 0.5})})
    found, told = averaging.choose_average(tuned, given, speech, tmp_path)
    weights, first = (dict(models.load(folder)[0].named_parameters()) for folder in (found, base))
    for name, weight in first.items():
        torch.testing.assert_close(weights[name], weight + 0.5)
    assert told == {"base_share": 0.5, "averages": []}


def test_without_retained_speech_nothing_tells_what_the_base_is_worth(onward, tuned, speech, tmp_path):
    assert averaging.choose_average(tuned, onward, speech, tmp_path) == (tuned, {"base_share": 0.0, "averages": []})


@pytest.mark.parametrize("share", ["auto", 0.0])
def test_a_model_from_nothing_stays_what_it_is(tiny, share, tuned, speech, tmp_path):
    alone = tiny.model_copy(update={"release": tiny.release.model_copy(update={"base_share": share})})
    assert averaging.choose_average(tuned, alone, speech, tmp_path) == (tuned, {"base_share": 0.0, "averages": []})
