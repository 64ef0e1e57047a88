"""What is said before training begins."""

import pytest
from asr.corpus import shards
from asr.training import plan, search


@pytest.fixture
def record(packed):
    blob, clips, rejected = packed
    return shards.describe("key", len(blob), clips, rejected)


def test_the_plan_tells_clips_trials_steps_time_and_disk(record, tiny, one_thread):
    trials = search.trials(tiny)
    cost = plan.plan(tiny, trials, [record], at_once=3, threads=1, cores=2)
    assert cost.seconds > 0
    assert cost.disk > record.size
    for told in ("16 clips", "rejected   0", "3 of 24 steps, 3 at once", "time ", " ms a step", "disk "):
        assert told in cost.text


def test_too_little_disk_is_told_before_work(tmp_path, refusal):
    line = refusal(plan.check_disk, 10**18, tmp_path)
    assert "1000000000.0 GB of disk" in line
    assert "GB free" in line
