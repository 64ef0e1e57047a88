"""Example clips of a release, for visitors to try."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

MAX_EXAMPLES = 6


class Example(NamedTuple):
    """A clip and its text."""

    path: Path
    text: str


def find_examples(folder: Path, release: dict[str, Any]) -> list[Example]:
    """The examples named by the record of the release in `folder`, as far as they lie in it or its Hub cache."""
    # In the Hub's cache, a snapshot's files are links to blobs beside it.
    root = folder.parents[1] if folder.parent.name == "snapshots" else folder
    examples, records = list[Example](), release.get("examples")
    for record in records if isinstance(records, list) else []:
        if not isinstance(record, dict) or len(examples) == MAX_EXAMPLES:
            continue
        path = (folder / "examples" / Path(str(record.get("file"))).name).resolve()
        if path.is_file() and path.is_relative_to(root.resolve()):
            examples.append(Example(path, str(record.get("text", ""))))
    return examples
