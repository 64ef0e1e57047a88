"""`whisper-flow`: the flow file's command line under a shorter name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FLOW = Path(__file__).parents[1] / "whisper_flow.py"


def main() -> None:
    """Become `python flows/whisper_flow.py` with the same arguments, so that signals reach the flow itself."""
    if not FLOW.is_file():
        raise SystemExit(f"whisper-flow needs its checkout, installed by pip install -e .: there is no {FLOW}")
    os.execv(sys.executable, [sys.executable, str(FLOW), *sys.argv[1:]])
