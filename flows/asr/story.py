"""What a run says in the terminal: how it ended, and the command that goes on from there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SPACE = Path(__file__).parents[2] / "space" / "app.py"


def ending(leaderboard: pd.DataFrame, report: dict[str, Any], release: dict[str, Any], latest: bool) -> str:
    """The leaderboard, the winner's scores, where the release is and the command that opens the Space on it."""
    low, high = report["test_wer_ci"]
    speaks = "by speaker" if report["test_wer_ci_unit"] == "speaker" else "by clip: it does not speak for new speakers"
    lines = [
        leaderboard.round({"validation_wer": 2, "seconds": 0}).to_string(index=False),
        "",
        f"test WER      {report['test_wer']:.2f} % (95 % interval {low:.2f} to {high:.2f}, {speaks})",
        f"as served     {report['served_wer']:.2f} %",
        f"as written    {report['orthographic_wer']:.2f} % (capitals and punctuation count)",
    ]
    if report["baseline_wer"] is not None:
        lines.append(f"the base had  {report['baseline_wer']:.2f} %")
    speakers = f" of {report['speakers']} speakers" if report["speakers"] else ""
    lines.append(f"on            {report['clips']} clips{speakers}")
    if len(report["wer_by_source"]) > 1:
        lines += [f"  of {name:11s}{wer:.2f} %" for name, wer in report["wer_by_source"].items()]
    if crossing := report["speakers_crossing"]:
        lines.append(f"crossing      {crossing} speakers stand in several splits; new ones may fare worse")
    lines += ["", f"release       {short(release['path'])}"]
    if not latest:
        lines.append(f"held back     {release['why']}")
    chosen = "" if latest else f"MODEL_ID={short(release['path'])} "
    return "\n".join([*lines, f"hear it       {chosen}{command(SPACE)}"])


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on where a run was interrupted or failed."""
    try:
        yield
    except BaseException as end:
        started = {"run", "resume"} & set(sys.argv)
        failed = not isinstance(end, SystemExit) or end.code == 1  # a refused profile leaves with its line for a code
        if started and failed:
            print(f"\nTo go on from the steps that are finished:  {command(sys.argv[0])} resume", file=sys.stderr)
        raise


def command(script: str | Path) -> str:
    """The line that runs a script with this Python from this folder."""
    return f"{short(sys.executable)} {short(script)}"


def short(path: str | Path) -> str:
    """The path as one would type it here: relative where it lies below the current folder."""
    path = Path(os.path.abspath(path))  # not resolved: a virtual environment's Python is a link
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
