"""The estimate that is printed before training."""

from functools import partial

import pytest
from asr.training import estimate, search


def estimate_plan(tiny, joined, searching=None, training=None, **summary_keys):
    settings = tiny.model_copy(update={
        "search": tiny.search.model_copy(update=searching or {}),
        "training": tiny.training.model_copy(update=training or {}),
    })  # fmt: skip
    trials = search.plan_trials(settings)
    summary = {**joined.summary, **summary_keys}
    return estimate.estimate_cost(settings, trials, joined.shards, summary, at_once=3, threads=1, cores=2)


def test_the_plan_shows_clips_trials_steps_time_and_disk(joined, tiny):
    plan = estimate_plan(tiny, joined)
    assert plan.seconds > 0
    assert plan.disk > sum(shard.size for shard in joined.shards)
    for part in ("16 clips", "rejected   0", "3 of 24 steps, 3 at once", "time ", " ms a step", "disk "):
        assert part in plan.text
    assert "sources" not in plan.text


def test_the_plan_shows_sources_crossing_speakers_and_reasons_for_rejection(joined, tiny):
    summary = {"sources": {"one": 1.5, "two": 0.25}, "speakers": 9, "speakers_crossing": 4, "reasons": {"silent": 3}}
    text = estimate_plan(tiny, joined, rejected=3, **summary).text
    for part in ("one 1.50 h, two 0.25 h", "9, of whom 4 occur in several splits", "3: 3 silent"):
        assert part in text


def test_a_search_that_would_take_too_long_is_refused_with_its_time(joined, tiny, refusal):
    line = refusal(partial(estimate_plan, tiny, joined, searching={"max_hours": 0.001}))
    assert line.startswith("[search] max_hours: the trials would take about 0:")
    assert "max_hours is 0.001" in line
    assert estimate_plan(tiny, joined, searching={"max_hours": 1.0}).seconds < 3600


def test_the_plan_shows_the_cost_at_an_hourly_price(joined, tiny):
    plan = estimate_plan(tiny, joined, searching={"hourly_cost": 100.0})
    assert plan.cost == pytest.approx(100 * 3 * plan.seconds / 3600)
    assert f"cost       about {plan.cost:.2f}, at 100 an hour" in plan.text
    assert "cost" not in estimate_plan(tiny, joined).text


def test_a_search_that_stops_losers_is_estimated_to_be_shorter(joined, tiny, monkeypatch):
    monkeypatch.setattr(estimate, "_measure_batch", lambda *_: 1.0)
    full, stopping = (estimate_plan(tiny, joined, searching={"stop_losers": stop}) for stop in (False, True))
    assert "losers stop early" in stopping.text
    assert stopping.seconds < 0.7 * full.seconds


@pytest.mark.parametrize(
    ("training", "batch", "seconds"),
    [
        ({}, 4, 2.0), ({"context": "padded"}, 4, 30.0), ({"context": "packed"}, 4, 15.0),
        ({"batch_seconds": 60.0}, 30, 2.0), ({"batch_seconds": 60.0, "context": "padded"}, 2, 30.0),
        ({"batch_seconds": 1.0}, 1, 2.0),
    ],
)  # fmt: skip
def test_the_measured_batch_is_as_large_as_in_training(tiny, training, batch, seconds):
    assert estimate._batch_shape(tiny.training.model_copy(update=training), 2.0) == (batch, seconds)


def test_too_little_disk_is_refused(tmp_path, refusal):
    line = refusal(estimate.check_disk, 10**18, tmp_path)
    assert "1000000000000 MB of disk" in line
    assert "MB free" in line
