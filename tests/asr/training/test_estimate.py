"""What is said before training begins."""

from functools import partial

import pytest
from asr.training import estimate, search


def cost(tiny, joined, searching=None, training=None, **told):
    tiny = tiny.model_copy(update={
        "search": tiny.search.model_copy(update=searching or {}),
        "training": tiny.training.model_copy(update=training or {}),
    })  # fmt: skip
    trials = search.plan_trials(tiny)
    summary = {**joined.summary, **told}
    return estimate.estimate_cost(tiny, trials, joined.shards, summary, at_once=3, threads=1, cores=2)


def test_the_plan_tells_clips_trials_steps_time_and_disk(joined, tiny, one_thread):
    made = cost(tiny, joined)
    assert made.seconds > 0
    assert made.disk > sum(shard.size for shard in joined.shards)
    for told in ("16 clips", "rejected   0", "3 of 24 steps, 3 at once", "time ", " ms a step", "disk "):
        assert told in made.text
    assert "sources" not in made.text


def test_the_plan_tells_the_sources_who_crosses_and_why_clips_were_set_aside(joined, tiny, one_thread):
    told = {"sources": {"one": 1.5, "two": 0.25}, "speakers": 9, "speakers_crossing": 4, "reasons": {"silent": 3}}
    text = cost(tiny, joined, rejected=3, **told).text
    for line in ("one 1.50 h, two 0.25 h", "9, of whom 4 stand in several splits", "3: 3 silent"):
        assert line in text


def test_a_search_that_would_take_too_long_is_refused_with_what_it_would_take(joined, tiny, refusal, one_thread):
    line = refusal(partial(cost, tiny, joined, searching={"max_hours": 0.001}))
    assert line.startswith("[search] max_hours: the trials would take about 0:")
    assert "max_hours is 0.001" in line
    assert cost(tiny, joined, searching={"max_hours": 1.0}).seconds < 3600


def test_the_plan_tells_what_machines_at_so_much_an_hour_cost(joined, tiny, one_thread):
    made = cost(tiny, joined, searching={"hourly_cost": 100.0})
    assert made.cost == pytest.approx(100 * 3 * made.seconds / 3600)
    assert f"cost       about {made.cost:.2f}, at 100 an hour" in made.text
    assert "cost" not in cost(tiny, joined).text


def test_a_search_that_stops_losers_is_planned_as_cheaper(joined, tiny, monkeypatch, one_thread):
    monkeypatch.setattr(estimate, "_measure_batch", lambda *_: 1.0)
    whole, stopping = (cost(tiny, joined, searching={"stop_losers": stop}) for stop in (False, True))
    assert "losers stop early" in stopping.text
    assert stopping.seconds < 0.7 * whole.seconds


@pytest.mark.parametrize(
    ("training", "batch", "lasting"),
    [
        ({}, 4, 2.0), ({"context": "padded"}, 4, 30.0), ({"context": "packed"}, 4, 15.0),
        ({"batch_seconds": 60.0}, 30, 2.0), ({"batch_seconds": 60.0, "context": "padded"}, 2, 30.0),
        ({"batch_seconds": 1.0}, 1, 2.0),
    ],
)  # fmt: skip
def test_the_probe_takes_batches_as_large_as_training_will(tiny, training, batch, lasting):
    assert estimate._batch_shape(tiny.training.model_copy(update=training), 2.0) == (batch, lasting)


def test_too_little_disk_is_told_before_work(tmp_path, refusal):
    line = refusal(estimate.check_disk, 10**18, tmp_path)
    assert "1000000000000 MB of disk" in line
    assert "MB free" in line
