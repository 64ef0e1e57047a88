"""The winner as a release: what it was scored on, and what it tells of its corpus."""

import json

import pandas as pd
import pytest
from asr.release import candidate, engine


@pytest.fixture(scope="module")
def made(tiny, base, joined, speech, tmp_path_factory, one_thread):
    """The scores, the report and the record of a release made of an untrained model."""
    board = pd.DataFrame([{"trial": 0, "learning_rate": 0.003, "weight_decay": 0.01, "steps": 24}])
    about = candidate.facts(tiny, "17", "0.1.0+abc", {**joined.summary, "speakers_crossing": 3}, board)
    ready = tmp_path_factory.mktemp("ready")
    scores, report = candidate.make(ready, tiny, base, speech, json.loads(engine.capture()), about)
    return scores, report, json.loads((ready / "release.json").read_text(encoding="utf-8"))


def test_every_test_clip_is_scored_once_under_its_own_name(made, joined):
    tested = [clip for shard in joined.shards if shard.split == "test" for clip in shard.clips["clip"]]
    assert made[0]["clip"].tolist() == tested
    assert set(made[0]["source"]) == {"sample"}
    assert made[0]["speaker"].notna().all()
    assert made[0]["reference"].str.len().min() > 3


def test_the_record_tells_of_the_corpus_and_the_scores(made, joined):
    _, report, record = made
    assert record["hours"] == joined.summary["hours"]
    assert record["fingerprint"] == joined.summary["fingerprint"]
    assert record["speakers_crossing"] == 3
    assert record["wer_by_source"] == {"sample": pytest.approx(report["test_wer"])}
    assert {name: record[name] for name in ("test_wer", "served_wer", "orthographic_wer", "clips")} == {
        name: report[name] for name in ("test_wer", "served_wer", "orthographic_wer", "clips")
    }
