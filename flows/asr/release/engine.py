"""The Space's engine, `space/transcriber.py`, as it was when the run was launched.

A release is scored by the very code that will serve it. The Space is captured as text at launch, so that a run
records the Space it made its scores with, and steps on other machines can load it.
"""

from __future__ import annotations

import base64
import bz2
import importlib
import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "space"
KEPT = {".py", ".md", ".txt"}


def capture() -> str:
    """The files of the Space, packed.

    Argo hands a Parameter on in one argument of a shell, which may be 128 KiB long, and which takes `$(...)` in it for
    a command.
    """
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in KEPT)
    told = json.dumps({path.name: path.read_text(encoding="utf-8") for path in files})
    return base64.urlsafe_b64encode(bz2.compress(told.encode())).decode()


def unpacked(captured: str) -> dict[str, str]:
    """The files' texts by name, of what `capture` gave."""
    packed = base64.urlsafe_b64decode(captured)
    # An earlier run's, which may be resumed, is zlib's, a fifth larger.
    files: dict[str, str] = json.loads((bz2 if packed[:3] == b"BZh" else zlib).decompress(packed))
    return files


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
