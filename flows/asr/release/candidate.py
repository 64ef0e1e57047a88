"""The winner made into a release, and scored once on test: the float model, and the folder as it will be served."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.corpus.shards import read
from asr.release import engine, folder
from asr.scoring import report
from asr.settings import Settings
from asr.training import models, trial
from asr.training.batches import Clips

if TYPE_CHECKING:
    import pandas as pd


def facts(
    settings: Settings, run_id: str, code_version: str, corpus: dict[str, Any], leaderboard: pd.DataFrame
) -> dict[str, Any]:
    """What a release tells of the run that made it."""
    winner = leaderboard.iloc[0]
    return {
        "name": settings.name,
        "run_id": run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": f"whisper-flow {code_version}",
        "language": settings.corpus.language,
        "base": settings.model.base,
        "hours": corpus["hours"],
        "fingerprint": corpus["fingerprint"],
        "trials": len(leaderboard),
        "learning_rate": float(winner["learning_rate"]),
        "weight_decay": float(winner["weight_decay"]),
        "steps": int(winner["steps"]),
    }


def make(
    ready: Path, settings: Settings, winner: Path, shards: Sequence[Path], space: dict[str, str], about: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Build the release in `ready` from the winner's folder; its scores, and the report on them.

    What it tells `about` itself goes into its record and card.
    """
    speech, language = read(shards, "test"), settings.corpus.language
    everything = range(len(speech))
    baseline = None
    if settings.model.base:
        model, processor = models.load(settings.model.base)
        models.speak(model, processor, language)
        baseline = trial.transcripts(model, processor, Clips(speech, processor), everything)
    model, processor = models.load(winner)
    test = Clips(speech, processor)
    heard = trial.transcripts(model, processor, test, everything)
    folder.build(ready, model, processor)
    folder.write_record(ready, {"language": language})
    transcriber = engine.load(space).Transcriber(ready)
    served = transcriber.transcribe_batch([test.sound(clip) for clip in everything])
    scores = report.scores(speech["clip"], speech["speaker"], speech["seconds"], test.texts, heard, served, baseline)
    told = report.report(scores)
    folder.describe(ready, {**about, **told})
    return scores, told
