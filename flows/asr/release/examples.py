"""Example clips of a release for its page: a few test clips with an open licence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.training.dataset import ClipDataset

FOLDER = "examples"
LENGTH_QUANTILES = (0.25, 0.5, 0.75)  # of the chosen clips
OPEN_LICENCE = re.compile(r"cc0|cc-by(-sa)?(-\d|$)|odc-by|pddl|public domain", re.IGNORECASE)


def write_examples(target: Path, test: ClipDataset, licences: Sequence[str]) -> list[dict[str, Any]]:
    """Write the clips to the release folder `target`; returns file, text and licence of each.

    Clips are chosen by their duration, from different speakers if possible. Only clips with an open licence are
    published: a voice recorded for training is not.

    Args:
        target: the release folder.
        test: the test clips.
        licences: of each clip.
    """
    is_open = [bool(OPEN_LICENCE.match(licence)) for licence in licences]
    by_length = sorted(
        (clip for clip in range(len(test)) if is_open[clip]), key=lambda clip: (test.seconds[clip], clip)
    )
    chosen = list[int]()
    for quantile in LENGTH_QUANTILES:
        candidates = [clip for clip in by_length[int(quantile * len(by_length)) :] if clip not in chosen]
        speakers = {test.speakers[clip] for clip in chosen}
        others = [clip for clip in candidates if test.speakers[clip] not in speakers]
        chosen += (others or candidates)[:1]
    records = []
    for number, clip in enumerate(chosen, 1):
        file = target / FOLDER / f"{number}.flac"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(test.dataset[clip]["audio"]["bytes"])  # a shard holds FLAC
        records.append({"file": f"{FOLDER}/{file.name}", "text": test.texts[clip], "licence": licences[clip]})
    return records
