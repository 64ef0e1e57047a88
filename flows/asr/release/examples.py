"""A few test clips that a release carries for its page, of speech that its licence lets anybody pass on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.training.dataset import ClipDataset

FOLDER = "examples"
PLACES = (0.25, 0.5, 0.75)  # among the clips in order of length
OPEN = re.compile(r"cc0|cc-by(-sa)?(-\d|$)|odc-by|pddl|public domain", re.IGNORECASE)


def add(ready: Path, test: ClipDataset, licences: Sequence[str]) -> list[dict[str, Any]]:
    """Write the clips to the release in `ready`; a record of each: file, text, licence.

    `licences` of the clips, one each. They are chosen by their length alone, of different speakers where there are
    such, and none is taken without an open licence: a voice that was recorded for training is not to be published.
    """
    free = sorted((at for at in range(len(test)) if OPEN.match(licences[at])), key=lambda at: (test.seconds[at], at))
    chosen = list[int]()
    for place in PLACES:
        rest = [at for at in free[int(place * len(free)) :] if at not in chosen]
        others = [at for at in rest if test.speakers[at] not in {test.speakers[one] for one in chosen}]
        chosen += (others or rest)[:1]
    records = []
    for number, at in enumerate(chosen, 1):
        file = ready / FOLDER / f"{number}.flac"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(test.dataset[at]["audio"]["bytes"])  # a shard holds FLAC
        records.append({"file": f"{FOLDER}/{file.name}", "text": test.texts[at], "licence": licences[at]})
    return records
