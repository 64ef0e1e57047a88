"""The Space's engine, `space/transcriber.py`, as it was when the run was launched.

A release is scored by the very code that will serve it. The run's first step keeps the Space's files as text, so that a
run records the Space it made its scores with, and steps on other machines can load it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

# Beside the flow's folder, or where a pod's code is unpacked.
PLACES = (Path(__file__).parents[3] / "space", Path(__file__).parents[2] / "space")
KEPT = {".py", ".md", ".txt"}


def files() -> list[Path]:
    """Those of the Space that serve."""
    folder = next(place for place in PLACES if (place / "app.py").is_file())
    return sorted(path for path in folder.iterdir() if path.suffix in KEPT)


def capture() -> dict[str, str]:
    """Their texts by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in files()}


def load(space: dict[str, str]) -> Any:
    """The module `transcriber` of a captured Space."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in space.items():
            if name.endswith(".py"):
                (Path(folder) / name).write_text(content, encoding="utf-8")
        apart = {Path(name).stem for name in space}
        ours = {name: sys.modules.pop(name) for name in apart & set(sys.modules)}
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("transcriber")
        finally:
            sys.path.remove(folder)
            for name in apart:
                sys.modules.pop(name, None)
            sys.modules.update(ours)
