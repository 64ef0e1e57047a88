"""What is said before training begins."""

from asr.training import plan, search


def cost(tiny, joined, **told):
    trials = search.trials(tiny)
    summary = {**joined.summary, **told}
    return plan.plan(tiny, trials, joined.shards, summary, at_once=3, threads=1, cores=2)


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


def test_too_little_disk_is_told_before_work(tmp_path, refusal):
    line = refusal(plan.check_disk, 10**18, tmp_path)
    assert "1000000000.0 GB of disk" in line
    assert "GB free" in line
