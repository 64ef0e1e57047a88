"""The library behind `whisper_flow.py`: one wing a verb of the graph.

`corpus` preprocesses, `training` trains, `scoring` selects and evaluates, `release` pushes.
Every wing takes the frozen `settings`. Only `datastore`, `store`, `pods`, `ends`, `launch` and `cards` know Metaflow.
"""

from asr.redaction import redacted

MOST_LETTERS = 2_000  # of a line that is told


def one_line(text: str) -> str:
    r"""A text that may be shown in a terminal: what moves a cursor, colours or turns letters round is spelt out.

    >>> one_line("no folder a\nb\x1b[31m")
    'no folder a b\\x1b[31m'
    """
    spelt = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in " ".join(text.split(None)))
    return spelt if len(spelt) <= MOST_LETTERS else spelt[: MOST_LETTERS // 2] + " ... " + spelt[-MOST_LETTERS // 2 :]


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class InputError(Exception):
    """A user's mistake: one line that names what is wrong and where, and no secret. Never shown as a traceback."""

    def __init__(self, line: str, table: str = "") -> None:
        line = one_line(redacted(line))  # it often holds what a stranger wrote: names, paths, a library's words
        super().__init__(f"{line}\n{table}" if table else line)


class Terminated(Exception):
    """The machine is wanted back, or somebody pressed Ctrl-C; what was learnt so far is kept."""


class TakenOver(Terminated):
    """Another process goes on with the same trial."""


__version__ = "0.1.0"


def code_version() -> str:
    """The version, and a hash of the flow's own sources: what ran, whether or not it was committed."""
    import hashlib
    from pathlib import Path

    flows = Path(__file__).parents[1]
    sources = b"".join(path.read_bytes() for path in (*sorted(flows.glob("*.py")), *sorted(flows.glob("asr/**/*.py"))))
    return f"{__version__}+{hashlib.sha256(sources).hexdigest()[:8]}"
