"""The scores of one test: a table with a row a clip, and the report that sums it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asr.scoring import intervals, rates
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def scores(
    said: pd.DataFrame, heard: Sequence[str], served: Sequence[str], baseline: Sequence[str] | None, settings: Settings
) -> pd.DataFrame:
    """One row a test clip: what was said, what each model heard, and the words it got wrong.

    `said` has the columns clip, source, speaker, seconds and reference.
    """
    rule, language, references = settings.text.scoring, settings.corpus.language, said["reference"].tolist()
    table = said.copy()
    counts = rates.errors(references, heard, rule, language)
    table["heard"], table["served"] = heard, served
    table["words"] = [one.words for one in counts]
    table["word_errors"] = [one.word_errors for one in counts]
    table["characters"] = [one.characters for one in counts]
    table["character_errors"] = [one.character_errors for one in counts]
    table["served_word_errors"] = [one.word_errors for one in rates.errors(references, served, rule, language)]
    as_written = rates.errors(references, heard, "verbatim", language)
    table["written_words"] = [one.words for one in as_written]
    table["written_word_errors"] = [one.word_errors for one in as_written]
    if baseline is not None:
        table["baseline"] = baseline
        table["baseline_word_errors"] = [one.word_errors for one in rates.errors(references, baseline, rule, language)]
    return table


def report(table: pd.DataFrame) -> dict[str, Any]:
    """WERs and CER in percent, the interval of the test WER, and how many clips it rests on.

    `orthographic_wer` counts case and punctuation too.
    """
    counts = [
        rates.Errors(*row)
        for row in table[["words", "word_errors", "characters", "character_errors"]].itertuples(index=False)
    ]
    interval = intervals.wer_interval(counts, table["speaker"].tolist())

    def percent(errors: str, words: str = "words", part: pd.DataFrame = table) -> float | None:
        return 100 * float(part[errors].sum() / part[words].sum()) if errors in part else None

    return {
        "test_wer": rates.wer(counts),
        "test_wer_ci": (interval.low, interval.high),
        "test_wer_ci_unit": interval.unit,
        "test_cer": rates.cer(counts),
        "orthographic_wer": percent("written_word_errors", "written_words"),
        "wer_by_source": {name: percent("word_errors", part=part) for name, part in table.groupby("source")},
        "baseline_wer": percent("baseline_word_errors"),
        "served_wer": percent("served_word_errors"),
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
    }
