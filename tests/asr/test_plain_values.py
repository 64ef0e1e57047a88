"""Values that one step passes to the next are restored exactly."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from asr.corpus.clips import Clip, Rejected
from asr.corpus.shards import PackedPart, Shard
from asr.corpus.transcripts import Segment
from asr.plain_values import from_plain, to_plain
from asr.training.search import ClipErrors, CurvePoint, LogEntry, Outcome, Trial

CLIP = Clip("å/1.wav", "train", "mine", "Hej på dig", None, 1.25, b"fLaC\0\xff", "3f", (Segment(0.0, 1.0, "Hej"),))
OUTCOME = Outcome(
    Trial(3, 1e-5, 0.01, (("batch_size", 8), ("warmup", 0.1))), 1 / 3, 80, 9.5, "finished",
    (CurvePoint(40, 0.1, 0.2, 99.9, 98.0, 100.0),), ClipErrors((1, 0), (5, 4), ("Anna", None)),
    (LogEntry(1, 7.5, 1e-5, 20.0),),
)  # fmt: skip


@pytest.mark.parametrize("value", [CLIP, OUTCOME], ids=["clip", "outcome"])
def test_a_value_is_restored_exactly(value):
    assert from_plain(type(value), pickle.loads(pickle.dumps(to_plain(value)))) == value


def test_an_integer_hyperparameter_stays_an_integer():
    (size, _) = from_plain(Outcome, to_plain(OUTCOME)).trial.overrides
    assert size == ("batch_size", 8)
    assert type(size[1]) is int


def test_numpy_values_become_python_values():
    plain = to_plain({"wer": np.float64(0.1), "clips": (np.int64(3), [np.bool_(True)]), np.str_("key"): None})
    assert json.loads(json.dumps(plain)) == {"wer": 0.1, "clips": [3, [True]], "key": None}
    assert type(plain["wer"]) is float


def test_a_table_becomes_its_rows():
    rows = to_plain(pd.DataFrame({"trial": [0, 1], "validation_wer": [12.5, math.nan]}))
    assert rows[0] == {"trial": 0, "validation_wer": 12.5}
    assert math.isnan(rows[1]["validation_wer"])


def shard(speakers):
    rows = [
        {"clip": f"{number}.wav", "source": "mine", "speaker": speaker, "seconds": 1.5 + number, "words": 2,
         "text": "Hej då", "sound": f"{number:02x}"}
        for number, speaker in enumerate(speakers)
    ]  # fmt: skip
    return Shard("ab", "train", 99, pd.DataFrame(rows), "en")


def as_objects(clips):
    """With None for missing values, however pandas stores them."""
    return clips.astype(object).where(clips.notna(), None)


@pytest.mark.parametrize("speakers", [["Anna", None, "Bo"], [None, None, None], ["Anna", "Bo", "Anna"]])
@pytest.mark.parametrize("mask", [[True, True, True], [False, True, False], [False, False, True]])
def test_a_shard_with_removed_clips_is_restored_with_its_index(speakers, mask):
    full = shard(speakers)
    reduced = Shard(full.key, full.split, full.size, full.clips[mask], full.retained)
    restored = Shard.from_plain(pickle.loads(pickle.dumps(reduced.to_plain())))
    assert (restored.key, restored.split, restored.size, restored.retained) == ("ab", "train", 99, "en")
    pd.testing.assert_frame_equal(as_objects(restored.clips), as_objects(reduced.clips))
    numbers = ["seconds", "words"]
    assert restored.clips.dtypes[numbers].equals(reduced.clips.dtypes[numbers])


def test_a_shard_without_clips_keeps_its_numeric_columns():
    full = shard(["Anna"])
    empty = Shard.from_plain(Shard(full.key, full.split, full.size, full.clips[:0]).to_plain())
    assert empty.seconds == 0.0
    joined = pd.concat([empty.clips, full.clips])
    assert joined.dtypes[["seconds", "words"]].equals(full.clips.dtypes[["seconds", "words"]])


def test_a_part_is_restored_with_its_rejected_clips():
    packed = PackedPart((shard(["Anna"]),), (Rejected("a.wav", "unreadable audio", "train"),), True)
    restored = PackedPart.from_plain(packed.to_plain())
    assert (restored.rejected, restored.is_reused) == (packed.rejected, True)
    assert restored.shards[0].clips.equals(packed.shards[0].clips)
