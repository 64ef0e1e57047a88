"""The manifest: duplicates, speakers in several splits, and the summary."""

import random

import pandas as pd
import pytest
from asr.corpus import manifest
from asr.corpus.clips import Rejected
from asr.corpus.shards import PackedPart, Shard
from asr.settings import Corpus
from hypothesis import given, settings
from hypothesis import strategies as st

SPLITS = ("train", "validation", "test")


def pack(*clips, rejected=(), is_reused=False):
    """A part of (name, split, speaker, sound), each a second long, with a shard per split, and its rejected clips."""
    shards = []
    for split in SPLITS:
        rows = [
            {
                "clip": name,
                "source": "sample",
                "speaker": speaker,
                "seconds": 1.0,
                "words": 1,
                "text": "hej",
                "sound": sound,
            }
            for name, clip_split, speaker, sound in clips
            if clip_split == split
        ]
        if rows:
            shards.append(Shard("-".join(row["clip"] for row in rows), split, 1, pd.DataFrame(rows)))
    return PackedPart(
        tuple(shards),
        tuple(Rejected(clip, reason, *split or ["train"]) for clip, reason, *split in rejected),
        is_reused,
    )


def join(*parts, **corpus):
    return manifest.merge_parts(parts, Corpus(**corpus))


def reasons(joined):
    return dict(joined.rejected[["clip", "reason"]].itertuples(index=False))


def kept_clips(joined):
    return {clip for shard in joined.shards for clip in shard.clips["clip"]}


def test_found_clips_are_kept_or_rejected_and_each_rejection_is_listed():
    joined = join(
        pack(("a", "train", "A", "1"), ("b", "validation", "B", "2"), rejected=[("x", "silent"), ("y", "silent")]),
        pack(("c", "test", "C", "3"), rejected=[("z", "too long")]),
    )
    summary = joined.summary
    assert (summary["found"], summary["kept"], summary["rejected"]) == (6, 3, 3)
    assert summary["reasons"] == {"silent": 2, "too long": 1}
    assert summary["clips"] == {"train": 1, "validation": 1, "test": 1}
    assert summary["hours"] == pytest.approx(3 / 3600)
    assert summary["split_hours"] == pytest.approx({"train": 1 / 3600, "validation": 1 / 3600, "test": 1 / 3600})
    assert (summary["speakers"], summary["speakers_crossing"], summary["sources"]) == (3, 0, {"sample": 3 / 3600})
    assert reasons(joined) == {"x": "silent", "y": "silent", "z": "too long"}


def test_without_rejected_clips_the_table_keeps_its_columns():
    assert list(join(pack(("a", "train", "A", "1"))).rejected) == ["clip", "reason", "split"]


@pytest.mark.parametrize("parts", [(), (pack(),), (pack(rejected=[("x", "silent")]), pack())])
def test_an_empty_corpus_has_a_summary(parts):
    joined = join(*parts)
    assert joined.summary["found"] == joined.summary["rejected"] == len(joined.rejected)
    assert joined.summary["hours"] == joined.summary["speakers"] == joined.summary["kept"] == 0


def test_repeated_audio_in_a_split_is_kept_once():
    parts = pack(("a", "train", "A", "1"), ("b", "train", "A", "1")), pack(("c", "train", "A", "1"))
    assert reasons(join(*parts)) == {"b": "duplicate audio", "c": "duplicate audio"}
    assert reasons(join(*parts, duplicates_may_stay=True)) == {}


@pytest.mark.parametrize("duplicates_allowed", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_the_same_audio_is_never_in_two_splits_and_test_keeps_it(duplicates_allowed, order):
    parts = [pack((split, split, None, "1")) for split in SPLITS][::order]
    joined = join(*parts, duplicates_may_stay=duplicates_allowed)
    assert reasons(joined) == {"train": "duplicate across splits", "validation": "duplicate across splits"}
    assert kept_clips(joined) == {"test"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_speaker_is_in_one_split_and_test_keeps_them(order):
    parts = [pack((split, split, "A", split)) for split in SPLITS][::order]
    parts.append(
        pack(("other", "train", "B", "4"), ("unknown 1", "train", None, "5"), ("unknown 2", "test", None, "6"))
    )
    joined = join(*parts)
    assert reasons(joined) == {"train": "speaker in another split", "validation": "speaker in another split"}
    assert joined.summary["speakers_crossing"] == 0


def test_speakers_may_cross_if_the_profile_allows_it_and_are_counted():
    clips = [("a", "train", "A", "1"), ("b", "test", "A", "2"), ("c", "train", "B", "3"), ("d", "validation", "B", "4")]
    joined = join(pack(*clips, ("e", "test", "C", "5"), ("f", "train", None, "6")), speakers_may_cross=True)
    assert reasons(joined) == {}
    assert (joined.summary["speakers"], joined.summary["speakers_crossing"]) == (3, 2)


def test_a_clip_name_is_unique_whatever_its_audio():
    assert reasons(join(pack(("a", "train", "A", "1")), pack(("a", "test", "A", "2")))) == {"a": "listed twice"}


def test_a_rejected_clip_conflicts_with_no_other():
    """Speaker A is in validation only with a clip that is also in test."""
    joined = join(
        pack(
            ("a", "train", "A", "1"),
            ("b", "validation", "A", "2"),
            ("c", "test", "C", "2"),
            ("c", "validation", "C", "3"),
        ),
        pack(("d", "train", "D", "3")),
    )
    assert reasons(joined) == {"b": "duplicate across splits", "c": "listed twice"}
    assert kept_clips(joined) == {"a", "c", "d"}


def test_a_source_without_clips_has_zero_hours():
    joined = join(pack(("a", "train", "A", "1")), sources=[{}, {"name": "other"}])
    assert joined.summary["sources"] == {"sample": 1 / 3600, "other": 0.0}


def test_the_fingerprint_depends_on_the_accepted_clips_and_the_order_of_parts():
    parts = pack(("a", "train", "A", "1"), ("b", "train", "A", "1")), pack(("c", "train", "A", "2"))
    merged = [
        join(*parts), join(*parts), join(*parts, duplicates_may_stay=True), join(*parts[::-1]), join(parts[0]),
        join(pack(("a", "train", "A", "1"), ("b", "train", "A", "1"), rejected=[("x", "silent")]), parts[1]),
    ]  # fmt: skip
    fingerprints = [result.summary["fingerprint"] for result in merged]
    assert len(fingerprints[0]) == 16
    assert fingerprints[0] == fingerprints[1] == fingerprints[5]
    assert len(set(fingerprints)) == 4


def test_shards_reused_from_an_earlier_run_are_counted():
    joined = join(
        pack(("a", "train", "A", "1"), ("b", "test", "B", "2"), is_reused=True), pack(("c", "train", "C", "3"))
    )
    assert joined.reused_shards == 2


COMPLETE = pack(("a", "train", "A", "1"), ("b", "validation", "B", "2"), ("c", "test", "C", "3"))


def check(*parts, **corpus):
    manifest.check_splits(join(*parts, **corpus), Corpus(**corpus))


def test_a_complete_corpus_passes():
    check(COMPLETE)


def test_a_split_left_without_a_clip_is_refused_with_the_reasons(refusal):
    rejected = [("x", "missing file", "validation")] * 3 + [("y", "silent", "validation")] * 2
    rejected += [("z", "missing file", "train"), ("z", "speaker in another split", "test")]
    line = refusal(check, pack(("a", "train", "A", "1"), ("c", "test", "C", "3"), rejected=rejected))
    assert line == "[corpus] no usable clip of validation; rejected: 3 missing file, 2 silent"


def test_a_refusal_groups_reasons_and_gives_one_example(refusal):
    rejected = [(f"{at}.wav", f"unreadable transcript: line {at} is no time") for at in (7, 8)] + [("x", "silent")]
    joined = join(pack(rejected=rejected))
    assert joined.summary["reasons"] == {"unreadable transcript": 2, "silent": 1}
    assert refusal(manifest.check_splits, joined, Corpus()).endswith(
        "rejected: 2 unreadable transcript ('7.wav': line 7 is no time), 1 silent"
    )


def test_an_entirely_rejected_corpus_is_refused_in_one_line(refusal):
    assert "no usable clip of train; rejected: 2 unreadable audio" in refusal(
        check, pack(rejected=[("x", "unreadable audio")] * 2)
    )
    assert refusal(check, pack()).endswith("rejected: none")


def test_a_corpus_with_only_training_clips_gets_a_hint(refusal):
    line = refusal(check, pack(("a", "train", "A", "1")))
    assert line.endswith(
        "rejected: none; combine it with a corpus that has validation clips, each as one of [[corpus.sources]]"
    )


def test_a_refusal_for_crossing_speakers_names_the_setting(refusal):
    crossing = pack(*((split, split, "A", split) for split in SPLITS))
    assert refusal(check, crossing).endswith(
        "rejected: 1 speaker in another split; speakers_may_cross = true lets a speaker be in several splits"
    )


def test_training_clips_that_would_never_be_drawn_are_refused(refusal):
    def mixture(weight):
        return [{"weight": weight}, {"name": "other"}]

    joined = join(COMPLETE, sources=mixture(0.5))
    manifest.check_splits(joined, Corpus(sources=mixture(0.5)))
    assert "[corpus] weight" in refusal(manifest.check_splits, joined, Corpus(sources=mixture(0.0)))


NAMES = st.sampled_from("abcdef")
CLIPS = st.tuples(NAMES, st.sampled_from(SPLITS), st.none() | st.sampled_from("ABC"), st.sampled_from("1234"))


@settings(max_examples=60)
@given(st.lists(CLIPS), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_merging_loses_no_clip_and_breaks_no_rule(clips, duplicates, crossing, chance: random.Random):
    parts = [
        pack(*clips[at : at + 3], rejected=[("x", "silent")] * chance.randrange(3)) for at in range(0, len(clips), 3)
    ]
    joined = join(*parts, duplicates_may_stay=duplicates, speakers_may_cross=crossing)
    summary, kept = joined.summary, manifest.clip_table(joined.shards)
    assert summary["found"] == len(clips) + sum(len(part.rejected) for part in parts)
    assert summary["kept"] == len(kept) == summary["found"] - len(joined.rejected)
    assert not kept["clip"].duplicated().any()
    assert duplicates or not kept["sound"].duplicated().any()
    assert (kept.groupby("sound")["split"].nunique() <= 1).all()
    assert crossing or (kept.groupby("speaker")["split"].nunique() <= 1).all()
    assert not clips or len(kept)
