"""What a command writes to the terminal: progress lines, durations, p-values, commands to paste."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

Batch = TypeVar("Batch", bound=Sized)
REPORT_SECONDS = 20.0  # between two progress lines


def silence_libraries() -> None:
    """Turn off the progress bars of libraries, which spoil a log, and the warning of `generate` at every batch."""
    for variable in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def with_progress(
    batches: Iterable[Batch], total: int, log: Callable[[str], None], every: float = REPORT_SECONDS
) -> Iterator[Batch]:
    """Yield the batches, and report every `every` seconds the finished clips of `total` and the remaining time."""
    start = last_report = time.monotonic()
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if (now := time.monotonic()) > last_report + every and done < total:
            log(f"{done} of {total} clips, {format_duration((now - start) / done * (total - done))} left")
            last_report = now


def format_duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> format_duration(75), format_duration(7500)
    ('1:15 min', '2:05 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def format_p(p: float) -> str:
    """A p-value as it is reported.

    >>> format_p(0.0005), format_p(0.0312)
    ('< 0.001', '0.031')
    """
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def format_command(script: str | Path, *arguments: str) -> str:
    """The command that runs a script with this Python from the current folder."""
    return shlex.join([shorten_path(sys.executable), shorten_path(script), *arguments])


def shorten_path(path: str | Path) -> str:
    """The path relative to the current folder, or absolute if it is elsewhere."""
    path = Path(os.path.abspath(path))  # not resolved: a virtual environment's Python is a link
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
