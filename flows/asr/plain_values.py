"""Artifacts as plain Python, which can be read without this program, pandas or numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses as dicts, tables as lists of rows, numpy numbers as Python numbers; other values as they are.

    >>> from asr.training.search import LogEntry
    >>> to_plain({"history": (LogEntry(1, 0.5, 0.01, 20.0),)})
    {'history': ({'step': 1, 'loss': 0.5, 'learning_rate': 0.01, 'clips_per_second': 20.0},)}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map(to_plain, value)) if isinstance(value, tuple) else [to_plain(item) for item in value]
    if hasattr(value, "columns"):
        return [to_plain(row) for row in value.to_dict("records")]
    return value.item() if hasattr(value, "dtype") else value


def from_plain(kind: type[T], value: Any) -> T:
    """The dataclass that `to_plain` made `value` of."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(value)
