"""The time of scoring: 5,000 clips of 11 words, three models, by 500 speakers.

    python tests/benchmarks/scoring.py [CLIPS]

`bootstrap` is one 95 % interval by clip, `scores` the alignment of every clip of the three models (words, characters,
as written), `report` and `breakdown` the summaries of them with all their intervals and tests; medians of three rounds.
Texts and errors are generated; only the transcription is left out.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "flows"))

import machine
import pandas as pd
from asr.scoring import intervals, rates, report
from asr.settings import Settings

WORDS, SPEAKERS, ROUNDS, SHARE = 11, 500, 3, 0.1


def make_data(clips: int) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """References, and the hypotheses of three models with every tenth word replaced."""
    random.seed(0)
    vocabulary = [f"ord{at}" for at in range(3000)]
    references = [" ".join(random.choices(vocabulary, k=WORDS)) for _ in range(clips)]

    def hypothesis(text: str) -> str:
        return " ".join(random.choice(vocabulary) if random.random() < SHARE else word for word in text.split())

    table = pd.DataFrame({
        "clip": [f"{at}.flac" for at in range(clips)], "source": "made up", "reference": references,
        "speaker": [f"voice {at % SPEAKERS}" for at in range(clips)],
        "seconds": [1 + at % 12 for at in range(clips)], "decibels": [at % 60 for at in range(clips)],
    })  # fmt: skip
    return table, {model: [hypothesis(text) for text in references] for model in ("hypothesis", "served", "baseline")}


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    data, hypotheses = make_data(clips)
    settings = Settings()
    table = report.score_clips(data, hypotheses, settings)
    errors, words = table["word_errors"].tolist(), table["words"].tolist()
    texts = table["reference"].tolist(), table["hypothesis"].tolist()
    times = {
        "bootstrap": seconds(lambda: intervals.confidence_interval(errors, words, [None] * clips)),
        "scores": seconds(lambda: report.score_clips(data, hypotheses, settings)),
        "report": seconds(lambda: report.build_report(table, settings)),
        "breakdown": seconds(lambda: report.build_breakdown(table)),
        "confusions": seconds(lambda: rates.count_confusions(*texts)),
    }
    times["scoring"] = sum(times.values()) - times["bootstrap"]
    for name, value in times.items():
        print(f"{name:12s} {value:8.2f} s")
    machine.print_result({"clips": clips} | {f"{name}_s": round(value, 3) for name, value in times.items()})


if __name__ == "__main__":
    main()
