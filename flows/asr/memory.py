"""Memory that ran out, told in one line whatever library met it."""

from __future__ import annotations

import re

from asr import InputError, disk

# Errors that are no MemoryError: torch's, the loader's of a library that is loaded late, and those of C++ and threads.
WORDS = re.compile(
    r"not enough memory|can('t|not) allocate memory|failed to map segment|bad_alloc|can't start new thread",
    re.IGNORECASE,
)


def complaint(error: BaseException) -> str:
    """What to do where memory ran out, in one line; empty where the error has another cause.

    >>> complaint(ImportError("libtorch_cpu.so: failed to map segment from shared object")) != ""
    True
    """
    if isinstance(error, InputError):
        return ""
    if any(isinstance(one, MemoryError) or WORDS.search(str(one)) for one in disk.chain(error)):
        return "this machine's memory ran out: end other programs, or ask for less at once (--max-workers, batch_size)"
    return ""
