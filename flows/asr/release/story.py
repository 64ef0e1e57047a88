"""What a run says at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def tell(leaderboard: pd.DataFrame, report: dict[str, Any], release: dict[str, Any], latest: bool) -> str:
    """The leaderboard, the winner's scores, where the release is and how to open it."""
    low, high = report["test_wer_ci"]
    speaks = "by speaker" if report["test_wer_ci_unit"] == "speaker" else "by clip: it does not speak for new speakers"
    lines = [
        leaderboard.round({"validation_wer": 2, "seconds": 0}).to_string(index=False),
        "",
        f"test WER      {report['test_wer']:.2f} % (95 % interval {low:.2f} to {high:.2f}, {speaks})",
        f"as served     {report['served_wer']:.2f} %",
    ]
    if report["baseline_wer"] is not None:
        lines.append(f"the base had  {report['baseline_wer']:.2f} %")
    lines += [
        f"on            {report['clips']} clips of {report['speakers']} speakers",
        "",
        f"release       {release['path']}",
    ]
    if latest:
        lines.append("hear it       python space/app.py")
    else:
        lines += [
            f"held back     {release['why']}",
            f"hear it       MODEL_ID={_short(release['path'])} python space/app.py",
        ]
    return "\n".join(lines)


def _short(path: str) -> str:
    inside = Path(path).is_relative_to(Path.cwd())
    return os.path.relpath(path) if inside else path
