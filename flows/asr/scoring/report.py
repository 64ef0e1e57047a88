"""The scores of one test: a table with a row a clip, and the report that sums it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asr.scoring import intervals, rates

if TYPE_CHECKING:
    import pandas as pd


def scores(
    clips: Sequence[str], speakers: Sequence[str | None], seconds: Sequence[float], references: Sequence[str],
    heard: Sequence[str], served: Sequence[str], baseline: Sequence[str] | None,
) -> pd.DataFrame:  # fmt: skip
    """One row a test clip: what was said, what each model heard, and the words it got wrong."""
    import pandas as pd

    table = pd.DataFrame({"clip": clips, "speaker": speakers, "seconds": seconds, "reference": references})
    counts = rates.errors(references, heard)
    table["heard"], table["served"] = heard, served
    table["words"] = [one.words for one in counts]
    table["word_errors"] = [one.word_errors for one in counts]
    table["characters"] = [one.characters for one in counts]
    table["character_errors"] = [one.character_errors for one in counts]
    table["served_word_errors"] = [one.word_errors for one in rates.errors(references, served)]
    if baseline is not None:
        table["baseline"] = baseline
        table["baseline_word_errors"] = [one.word_errors for one in rates.errors(references, baseline)]
    return table


def report(table: pd.DataFrame) -> dict[str, Any]:
    """WERs and CER in percent, the interval of the test WER, and how many clips it rests on."""
    words = int(table["words"].sum())
    counts = [
        rates.Errors(*row)
        for row in table[["words", "word_errors", "characters", "character_errors"]].itertuples(index=False)
    ]
    interval = intervals.wer_interval(counts, table["speaker"].tolist())

    def percent(column: str) -> float | None:
        return 100 * float(table[column].sum()) / words if column in table else None

    return {
        "test_wer": rates.wer(counts),
        "test_wer_ci": (interval.low, interval.high),
        "test_wer_ci_unit": interval.unit,
        "test_cer": rates.cer(counts),
        "baseline_wer": percent("baseline_word_errors"),
        "served_wer": percent("served_word_errors"),
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
    }
