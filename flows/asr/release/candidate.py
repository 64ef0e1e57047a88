"""The winner made into a release, and scored once on test: the float model, and the folder as it will be served."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asr import compute, story
from asr.corpus.clips import RATE
from asr.corpus.shards import Speech
from asr.release import engine, folder
from asr.scoring import behaviour, intervals, rates, report
from asr.scoring.report import Exam
from asr.settings import Settings
from asr.training import hearing, models
from asr.training.batches import by_length, evenly
from asr.training.examples import Clips

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

AT_ONCE = 256  # sounds in memory
WORST, SOUND_BYTES = 9, 1_800_000  # of the worst clips to hear: base64 takes a third more, and a card stays below 3 MB
COMPARED = 100  # clips that are heard once more at 30 s of context, or for their times


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
    ready: Path, settings: Settings, winner: Path, corpus: Speech, space: dict[str, str], about: dict[str, Any],
    say: Callable[[str], None] = print,
) -> Exam:  # fmt: skip
    """Build the release in `ready` from the winner's folder, and examine it.

    What it tells `about` itself goes into its record and card.
    """
    speech, baseline = corpus.split("test"), None
    if settings.model.base:
        model, processor = models.load(settings.model.base)
        models.speak(model, processor, settings.corpus.language)
        say("the base hears the test clips")
        baseline = hearing.transcripts(model, processor, Clips(speech, processor), range(len(speech)), say)
    exam = examine(ready, settings, *models.load(winner), speech, space, baseline, say)
    exam.report["speakers_crossing"] = about["speakers_crossing"]
    folder.describe(ready, {**about, **exam.report})
    return exam


def examine(
    ready: Path, settings: Settings, model: WhisperForConditionalGeneration, processor: WhisperProcessor,
    speech: Dataset, space: dict[str, str], baseline: Sequence[str] | None = None, say: Callable[[str], None] = print,
) -> Exam:  # fmt: skip
    """Build a release of the model in `ready`; score the model on the clips of `speech`, and that folder as served.

    `baseline` is what its base heard in them.
    """
    folder.build(ready, model, processor)
    folder.write_record(ready, {"language": settings.corpus.language})
    transcriber = engine.load(space).Transcriber(ready)
    test = Clips(speech, processor)
    say("the model hears the test clips")
    heard = {"heard": hearing.transcripts(model, processor, test, range(len(test)), say)}
    say("the release hears them as it is served")
    served = _served(transcriber, test, say)
    heard["served"] = served.texts
    if baseline is not None:
        heard["baseline"] = list(baseline)
    said = pd.DataFrame({name: speech[name][:] for name in ("clip", "source", "speaker", "seconds")})
    table = report.scores(said.assign(decibels=served.decibels, reference=test.texts), heard, settings)
    seconds = sum(test.seconds)
    told = {
        **report.report(table, settings),
        **_beside(transcriber, test, table, settings),
        "test_hours": seconds / 3600,
        "real_time_factor": served.took / seconds,
        "threads": compute.cores(),
    }
    return Exam(table, told, report.breakdown(table), _sounds(speech, table))


def _sounds(speech: Dataset, table: pd.DataFrame) -> dict[str, bytes]:
    """The worst clips to hear, as many as a card holds."""
    sounds, room = dict[str, bytes](), SOUND_BYTES
    for row in report.worst(table, WORST):
        clip = speech[row]
        flac = clip["audio"]["bytes"]
        if len(flac) <= room:
            sounds[clip["clip"]], room = flac, room - len(flac)
    return sounds


@dataclass(frozen=True)
class _Served:
    texts: list[str]
    decibels: list[float]  # of speech over noise
    took: float  # seconds to write the texts


def _served(transcriber: Any, test: Clips, say: Callable[[str], None]) -> _Served:
    """What is heard in all clips as served, so many at once as memory holds."""
    texts, decibels, took = [""] * len(test), [0.0] * len(test), 0.0
    for batch in story.told(by_length(test, range(len(test)), AT_ONCE), len(test), say):
        sounds = [test.sound(clip) for clip in batch]
        began = time.perf_counter()
        found = transcriber.transcribe_batch(sounds)
        took += time.perf_counter() - began
        for clip, text, sound in zip(batch, found, sounds, strict=True):
            texts[clip], decibels[clip] = text, behaviour.speech_over_noise(sound)
    return _Served(texts, decibels, took)


def _beside(transcriber: Any, test: Clips, table: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """What a WER does not tell of the release: inventions, times, and what 30 s of context would change."""
    probes = behaviour.probes()
    invented = behaviour.invented(transcriber.transcribe_batch(probes), sum(map(len, probes)) / RATE)
    some = evenly(len(test), COMPARED)
    transcriber.context = "full"
    full = transcriber.transcribe_batch([test.sound(clip) for clip in some])
    transcriber.context = "trimmed"
    part = table.iloc[some]
    errors = rates.errors(part["reference"].tolist(), full, settings.text.scoring, settings.corpus.language)
    at_full, trimmed, words = [one.word_errors for one in errors], part["served_word_errors"].tolist(), part["words"]
    compared = intervals.compare(trimmed, at_full, words.tolist(), part["speaker"].tolist())
    timed, off = [clip for clip in range(len(test)) if test.segments(clip)], list[float]()
    for clip in (timed[at] for at in evenly(len(timed), COMPARED)):
        told = [(one.start, one.end) for one in transcriber.transcribe(test.sound(clip)).segments]
        off += behaviour.timing([(one.start, one.end) for one in test.segments(clip)], told)
    return {
        "invented_words_per_minute": invented,
        "timestamp_error": float(np.median(off)) if off else None,
        "trimmed_context_wer": rates.rate(sum(trimmed), int(words.sum())),
        "full_context_wer": rates.wer(errors),
        "full_context_p": compared.p,
        "context_clips": len(some),
    }
