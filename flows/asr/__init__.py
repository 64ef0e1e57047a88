"""The library behind `whisper_flow.py`: one subpackage for each part of the graph.

`corpus` preprocesses, `training` trains, `scoring` selects and evaluates, `release` pushes. Each takes the frozen
`settings`. Only `cards`, `cli`, `environment`, `errors`, `metaflow_internals`, `pods` and `store` import Metaflow.
"""

from collections.abc import Iterator

from asr.redaction import redact_text

MAX_LINE = 2_000  # characters of a message


def one_line(text: str) -> str:
    r"""The text as one line that is safe in a terminal: control characters are escaped, a long text is cut.

    >>> one_line("no folder a\nb\x1b[31m")
    'no folder a b\\x1b[31m'
    """
    escaped = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split(None)))
    return escaped if len(escaped) <= MAX_LINE else escaped[: MAX_LINE // 2] + " ... " + escaped[-MAX_LINE // 2 :]


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then its causes."""
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class InputError(Exception):
    """A user's mistake: one line that names what is wrong and where, without secrets. Never shown as a traceback."""

    def __init__(self, line: str, table: str = "") -> None:
        line = one_line(redact_text(line))  # it may quote names, paths and messages from outside
        super().__init__(f"{line}\n{table}" if table else line)


class Terminated(Exception):
    """The process was asked to end, by a signal or Ctrl-C. The trial's last checkpoint is saved."""


class TakenOver(Terminated):
    """Another process continues the same trial."""


__version__ = "0.1.0"


def code_version() -> str:
    """The version and a hash of the flow's sources, which tells uncommitted changes apart."""
    import hashlib
    from pathlib import Path

    flows = Path(__file__).parents[1]
    sources = b"".join(path.read_bytes() for path in (*sorted(flows.glob("*.py")), *sorted(flows.glob("asr/**/*.py"))))
    return f"{__version__}+{hashlib.sha256(sources).hexdigest()[:8]}"
