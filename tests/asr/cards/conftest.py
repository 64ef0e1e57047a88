"""Input of the cards: plausible corpora, searches and evaluations of any size, with any names."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
import soundfile
from asr.cards import Run
from asr.corpus.clips import Clip
from asr.corpus.splits import SPLITS
from asr.release.gate import Check
from asr.release.publishing import Publication
from asr.scoring import report
from asr.scoring.report import Evaluation
from asr.settings import Settings
from asr.training import search
from asr.training.callback import TrialStatus
from asr.training.search import ClipErrors, CurvePoint, LogEntry, Outcome, Trial

RUN = Run("swedish-night", "2026-11-27T23:18:05+00:00")


def _corpus(clips=300, speakers=30, rejected=9, label=None, seed=0):
    """What `cards.collect` takes: a plausible corpus; `label` replaces every text, name and reason."""
    random = np.random.default_rng(seed)
    splits = random.choice(SPLITS, clips, p=[0.8, 0.1, 0.1])
    accepted = pd.DataFrame(
        {
            "clip": [f"clip_{at:06d}.flac" for at in range(clips)],
            "split": splits,
            "source": label or random.choice(["common_voice", "fleurs"], clips),
            "speaker": label
            or ([f"voice {speaker}" for speaker in random.zipf(1.5, clips) % speakers] if speakers else None),
            "seconds": random.lognormal(1.2, 0.5, clips),
            "words": random.integers(1, 15, clips),
            "text": label or "Åsa köper ägg på lördag.",
            "retained": None,
        }
    )
    reasons = random.choice(["too short", "silent", "unreadable audio"], rejected)
    rejected_clips = pd.DataFrame(
        {"clip": [label or f"bad_{at}.flac" for at in range(rejected)], "reason": label or reasons, "split": "train"}
    )
    summary = {
        "found": clips + rejected, "kept": clips, "rejected": rejected, "hours": accepted["seconds"].sum() / 3600,
        "fingerprint": "3f2a9c81d04be756", "clips": dict(accepted["split"].value_counts()),
        "speakers_crossing": 0 if speakers else None, "retained": {},
    }  # fmt: skip
    examples = [
        Clip(row.clip, name, row.source, row.text, row.speaker, row.seconds, _flac(), "")
        for name in SPLITS
        for row in accepted[accepted["split"] == name].head(2).itertuples()
    ]
    return accepted, rejected_clips, summary, 3, examples


def _flac(seconds=0.5):
    """A sine as FLAC."""
    file = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(file, wave, 16_000, format="FLAC")
    return file.getvalue()


def _curve(wer, steps=1000, evaluations=5):
    """The evaluations and log entries of a trial that reaches this WER."""
    at = [round(steps * part / evaluations) for part in range(1, evaluations + 1)]
    wers = [wer + 90 * math.exp(-4 * step / steps) for step in at]
    points = [CurvePoint(step, 3 * math.exp(-3 * step / steps), wer / 40 + 0.1, wer, wer * 0.8, wer * 1.2)
              for step, wer in zip(at, wers, strict=True)]  # fmt: skip
    entries = [
        LogEntry(step, 6 * math.exp(-4 * step / 1000) + 0.1, 3e-3 * (1 - step / 1000), 40 + step % 7)
        for step in range(20, steps + 1, 20)
    ]
    return tuple(points), tuple(entries)


def _outcome(number, wer, stopped="finished", steps=1000, rate=3e-3, others=()):
    trial, (points, entries) = Trial(number, rate, 0.01, others), _curve(wer, steps)
    if math.isnan(wer):
        return Outcome(trial, wer, steps, 50.0, stopped, (), ClipErrors(), entries)
    errors = tuple(round(wer / 10) + (at + number) % 2 for at in range(40))
    clip_errors = ClipErrors(errors, (10,) * 40, (None,) * 40)
    return Outcome(trial, points[-1].validation_wer, steps, 200.0 + number, stopped, points, clip_errors, entries)


def _search(trials=5):
    """What `cards.select` takes."""
    endings = ["finished", "finished", "outpaced", "plateau", "finished"]
    outcomes = [
        _outcome(
            at, 6.0 + 3 * at, endings[at % 5], 400 if endings[at % 5] == "outpaced" else 1000, 10 ** (-3 - 0.3 * at)
        )
        for at in range(trials)
    ]
    outcomes += [_outcome(trials, math.nan, "diverged", 80, 0.09)] if trials > 1 else []
    return search.leaderboard(outcomes), outcomes, Settings()


def _evaluation(clips=360, speakers=30, label=None, base=True, error_share=0.2, seed=0, language="sv"):
    """What `cards.evaluate` takes; `label` replaces every text and name."""
    random = np.random.default_rng(seed)
    words = "Klockan är halv åtta och Åsa köper ägg på lördag i Örebro med sju små barn".split()
    words = list("今天气很好我们出门吃饭喝茶看书") if language == "zh" else words
    texts = [label or " ".join(random.choice(words, random.integers(3, 9))) for _ in range(clips)]

    def transcribe(share):
        return [
            " ".join(word if random.random() > share else random.choice(words) for word in text.split())
            for text in texts
        ]

    speaker_names = [label or f"voice {at % speakers}" for at in range(clips)] if speakers else [None] * clips
    table = pd.DataFrame({
        "clip": [f"test/{at:03d}{label or '.ogg'}" for at in range(clips)],
        "source": label or random.choice(["common_voice", "fleurs"], clips),
        "speaker": speaker_names, "seconds": random.uniform(1, 12, clips), "decibels": random.uniform(5, 60, clips),
        "reference": texts,
    })  # fmt: skip
    models = {"hypothesis": transcribe(error_share), "served": transcribe(error_share)}
    models |= {"baseline": transcribe(3 * error_share)} if base else {}
    settings = Settings.model_validate({"corpus": {"language": language}})
    scores = report.score_clips(table, models, settings)
    figures = report.build_report(scores, settings) | {
        "invented_words_per_minute": 1.56, "timestamp_error": None, "trimmed_context_wer": 8.1, "full_context_wer": 7.9,
        "full_context_p": 0.4, "context_clips": 100, "real_time_factor": 0.031, "threads": 2, "speakers_crossing": None,
        "noisy_clips": 100, "noisy_clean_wer": 6.1, "noisy_clean_wer_ci": (4.2, 8.3),
        "noisy_wer": {"20": 7.5, "10": 14.2, "5": 29.8, "0": 61.3}, "noise_heard": "made",
        "noisy_wer_ci": {"20": (5.1, 9.9), "10": (11.0, 17.9), "5": (25.4, 34.6), "0": (55.0, 68.2)},
        "room_wer": 12.8, "room_wer_ci": (9.7, 16.4), "room_heard": "simulated",
    }  # fmt: skip
    sounds = {scores["clip"][row]: _flac() for row in report.worst_clips(scores, 9)}
    return Evaluation(scores, figures, report.build_breakdown(scores), sounds), settings


def _status(steps=500, stopped="", evaluations=5):
    points, entries = _curve(8.0, max(20, steps), evaluations)
    return TrialStatus(1000, 64.0, stopped, entries, points if steps > 100 else ())


def _publication(faults=(), label=None, pushed=False):
    """What `cards.push` takes."""
    details = {
        "path": f"/far/away/released/{label or 'sample-17'}", "repo_id": "me/model" if pushed else None,
        "revision": "3f2a9c81d04be756" if pushed else None, "pushed": pushed, "why": "",
    }  # fmt: skip
    if pushed:
        details |= {"space": "https://huggingface.co/spaces/me/hear", "space_status": label or "it runs"}
    sizes = {"model.safetensors": 4_900_000, "ct2-int8/model.bin": 1_300_000, label or "release.json": 912}
    checks = [Check("Loads and runs", True, "each format loads and transcribes a few clips")]
    checks += [Check("Better than its base", False, fault) for fault in faults]
    return Publication(details, not faults, checks, sizes), _evaluation()[0].report


@pytest.fixture(scope="session")
def run_info():
    """The run whose profile and date every card shows."""
    return RUN


@pytest.fixture(scope="session")
def make_corpus():
    return _corpus


@pytest.fixture(scope="session")
def make_evaluation():
    return _evaluation


@pytest.fixture(scope="session")
def make_search():
    return _search


@pytest.fixture(scope="session")
def make_outcome():
    return _outcome


@pytest.fixture(scope="session")
def make_status():
    return _status


@pytest.fixture(scope="session")
def make_publication():
    return _publication


@pytest.fixture(scope="session")
def axes():
    """A function that returns the axes of each chart of a card: (title, {label: its position})."""

    def read(content):
        charts = re.findall(r"<svg.*?</svg>", content, re.DOTALL)
        return [[_axis(part) for part in re.split(r'(?=aria-label="[XY]-axis)', chart)[1:]] for chart in charts]

    return read


def _axis(part):
    title = re.match(r"aria-label=\"[XY]-axis(?: titled '([^']*)')?", part)[1]
    labels = re.search(r'role-axis-label".*?</g>', part, re.DOTALL)[0]
    return title, {
        label: position for position, label in re.findall(r'transform="translate(\(.*?\))"[^>]*>([^<]+)<', labels)
    }
