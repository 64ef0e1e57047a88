"""The Space's engine, `space/transcriber.py`, as it was when the run was launched.

A release is scored by the very code that will serve it. The Space is captured as text at launch, so that a run
records the Space it made its scores with, and steps on other machines can load it.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "space"
KEPT = {".py", ".md", ".txt"}


def capture() -> str:
    """The files of the Space as JSON: name to text."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in KEPT)
    return json.dumps({path.name: path.read_text(encoding="utf-8") for path in files})


def load(space: dict[str, str]) -> Any:
    """The module `transcriber` of a captured Space."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transcriber.py"
        path.write_text(space["transcriber.py"], encoding="utf-8")
        spec = importlib.util.spec_from_file_location("transcriber", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
