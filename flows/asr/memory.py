"""Memory: an error of any library explained in one line, and large imports without garbage collections."""

from __future__ import annotations

import atexit
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

from asr import InputError, error_chain

# Messages of errors that are not a MemoryError: torch's, the dynamic loader's, those of C++ and of threads.
MESSAGES = re.compile(
    r"not enough memory|can('t|not) allocate memory|failed to allocate|failed to map segment|bad_alloc"
    r"|can't start new thread",
    re.IGNORECASE,
)


def explain(error: BaseException) -> str:
    """What to do where memory ran out, in one line; empty where the error has another cause.

    >>> explain(ImportError("libtorch_cpu.so: failed to map segment from shared object")) != ""
    True
    """
    if isinstance(error, InputError):
        return ""
    if any(isinstance(cause, MemoryError) or MESSAGES.search(str(cause)) for cause in error_chain(error)):
        return "this machine's memory ran out: end other programs, or ask for less at once (--max-workers, batch_size)"
    return ""


@contextmanager
def no_collections() -> Iterator[None]:
    """For large imports: collections took a fifth of their time, and each later one would go through it all.

    >>> with no_collections():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was imported is never garbage
        gc.enable()


def skip_last_collections() -> None:
    """Let the process end at once: collections through all that it imported take up to a quarter of its time."""
    atexit.register(gc.freeze)
