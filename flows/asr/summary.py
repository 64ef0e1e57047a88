"""The summary that a run prints at its end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.corpus.text import RATES
from asr.terminal import format_command, format_p, shorten_path

if TYPE_CHECKING:
    import pandas as pd

SPACE = Path(__file__).parents[2] / "space" / "app.py"


def format_summary(leaderboard: pd.DataFrame, report: dict[str, Any], release: dict[str, Any], latest: bool) -> str:
    """The leaderboard, the winner's scores, where the release is and the command that opens the Space on it."""
    low, high = report["test_wer_ci"]
    name = RATES[report["unit"]]
    unit = "by speaker" if report["test_wer_ci_unit"] == "speaker" else "by clip: it does not speak for new speakers"
    lines = [
        format_leaderboard(leaderboard, name),
        "",
        f"test {name}      {report['test_wer']:.2f} % (95 % interval {low:.2f} to {high:.2f}, {unit})",
        f"as served     {_rate(report, 'served_wer')}",
        f"as written    {_rate(report, 'orthographic_wer')}, capitals and punctuation counted",
    ]
    if report["baseline_wer"] is not None:
        comparison = report["against_baseline"]
        lines.append(f"the base had  {_rate(report, 'baseline_wer')}; p of the difference {format_p(comparison['p'])}")
    for language, wer in report.get("retained_wer", {}).items():
        base_wer, comparison = report["retained_baseline_wer"][language], report["against_retained_baseline"][language]
        lines.append(f"{f'in {language}':14s}{wer:.2f} %; the base had {base_wer:.2f} %, p {format_p(comparison['p'])}")
    if report.get("hotwords"):
        recall, hinted_recall = (_rate(report, f"{name}_recall") for name in ("hotword", "hinted"))
        p = format_p(report["hotword_p"])
        lines.append(f"hotwords      {recall} are recognised; {hinted_recall} with the list as a hint, p {p}")
    speakers = f" of {report['speakers']} speakers" if report["speakers"] else ""
    lines.append(f"on            {report['clips']} clips{speakers}")
    if len(report["wer_by_source"]) > 1:
        lines += [f"  of {name:11s}{wer:.2f} %" for name, wer in report["wer_by_source"].items()]
    if crossing := report["speakers_crossing"]:
        lines.append(f"crossing      {crossing} speakers occur in several splits; new speakers may have a higher WER")
    lines += ["", f"release       {shorten_path(release['path'])}"]
    if fetch := fetch_command(release):
        lines[-1] += f", once fetched:  {fetch}"
    if not latest:
        lines.append(f"held back     {release['why']}")
    chosen = "" if latest else f"MODEL_ID={shlex.quote(shorten_path(release['path']))} "
    return "\n".join([*lines, f"serve it      {chosen}{format_command(SPACE)}"])


def fetch_command(release: Mapping[str, Any]) -> str:
    """The command that downloads a release; empty where it is local."""
    run_id = Path(release["path"]).name.rpartition("-")[2]
    return "" if release.get("here", True) else f"python -m asr.release.fetch {run_id}"


def format_leaderboard(leaderboard: pd.DataFrame, name: str) -> str:
    """The leaderboard as text; p is the p-value of the difference between a trial and the winner.

    `name` is the kind of its rates, WER or CER. The first column is flush left, because Metaflow strips leading
    spaces.
    """
    rate = f"validation_{name.lower()}"
    shown = leaderboard.rename(columns={"validation_wer": rate, "low": "95 % from", "high": "to"})
    shown = shown.round({rate: 2, "95 % from": 2, "to": 2, "p": 3, "seconds": 0})
    first = shown.columns[0]
    width = max(len(first), *(len(str(cell)) for cell in shown[first]))
    table = shown.astype({first: str}).assign(**{first: [f"{cell:<{width}}" for cell in map(str, shown[first])]})
    lines = table.rename(columns={first: f"{first:<{width}}"}).to_string(index=False).splitlines()
    return "\n".join(line.removeprefix(" ") for line in lines)


def _rate(report: dict[str, Any], name: str) -> str:
    low, high = report[f"{name}_ci"]
    return f"{report[name]:.2f} % ({low:.2f} to {high:.2f})"
