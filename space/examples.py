"""Clips that a release carries, for a visitor to try."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

MOST = 6


class Example(NamedTuple):
    """A clip and what is said in it."""

    path: Path
    text: str


def examples(folder: Path, release: dict[str, Any]) -> list[Example]:
    """Those that the record of the release in `folder` names, and that lie in it or in the Hub's cache of it."""
    home = folder.parents[1] if folder.parent.name == "snapshots" else folder  # where a snapshot's links lead
    found, named = list[Example](), release.get("examples")
    for record in named if isinstance(named, list) else []:
        if not isinstance(record, dict) or len(found) == MOST:
            continue
        path = (folder / "examples" / Path(str(record.get("file"))).name).resolve()
        if path.is_file() and path.is_relative_to(home.resolve()):
            found.append(Example(path, str(record.get("text", ""))))
    return found
