"""Errors as one line of the log, without a visitor's data."""

from __future__ import annotations

import os
import traceback


def locate_error(error: BaseException) -> str:
    """An error's type, and the file and line that raised it; its message may quote a visitor.

    >>> locate_error(ValueError("a visitor's text"))
    'ValueError'
    """
    name, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)
    return f"{name} in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else name
