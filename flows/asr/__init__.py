"""The library behind `whisper_flow.py`: one wing a verb of the graph.

`corpus` preprocesses, `training` trains, `scoring` selects and evaluates, `release` pushes.
Every wing takes the frozen `settings`. Only `datastore`, `store`, `pods`, `ends`, `launch` and `cards` know Metaflow.
"""

from asr.redaction import redacted


class Refused(Exception):
    """A user's mistake: one line that names what is wrong and where, and no secret. Never shown as a traceback."""

    def __init__(self, line: str) -> None:
        super().__init__(redacted(line))


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
