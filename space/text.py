"""Text that visitors type or name files with."""

from __future__ import annotations

import unicodedata


def clean_text(text: str) -> str:
    """One line of normalized, printable text.

    >>> clean_text(" Hej\\x00 du,\\nglada  värld ")
    'Hej du, glada värld'
    """
    letters = (letter for letter in unicodedata.normalize("NFC", text) if letter.isspace() or letter.isprintable())
    return " ".join("".join(letters).split())
