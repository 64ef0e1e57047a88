"""The Space's engine, `space/transcriber.py`, as it was when the run was launched.

A release is evaluated by the code that will serve it. The run's first step stores the Space's files as text, so that
the run records the Space of its scores, and steps on other machines can load it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

# Beside the flow's folder, or in the unpacked code of a pod.
SPACE_FOLDERS = (Path(__file__).parents[3] / "space", Path(__file__).parents[2] / "space")
SUFFIXES = {".py", ".md", ".txt"}


def space_files() -> list[Path]:
    """The Space's files that are deployed."""
    folder = next(folder for folder in SPACE_FOLDERS if (folder / "app.py").is_file())
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def capture_space() -> dict[str, str]:
    """The Space's files, name to text."""
    return {path.name: path.read_text(encoding="utf-8") for path in space_files()}


def load_engine(space: dict[str, str]) -> Any:
    """Import the module `transcriber` of a captured Space."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in space.items():
            if name.endswith(".py"):
                (Path(folder) / name).write_text(content, encoding="utf-8")
        names = {Path(name).stem for name in space}
        shadowed = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("transcriber")
        finally:
            sys.path.remove(folder)
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(shadowed)
