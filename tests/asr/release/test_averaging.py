"""The average of a tuned model and its base: which weights it has, and which average is released."""

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
        weights = averaging.average(tuned, base, share)[0].state_dict()
        for name, weight in first.items():
            torch.testing.assert_close(weights[name], weight + 1 - share, msg=f"{name} at {share}")


def test_a_model_of_another_shape_is_no_base(tuned, tmp_path):
    model, processor = models.load(tuned)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    models.save(tmp_path, model, processor)
    with pytest.raises(ValueError, match="other weights"):
        averaging.average(tuned, tmp_path, 0.5)


def test_with_retained_speech_the_lowest_wers_in_all_win():
    found = [Average(0.0, 5.0, {"en": 40.0}), Average(0.1, 5.5, {"en": 30.0}), Average(0.2, 20.0, {"en": 29.0})]
    assert averaging.best(found).base_share == 0.1


def test_the_tuned_language_counts_as_much_as_all_that_is_retained():
    found = [Average(0.0, 5.0, {"en": 30.0, "de": 30.0}), Average(0.1, 9.0, {"en": 28.0, "de": 26.0})]
    assert averaging.best(found).base_share == 0.0


def test_without_retained_speech_the_base_may_cost_next_to_nothing():
    found = [Average(0.0, 5.1, {}), Average(0.1, 5.0, {}), Average(0.2, 5.2, {}), Average(0.3, 5.3, {})]
    assert averaging.best(found).base_share == 0.2


@pytest.fixture
def onward(tiny, base):
    """Settings of a model that is tuned from `base`."""
    return tiny.model_copy(update={"model": tiny.model.model_copy(update={"base": str(base)})})


def test_of_a_model_that_is_its_own_base_every_share_is_the_same(onward, base, speech, tmp_path):
    said = []
    _, told = averaging.release(base, onward, speech, tmp_path, said.append)
    assert [one["base_share"] for one in told["averages"]] == list(averaging.SHARES)
    assert len({one["wer"] for one in told["averages"]}) == 1
    assert told["base_share"] == max(averaging.SHARES)
    assert len(said) == len(averaging.SHARES)


def test_no_further_share_is_tried_where_one_is_hopeless(onward, base, speech, tmp_path, monkeypatch):
    wers = iter([5.0, 5.1, 30.0])
    monkeypatch.setattr(averaging.rates, "wer", lambda _: next(wers))
    found, told = averaging.release(base, onward, speech, tmp_path, lambda line: None)
    assert [one["wer"] for one in told["averages"]] == [5.0, 5.1, 30.0]
    assert told["base_share"] == 0.1
    assert found == tmp_path


def test_a_share_that_a_profile_gives_is_taken_unheard(onward, base, tuned, speech, tmp_path):
    given = onward.model_copy(update={"release": onward.release.model_copy(update={"base_share": 0.5})})
    found, told = averaging.release(tuned, given, speech, tmp_path)
    weights, first = (dict(models.load(folder)[0].named_parameters()) for folder in (found, base))
    for name, weight in first.items():
        torch.testing.assert_close(weights[name], weight + 0.5)
    assert told == {"base_share": 0.5, "averages": []}


@pytest.mark.parametrize("share", ["auto", 0.0])
def test_a_model_from_nothing_stays_what_it_is(tiny, share, tuned, speech, tmp_path):
    alone = tiny.model_copy(update={"release": tiny.release.model_copy(update={"base_share": share})})
    assert averaging.release(tuned, alone, speech, tmp_path) == (tuned, {"base_share": 0.0, "averages": []})
