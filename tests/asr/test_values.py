"""What steps hand on comes back as it was, to the last bit."""

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
from asr.training.search import ClipErrors, CurvePoint, LogEntry, Outcome, Trial
from asr.values import from_plain, to_plain

CLIP = Clip("å/1.wav", "train", "mine", "Hej på dig", None, 1.25, b"fLaC\0\xff", "3f", (Segment(0.0, 1.0, "Hej"),))
OUTCOME = Outcome(
    Trial(3, 1e-5, 0.01, (("batch_size", 8), ("warmup", 0.1))), 1 / 3, 80, 9.5, "finished",
    (CurvePoint(40, 0.1, 0.2, 99.9, 98.0, 100.0),), ClipErrors((1, 0), (5, 4), ("Anna", None)),
    (LogEntry(1, 7.5, 1e-5, 20.0),),
)  # fmt: skip


@pytest.mark.parametrize("value", [CLIP, OUTCOME], ids=["clip", "outcome"])
def test_a_value_comes_back_as_it_was(value):
    assert from_plain(type(value), pickle.loads(pickle.dumps(to_plain(value)))) == value


def test_a_whole_number_among_hyperparameters_stays_one():
    (size, _) = from_plain(Outcome, to_plain(OUTCOME)).trial.overrides
    assert size == ("batch_size", 8)
    assert type(size[1]) is int


def test_what_numpy_counted_is_python_s():
    told = to_plain({"wer": np.float64(0.1), "clips": (np.int64(3), [np.bool_(True)]), np.str_("key"): None})
    assert json.loads(json.dumps(told)) == {"wer": 0.1, "clips": [3, [True]], "key": None}
    assert type(told["wer"]) is float


def test_a_table_is_its_rows():
    rows = to_plain(pd.DataFrame({"trial": [0, 1], "validation_wer": [12.5, math.nan]}))
    assert rows[0] == {"trial": 0, "validation_wer": 12.5}
    assert math.isnan(rows[1]["validation_wer"])


def shard(speakers):
    rows = [
        {"clip": f"{at}.wav", "source": "mine", "speaker": who, "seconds": 1.5 + at, "words": 2, "text": "Hej då",
         "sound": f"{at:02x}"}
        for at, who in enumerate(speakers)
    ]  # fmt: skip
    return Shard("ab", "train", 99, pd.DataFrame(rows), "en")


def objects(clips):
    """However pandas keeps what is missing in them."""
    return clips.astype(object).where(clips.notna(), None)


@pytest.mark.parametrize("speakers", [["Anna", None, "Bo"], [None, None, None], ["Anna", "Bo", "Anna"]])
@pytest.mark.parametrize("stays", [[True, True, True], [False, True, False], [False, False, True]])
def test_a_shard_keeps_which_clips_stay_and_where_they_are(speakers, stays):
    made = shard(speakers)
    less = Shard(made.key, made.split, made.size, made.clips[stays], made.retained)
    again = Shard.from_plain(pickle.loads(pickle.dumps(less.to_plain())))
    assert (again.key, again.split, again.size, again.retained) == ("ab", "train", 99, "en")
    pd.testing.assert_frame_equal(objects(again.clips), objects(less.clips))
    numbers = ["seconds", "words"]
    assert again.clips.dtypes[numbers].equals(less.clips.dtypes[numbers])


def test_a_shard_that_lost_every_clip_keeps_its_numbers_numbers():
    made = shard(["Anna"])
    none = Shard.from_plain(Shard(made.key, made.split, made.size, made.clips[:0]).to_plain())
    assert none.seconds == 0.0
    whole = pd.concat([none.clips, made.clips])
    assert whole.dtypes[["seconds", "words"]].equals(made.clips.dtypes[["seconds", "words"]])


def test_a_part_comes_back_with_what_it_set_aside():
    packed = PackedPart((shard(["Anna"]),), (Rejected("a.wav", "unreadable audio", "train"),), True)
    again = PackedPart.from_plain(packed.to_plain())
    assert (again.rejected, again.is_reused) == (packed.rejected, True)
    assert again.shards[0].clips.equals(packed.shards[0].clips)
