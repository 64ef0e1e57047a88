"""The record of a release, `release.json`: the run that made it, its corpus, its trials and the model's abilities."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asr.release import folder
from asr.settings import Settings
from asr.training import models
from asr.training.batches import evenly_spaced
from asr.training.dataset import ClipDataset
from asr.training.search import Outcome

LICENCES = {"sample": "CC0-1.0", "common_voice": "CC0-1.0"}  # of the kinds of sources that have one licence
PEAK_CLIPS = 100  # training clips that are measured for their peak


def run_record(
    settings: Settings, run_id: str, created: str, code_version: str, corpus: dict[str, Any], board: pd.DataFrame,
    winner: Outcome, hardware: tuple[str, int],
) -> dict[str, Any]:  # fmt: skip
    """What a release's record says about the run that made it, as JSON types.

    Args:
        settings: the profile.
        run_id: of the run.
        created: when the run began, ISO 8601.
        code_version: of this program.
        corpus: the run's `corpus` artifact.
        board: the leaderboard.
        winner: the outcome of the winning trial.
        hardware: its name and its power in watts.
    """
    release = settings.release
    return {
        "format": models.FORMATS[-1],
        "name": settings.name,
        "run_id": run_id,
        "created": created,
        "program": f"whisper-flow {code_version}",
        "language": settings.corpus.language,
        "scoring": settings.text.scoring,
        "base": settings.model.base,
        "license": release.license,
        "repo_id": release.repo_id,
        "hours": corpus["hours"],
        "split_hours": corpus["split_hours"],
        "clips_of": corpus["clips"],
        "corpus_speakers": corpus["speakers"],
        "speakers_crossing": corpus["speakers_crossing"],
        "sources": {source_name(name, settings): hours for name, hours in corpus["sources"].items()},
        "retained_sources": {
            source_name(name, settings): language for name, language in settings.corpus.retained.items()
        },
        "licences": {
            source_name(source.display_name, settings): source.licence or LICENCES.get(source.source, "not stated")
            for source in settings.corpus.all_sources
        },
        "fingerprint": corpus["fingerprint"],
        "trials": len(board),
        "steps": winner.steps,
        "hyperparameters": {
            "learning_rate": winner.trial.learning_rate,
            "weight_decay": winner.trial.weight_decay,
            **dict(winner.trial.overrides),
        },
        "leaderboard": json.loads(board.to_json(orient="records", double_precision=12)),
        "curve": [asdict(point) for point in winner.curve],
        "training_seconds": float(board["seconds"].sum()),
        "hardware": hardware[0],
        "watts": hardware[1],
        "forced": [],
    }


def initial_record(language: str, limits: dict[str, float]) -> dict[str, Any]:
    """The part of the record that the engine needs before the evaluation."""
    return {"format": models.FORMATS[-1], "language": language, **limits}


def base_record(source: str | Path) -> dict[str, Any]:
    """A release's record; empty for a model that is not a release of this program."""
    path = Path(source, folder.RECORD)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def model_limits(settings: Settings, train: ClipDataset) -> dict[str, float]:
    """The input that a model trained from scratch is limited to, which the engine respects; empty for other models.

    `longest_seconds` is the longest training clip, `peak` the median peak of the training clips (1.0 is full scale). A
    published Whisper has no such limits, nor has a model fine-tuned from one; a release based on another inherits its
    limits. Measurements: `flows/docs/decisions.md`, "Limits of a model trained from scratch".
    """
    base = settings.model.base
    inherited = known_limits(base) if base else {}
    if base and not inherited:
        return {}
    peaks = [float(np.abs(train.sound(clip)).max()) for clip in evenly_spaced(len(train), PEAK_CLIPS)]
    limits = {"peak": round(float(np.median(peaks)), 3)}
    if settings.training.context != "packed":
        longest = max(train.seconds) + settings.training.quiet_seconds
        limits["longest_seconds"] = max(longest, inherited.get("longest_seconds", 0.0))
    return limits


def known_limits(source: str | Path) -> dict[str, float]:
    """The limits in a release's record."""
    record = base_record(source)
    return {name: record[name] for name in ("peak", "longest_seconds") if record.get(name)}


def source_name(name: str, settings: Settings) -> str:
    """A source's public name: its id, if it is a dataset on the Hub without a name of its own."""
    source = next(source for source in settings.corpus.all_sources if source.display_name == name)
    is_hub_id = source.source == "hub" and source.id and not source.name and not Path(source.id).is_absolute()
    return str(source.id) if is_hub_id else name
