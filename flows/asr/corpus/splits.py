"""The splits of a corpus: their names, and how a corpus without splits is divided."""

from __future__ import annotations

import hashlib
import unicodedata

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {  # as on the Hub, https://huggingface.co/docs/hub/datasets-file-names-and-splits
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def split_from_name(name: str) -> str | None:
    """The split that `name` stands for.

    >>> split_from_name("dev"), split_from_name("other")
    ('validation', None)
    """
    return next((split for split, aliases in SPLIT_ALIASES.items() if name in aliases), None)


def assign_split(speaker: str) -> str:
    """A split for a speaker of a corpus without splits: a tenth each goes to validation and test, by hash.

    All clips of a speaker are in one split, and stay there as the corpus grows.
    """
    name = unicodedata.normalize("NFC", speaker).encode("utf-8", "replace")
    tenth = int.from_bytes(hashlib.sha256(name).digest()[:4], "big") % 10
    return {0: "validation", 1: "test"}.get(tenth, "train")
