"""Which clips a Whisper cannot learn from: it writes no more than 448 tokens, the prompt counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr.corpus import manifest
from asr.corpus.manifest import Manifest
from asr.settings import Settings
from asr.training import models

if TYPE_CHECKING:
    import pandas as pd

REASON = "more tokens than a Whisper writes"
LIMITED_SPLITS = ("train", "validation")  # a test clip stays: what the model leaves out of it is an error


def reject_long_texts(joined: Manifest, settings: Settings) -> Manifest:
    """The corpus without the clips of train and validation whose text is too long, each rejected with that reason.

    Only now is there a tokenizer to count with. Raises `InputError` where a split is left without a clip.
    """
    left = manifest.remove_clips(joined, _reasons(manifest.clip_table(joined.shards), settings), settings.corpus)
    manifest.check_splits(left, settings.corpus)
    return left


def _reasons(clips: pd.DataFrame, settings: Settings) -> pd.Series:
    """For each clip why it cannot be learnt from, or None."""
    import pandas as pd

    reasons = pd.Series(None, index=clips.index, dtype=object)
    while True:
        asked = clips[clips["split"].isin(LIMITED_SPLITS) & reasons.isna()]
        texts = asked["text"][asked["split"] == "train"].tolist()
        if not texts:
            return reasons
        tokenizer = models.load_processor(settings, texts).tokenizer
        tokens = [len(spelt) for spelt in tokenizer([" " + text for text in asked["text"]]).input_ids]
        too_long = asked.index[[count > models.MAX_TOKENS for count in tokens]]
        if not len(too_long):
            return reasons
        reasons[too_long] = REASON  # and a tokenizer that is learnt from the texts is now another one
