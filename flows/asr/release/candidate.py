"""The winner made into a release, and scored once on test: the float model, and the folder as it will be served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from asr.corpus.shards import Speech
from asr.release import engine, folder
from asr.scoring import report
from asr.settings import Settings
from asr.training import hearing, models
from asr.training.examples import Clips


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
        "scoring": settings.text.scoring,
        "base": settings.model.base,
        "hours": corpus["hours"],
        "fingerprint": corpus["fingerprint"],
        "speakers_crossing": corpus["speakers_crossing"],
        "trials": len(leaderboard),
        "learning_rate": float(winner["learning_rate"]),
        "weight_decay": float(winner["weight_decay"]),
        "steps": int(winner["steps"]),
    }


def make(
    ready: Path, settings: Settings, winner: Path, corpus: Speech, space: dict[str, str], about: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Build the release in `ready` from the winner's folder; its scores, and the report on them.

    What it tells `about` itself goes into its record and card.
    """
    speech, language = corpus.split("test"), settings.corpus.language
    everything = range(len(speech))
    baseline = None
    if settings.model.base:
        model, processor = models.load(settings.model.base)
        models.speak(model, processor, language)
        baseline = hearing.transcripts(model, processor, Clips(speech, processor), everything)
    model, processor = models.load(winner)
    test = Clips(speech, processor)
    heard = hearing.transcripts(model, processor, test, everything)
    folder.build(ready, model, processor)
    folder.write_record(ready, {"language": language})
    transcriber = engine.load(space).Transcriber(ready)
    served = transcriber.transcribe_batch([test.sound(clip) for clip in everything])
    said = pd.DataFrame({name: speech[name][:] for name in ("clip", "source", "speaker", "seconds")})
    scores = report.scores(said.assign(reference=test.texts), heard, served, baseline, settings)
    told = {**report.report(scores), "speakers_crossing": about["speakers_crossing"]}
    folder.describe(ready, {**about, **told})
    return scores, told
