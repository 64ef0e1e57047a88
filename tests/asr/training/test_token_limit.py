"""A text that is too long for a Whisper is rejected with a reason, and the counts stay right."""

import random

import pandas as pd
import pytest
from asr.corpus import manifest
from asr.corpus.manifest import Manifest
from asr.corpus.shards import Shard
from asr.settings import Corpus, Settings
from asr.training import token_limit
from hypothesis import given, settings
from hypothesis import strategies as st

PROFILE = Settings.model_validate({"model": {"vocabulary": 300}})
LETTERS = "".join(random.Random(0).choices([chr(at) for at in range(0x400, 0x520)], k=900))  # nothing to merge in them
SHORT, LONG = "klockan är sju", LETTERS[:600]


def corpus(**splits):
    """Clips with the given texts, two a shard."""
    shards = []
    for split, texts in splits.items():
        for at in range(0, len(texts), 2):
            rows = [
                {"clip": f"{split}-{number}", "source": "sample", "speaker": f"{split}-{number}", "seconds": 1.0,
                 "words": 3, "text": text, "sound": f"{split}-{number}"}
                for number, text in enumerate(texts[at : at + 2], at)
            ]  # fmt: skip
            shards.append(Shard(f"{split}-{at}", split, 1, pd.DataFrame(rows)))
    rejected = pd.DataFrame([("gone", "silent", "train")], columns=["clip", "reason", "split"])
    clips = manifest.clip_table(shards)
    none = pd.Series(None, index=clips.index, dtype=object)
    return manifest.remove_clips(Manifest(tuple(shards), rejected, {}, 0), none, Corpus())


def clip_names(joined):
    return set(manifest.clip_table(joined.shards)["clip"])


def test_texts_that_are_too_long_are_rejected_with_the_reason_and_the_sums_hold():
    accepted = token_limit.reject_long_texts(
        corpus(train=[SHORT, LONG, SHORT], validation=[SHORT, LONG], test=[SHORT]), PROFILE
    )
    assert clip_names(accepted) == {"train-0", "train-2", "validation-0", "test-0"}
    assert dict(accepted.rejected[["clip", "reason"]].itertuples(index=False)) == {
        "gone": "silent", "train-1": token_limit.REASON, "validation-1": token_limit.REASON,
    }  # fmt: skip
    summary = accepted.summary
    assert (summary["found"], summary["kept"], summary["rejected"]) == (7, 4, 3)
    assert summary["clips"] == {"train": 2, "validation": 1, "test": 1}
    assert summary["reasons"][token_limit.REASON] == 2


def test_a_test_clip_is_kept_however_long_its_text_is():
    assert "test-0" in clip_names(
        token_limit.reject_long_texts(corpus(train=[SHORT], validation=[SHORT], test=[LONG]), PROFILE)
    )


def test_a_corpus_that_fits_is_unchanged():
    full = corpus(train=[SHORT] * 3, validation=[SHORT], test=[SHORT])
    accepted = token_limit.reject_long_texts(full, PROFILE)
    assert accepted.summary == full.summary
    assert accepted.rejected.equals(full.rejected)


def test_a_base_counts_in_its_own_tokens(base):
    profile = Settings.model_validate({"model": {"base": str(base)}})
    accepted = token_limit.reject_long_texts(corpus(train=[SHORT, LONG], validation=[SHORT], test=[SHORT]), profile)
    assert clip_names(accepted) == {"train-0", "validation-0", "test-0"}


def test_a_corpus_without_usable_training_clips_is_refused_with_the_reasons(refusal):
    line = refusal(token_limit.reject_long_texts, corpus(train=[LONG, LONG], validation=[SHORT], test=[SHORT]), PROFILE)
    assert line == f"[corpus] no usable clip of train; rejected: 2 {token_limit.REASON}, 1 silent"


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["train", "validation", "test"]), st.integers(1, 60)), max_size=30))
def test_found_clips_are_kept_or_rejected_whatever_their_texts(drawn):
    splits = {split: [SHORT] for split in ("train", "validation", "test")}
    for split, times in drawn:
        splits[split].append(LETTERS[: 15 * times])
    full = corpus(**splits)
    accepted = token_limit.reject_long_texts(full, PROFILE)
    assert accepted.summary["found"] == full.summary["found"] == accepted.summary["kept"] + accepted.summary["rejected"]
    assert accepted.summary["kept"] == len(manifest.clip_table(accepted.shards))
    assert accepted.summary["rejected"] == len(accepted.rejected)
    assert clip_names(accepted) | set(accepted.rejected["clip"]) == clip_names(full) | {"gone"}


@pytest.mark.parametrize("reason", [None, "why"])
def test_a_shard_that_loses_its_clips_stays_and_is_empty(reason):
    full = corpus(train=[SHORT, SHORT, SHORT], validation=[SHORT], test=[SHORT])
    clips = manifest.clip_table(full.shards)
    reasons = pd.Series(None, index=clips.index, dtype=object)
    reasons[clips["shard"] == 0] = reason
    reduced = manifest.remove_clips(full, reasons, Corpus())
    assert len(reduced.shards) == len(full.shards)
    assert len(reduced.shards[0].clips) == (0 if reason else 2)
