"""Markdown of the model card: tables, links, numbers with units, and text that cannot break the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+", re.ASCII)
# What Markdown would interpret, in a line or at its start; it ignores an underscore inside of a word.
MARKUP = re.compile(r"[\\`*\[\]<>|~&$#!]|(?<![^\W_])_|_(?![^\W_])|^[-+=]|^\d+(?=[.)])")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def escape(text: object) -> str:
    """Any text as a line of Markdown that shows it.

    >>> escape("common_voice"), escape("a | <b>")
    ('common_voice', 'a &#124; &#60;b&#62;')
    """
    return MARKUP.sub(lambda match: "".join(f"&#{ord(character)};" for character in match[0]), one_line(text))


def link(name: str, kind: str = "") -> str:
    """The name of a model or, of the kind "datasets/", of a dataset; as a link if it is a Hub id."""
    return f"[{escape(name)}](https://huggingface.co/{kind}{name})" if HUB_ID.fullmatch(name) else escape(name)


def percent(value: float) -> str:
    return f"{value:.1f}\u00a0%"


def interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.1f}\u00a0to\u00a0{bounds[1]:.1f}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def hours(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 0}f}\u00a0h"


def number(value: float) -> str:
    """An integer as it is, any other number with three significant digits.

    >>> number(1024), number(0.0123456), number(3219.4)
    ('1,024', '0.0123', '3,220')
    """
    return f"{value:,}" if isinstance(value, int) else f"{float(f'{value:.3g}'):,g}"
