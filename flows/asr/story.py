"""What a run says in the terminal: how far it is, and at its end what came of it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asr.corpus.text import RATES

if TYPE_CHECKING:
    import pandas as pd

Batch = TypeVar("Batch", bound=Sized)
REPORT_SECONDS = 20.0  # between two lines of something that takes long
SPACE = Path(__file__).parents[2] / "space" / "app.py"


def quiet() -> None:
    """Keep libraries from drawing bars, since a log takes lines, and `generate` from warning at every batch."""
    for bars in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(bars, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def ending(leaderboard: pd.DataFrame, report: dict[str, Any], release: dict[str, Any], latest: bool) -> str:
    """The leaderboard, the winner's scores, where the release is and the command that opens the Space on it."""
    low, high = report["test_wer_ci"]
    name = RATES[report["unit"]]
    speaks = "by speaker" if report["test_wer_ci_unit"] == "speaker" else "by clip: it does not speak for new speakers"
    lines = [
        board(leaderboard, name),
        "",
        f"test {name}      {report['test_wer']:.2f} % (95 % interval {low:.2f} to {high:.2f}, {speaks})",
        f"as served     {_rate(report, 'served_wer')}",
        f"as written    {_rate(report, 'orthographic_wer')}, capitals and punctuation counted",
    ]
    if report["baseline_wer"] is not None:
        better = report["against_baseline"]
        lines.append(f"the base had  {_rate(report, 'baseline_wer')}; p of the difference {chance(better['p'])}")
    for language, wer in report.get("retained_wer", {}).items():
        had, found = report["retained_baseline_wer"][language], report["against_retained_baseline"][language]
        lines.append(f"{f'in {language}':14s}{wer:.2f} %; the base had {had:.2f} %, p {chance(found['p'])}")
    if report.get("hotwords"):
        had, told = (f"{_rate(report, f'{name}_recall')}" for name in ("hotword", "hinted"))
        lines.append(f"hotwords      {had} are heard; {told} where told of them, p {chance(report['hotword_p'])}")
    speakers = f" of {report['speakers']} speakers" if report["speakers"] else ""
    lines.append(f"on            {report['clips']} clips{speakers}")
    if len(report["wer_by_source"]) > 1:
        lines += [f"  of {name:11s}{wer:.2f} %" for name, wer in report["wer_by_source"].items()]
    if crossing := report["speakers_crossing"]:
        lines.append(f"crossing      {crossing} speakers stand in several splits; new ones may fare worse")
    lines += ["", f"release       {short(release['path'])}"]
    if fetch := fetching(release):
        lines[-1] += f", once fetched:  {fetch}"
    if not latest:
        lines.append(f"held back     {release['why']}")
    chosen = "" if latest else f"MODEL_ID={shlex.quote(short(release['path']))} "
    return "\n".join([*lines, f"hear it       {chosen}{command(SPACE)}"])


def fetching(release: Mapping[str, Any]) -> str:
    """The line that brings a release here; empty where it is here already."""
    run_id = Path(release["path"]).name.rpartition("-")[2]
    return "" if release.get("here", True) else f"python -m asr.release.fetch {run_id}"


def board(leaderboard: pd.DataFrame, name: str) -> str:
    """The leaderboard as one would read it; p says how well the validation clips tell a trial from the winner.

    `name` is what its rates are, WER or CER. The first column is flush left, for Metaflow strips the spaces that a line
    begins with.
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


def told(
    batches: Iterable[Batch], total: int, say: Callable[[str], None], every: float = REPORT_SECONDS
) -> Iterator[Batch]:
    """The batches, with a line now and then on how many of `total` clips are done and how long the rest takes."""
    began = said = time.monotonic()
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if (now := time.monotonic()) > said + every and done < total:
            say(f"{done} of {total} clips, {clock((now - began) / done * (total - done))} left")
            said = now


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> clock(75), clock(7500)
    ('1:15 min', '2:05 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def chance(p: float) -> str:
    """A p-value as one writes it.

    >>> chance(0.0005), chance(0.0312)
    ('< 0.001', '0.031')
    """
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def command(script: str | Path, *arguments: str) -> str:
    """The line that runs a script with this Python from this folder."""
    return shlex.join([short(sys.executable), short(script), *arguments])


def short(path: str | Path) -> str:
    """The path as one would type it here: relative where it lies below the current folder."""
    path = Path(os.path.abspath(path))  # not resolved: a virtual environment's Python is a link
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
