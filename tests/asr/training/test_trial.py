"""A trial, small enough to be run twice."""

import re
from dataclasses import replace

import pytest
import torch
from asr.corpus.shards import Speech
from asr.settings import Settings
from asr.training import trial
from asr.training.search import Trial

POINT = Trial(0, learning_rate=4e-3, weight_decay=0.01)


@pytest.fixture
def run(tiny, speech, one_thread):
    """A function that trains; its outcome, the model and the lines it printed."""

    def fine_tune(point=POINT, **training):
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=training)})
        lines = []
        outcome, model, _ = trial.fine_tune(point, settings, speech, lines.append)
        return outcome, model, lines

    return fine_tune


def test_a_trial_is_the_same_to_the_last_bit_when_repeated_and_learns(run):
    once, model, lines = run()
    again, repeated, _ = run()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, repeated.state_dict()[name]), name
    assert replace(once, seconds=0) == replace(again, seconds=0)

    assert (once.steps, once.stopped, once.trial) == (24, "finished", POINT)
    assert [point.step for point in once.curve] == [8, 16, 24]
    assert once.curve[-1].loss < once.curve[0].loss
    assert once.validation_wer == once.curve[-1].validation_wer
    assert once.seconds > 0

    assert [line for line in lines if not re.fullmatch(r"step +\d+/24  .*  \d+:\d\d min left", line)] == []
    assert sum("loss" in line for line in lines) >= 12
    assert sum("validation WER" in line for line in lines) == 3
    assert lines[-1].endswith("0:00 min left")


@pytest.mark.parametrize(("steps", "evaluations", "at"), [(3, 1, [3]), (3, 3, [1, 2, 3]), (2, 5, [1, 2])])
def test_a_curve_has_its_points_evenly_and_ends_at_the_last_step(run, steps, evaluations, at):
    outcome, _, _ = run(steps=steps, evaluations=evaluations, validation_clips=1)
    assert [point.step for point in outcome.curve] == at
    assert outcome.steps == steps


def test_another_seed_is_another_trial(run):
    losses = {run(steps=1, evaluations=1, validation_clips=1, seed=seed)[0].curve[-1].loss for seed in (0, 1)}
    assert len(losses) == 2


def test_a_base_is_trained_further(run, tiny, base, speech, one_thread):
    onward = Settings.model_validate(
        {**tiny.model_dump(), "model": {"base": str(base)}, "training": {"steps": 2, "validation_clips": 1}}
    )
    outcome, model, processor = trial.fine_tune(POINT, onward, speech, lambda line: None)
    assert model.config.d_model == 32
    assert outcome.steps == 2
    assert len(processor.tokenizer) == model.config.vocab_size


def test_clips_are_drawn_by_their_sources_weights_and_compared_as_the_profile_says(
    tiny, preprocess, store, tmp_path, monkeypatch, one_thread
):
    mixed = {
        "sources": [{"limit_clips": 4, "weight": 0.5}, {"name": "again", "limit_clips": 6, "weight": 3.0}],
        "speakers_may_cross": True, "duplicates_may_stay": True,
    }  # fmt: skip
    training = {"steps": 1, "evaluations": 1, "validation_clips": 1}
    settings = Settings.model_validate(
        {**tiny.model_dump(), "corpus": mixed, "text": {"scoring": "lenient"}, "training": training}
    )
    drawn, compared = [], []
    buckets, errors = trial.LengthBuckets, trial.rates.errors
    monkeypatch.setattr(trial, "LengthBuckets", lambda *sizes: drawn.append(sizes[-1]) or buckets(*sizes))
    monkeypatch.setattr(trial.rates, "errors", lambda *texts: compared.append(texts[2:]) or errors(*texts))
    speech = Speech(preprocess(settings, store)[1].shards, tmp_path / "shards", store.fetch)
    trial.fine_tune(POINT, settings, speech, lambda line: None)
    assert drawn == [[0.5] * 4 + [3.0] * 6]
    assert compared == [("lenient", "sv")]


def test_the_alignment_head_is_no_part_of_the_model(run):
    _, model, _ = run(steps=1, evaluations=1, validation_clips=1)
    assert [name for name in model.state_dict() if "aligner" in name] == []


@pytest.mark.parametrize("given", [(59.6, "1:00 min"), (0, "0:00 min"), (3_600, "1:00 h")])
def test_time_left_is_told_in_whole_units(given):
    assert trial.clock(given[0]) == given[1]
