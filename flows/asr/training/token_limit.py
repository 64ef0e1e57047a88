"""Clips whose text is too long for Whisper: 448 tokens with the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr.corpus import manifest
from asr.corpus.manifest import Manifest
from asr.settings import Settings
from asr.training import models

if TYPE_CHECKING:
    import pandas as pd

REASON = "more tokens than a Whisper writes"
LIMITED_SPLITS = ("train", "validation")  # a test clip stays: the missing text counts as errors


def reject_long_texts(joined: Manifest, settings: Settings) -> Manifest:
    """Reject the clips of train and validation whose text is too long.

    This needs the tokenizer, so it comes after preprocessing. Raises `InputError` where a split is left without a clip.
    """
    accepted = manifest.remove_clips(joined, _reasons(manifest.clip_table(joined.shards), settings), settings.corpus)
    manifest.check_splits(accepted, settings.corpus)
    return accepted


def _reasons(clips: pd.DataFrame, settings: Settings) -> pd.Series:
    """The reason to reject each clip, or None."""
    import pandas as pd

    reasons = pd.Series(None, index=clips.index, dtype=object)
    while True:
        limited = clips[clips["split"].isin(LIMITED_SPLITS) & reasons.isna()]
        texts = limited["text"][limited["split"] == "train"].tolist()
        if not texts:
            return reasons
        tokenizer = models.load_processor(settings, texts).tokenizer
        tokens = [len(ids) for ids in tokenizer([" " + text for text in limited["text"]]).input_ids]
        too_long = limited.index[[count > models.MAX_TOKENS for count in tokens]]
        if not len(too_long):
            return reasons
        reasons[too_long] = REASON  # a tokenizer trained on the texts changes with them
