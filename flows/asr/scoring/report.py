"""The scores of one test: a table with a row a clip, the report that sums it up, and where the errors lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from asr.corpus import text
from asr.scoring import behaviour, intervals, rates
from asr.scoring.rates import Errors
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SECONDS = (0, 2, 5, 10, 20, math.inf)  # edges of the brackets that clips are told apart by
DECIBELS = (0, 20, 40, math.inf)


@dataclass(frozen=True)
class Exam:
    """What a test came to."""

    scores: pd.DataFrame  # a row a clip, see `scores`
    report: dict[str, Any]  # see `report`
    breakdown: pd.DataFrame  # see `breakdown`
    sounds: dict[str, bytes]  # the worst clips as FLAC, the worst first


def scores(said: pd.DataFrame, heard: Mapping[str, Sequence[str]], settings: Settings) -> pd.DataFrame:
    """One row a test clip: what was said, what each model heard, and the words it got wrong.

    `said` has the columns clip, source, speaker, seconds, decibels (of speech over noise) and reference. `heard` are
    the texts of the models: `heard` of the winner in floats, `served` of the winner as served, and `baseline` of the
    base where there is one. Each has a column with its texts; the counts of the first bear no model's name.
    """
    rule, language, references = settings.text.scoring, settings.corpus.language, said["reference"].tolist()
    table = said.copy()
    for model, texts in heard.items():
        prefix = "" if model == "heard" else f"{model}_"
        table[model] = list(texts)
        counts = rates.errors(references, texts, rule, language)
        for name in ("words", "characters") if model == "heard" else ():
            table[name] = [getattr(one, name) for one in counts]
        for name in ("word_errors", "substitutions", "deletions", "insertions", "character_errors"):
            table[prefix + name] = [getattr(one, name) for one in counts]
        table[f"{prefix}loops"] = [behaviour.loops(*pair, language) for pair in zip(references, texts, strict=True)]
    as_written = rates.errors(references, heard["heard"], "verbatim", language)
    table["written_words"] = [one.words for one in as_written]
    table["written_word_errors"] = [one.word_errors for one in as_written]
    return table


def report(table: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """What the table sums up to; WERs and other shares in percent, each WER with its 95 % interval `_ci`.

    `unit` is what a WER counts: "word", or "character" where the language puts no space between words, and it is a CER.
    `test_wer`, `test_cer` and `substitutions`, `deletions`, `insertions` (shares of the words said) are the float
    model's; `orthographic_wer` counts case and punctuation too. `served_wer` is the release's through the engine that
    serves it, `baseline_wer` the base's (None where there is none); `against_served` and `against_baseline` compare the
    float model with each on the same clips: difference, low, high (WER points) and p. `loops` and `wrong_language` are
    shares of the clips as served.
    """

    def rate(errors: str, of: str = "words", part: pd.DataFrame = table) -> float:
        return rates.rate(int(part[errors].sum()), int(part[of].sum()))

    def bounds(errors: str, of: str = "words") -> tuple[float, float]:
        found = _interval(table, errors, of)
        return found.low, found.high

    def against(other: str) -> dict[str, float]:
        ours, theirs = table["word_errors"].tolist(), table[f"{other}_word_errors"].tolist()
        return _told(intervals.compare(ours, theirs, table["words"].tolist(), table["speaker"].tolist()))

    based = "baseline" in table
    return {
        "unit": text.unit(settings.corpus.language),
        "test_wer": rate("word_errors"),
        "test_wer_ci": bounds("word_errors"),
        "test_wer_ci_unit": _interval(table, "word_errors").unit,
        "test_cer": rate("character_errors", "characters"),
        "test_cer_ci": bounds("character_errors", "characters"),
        "substitutions": rate("substitutions"),
        "deletions": rate("deletions"),
        "insertions": rate("insertions"),
        "orthographic_wer": rate("written_word_errors", "written_words"),
        "orthographic_wer_ci": bounds("written_word_errors", "written_words"),
        "wer_by_source": {name: rate("word_errors", part=part) for name, part in table.groupby("source")},
        "served_wer": rate("served_word_errors"),
        "served_wer_ci": bounds("served_word_errors"),
        "against_served": against("served"),
        "baseline_wer": rate("baseline_word_errors") if based else None,
        "baseline_wer_ci": bounds("baseline_word_errors") if based else None,
        "against_baseline": against("baseline") if based else None,
        "loops": 100 * float(table["served_loops"].mean()),
        "wrong_language": behaviour.strangers(
            table["reference"].tolist(), table["served"].tolist(), settings.corpus.language
        ),
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
    }


def retained(
    ours: Mapping[str, Sequence[Errors]], theirs: Mapping[str, Sequence[Errors]],
    speakers: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:  # fmt: skip
    """What the report gains where there are languages that the model is not to forget, by Whisper's code for each.

    `retained_wer` is the model's and `retained_baseline_wer` its base's on the same clips, each with its 95 % interval
    `_ci`; `against_retained_baseline` compares them as `against_baseline` does. `retained_clips` are how many.
    """
    told: dict[str, Any] = {"retained_clips": {language: len(errors) for language, errors in ours.items()}}
    for name, heard in (("retained_wer", ours), ("retained_baseline_wer", theirs)):
        told[name] = {language: rates.wer(errors) for language, errors in heard.items()}
        told[f"{name}_ci"] = {}
        for language, errors in heard.items():
            found = intervals.interval(_wrong(errors), [one.words for one in errors], speakers[language])
            told[f"{name}_ci"][language] = found.low, found.high
    told["against_retained_baseline"] = {}
    for language, errors in ours.items():
        words = [one.words for one in errors]
        compared = intervals.compare(_wrong(errors), _wrong(theirs[language]), words, speakers[language])
        told["against_retained_baseline"][language] = _told(compared)
    return told


def _wrong(errors: Sequence[Errors]) -> list[int]:
    return [one.word_errors for one in errors]


def _told(found: intervals.Comparison) -> dict[str, float]:
    return {"difference": found.difference, "low": found.low, "high": found.high, "p": found.p}


def breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """Where the float model's errors lie: by, name, clips, words, wer, low, high.

    `by` is source, speaker, length or noise; speakers come by WER, the worst first, and what is of no speaker is left
    out. The intervals are by clip, or by speaker where a group has 20 of them.
    """
    import pandas as pd

    rows = []
    for by, name, part in _groups(table):
        found = _interval(part, "word_errors")
        wer = rates.rate(int(part["word_errors"].sum()), int(part["words"].sum()))
        rows.append((by, name, len(part), int(part["words"].sum()), wer, found.low, found.high))
    found_rows = pd.DataFrame(rows, columns=["by", "name", "clips", "words", "wer", "low", "high"])
    speakers = found_rows["by"] == "speaker"
    ranked = found_rows[speakers].sort_values("wer", ascending=False, kind="stable")
    return pd.concat([found_rows[~speakers], ranked], ignore_index=True)


def worst(table: pd.DataFrame, most: int) -> list[int]:
    """The rows of the clips in which most went wrong: by the share of words, then by their number."""
    ranked = table.assign(share=table["word_errors"] / table["words"].clip(lower=1), row=range(len(table)))
    ranked = ranked[ranked["word_errors"] > 0].sort_values(["share", "word_errors"], ascending=False, kind="stable")
    return ranked["row"].head(most).tolist()


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for by in ("source", "speaker"):
        for name, part in table.groupby(by):
            yield by, str(name), part
    for by, column, edges, unit in (("length", "seconds", SECONDS, "s"), ("noise", "decibels", DECIBELS, "dB")):
        for low, high in pairwise(edges):
            part = table[(table[column] >= low) & (table[column] < high)]
            if len(part):
                yield by, f"over {low:g} {unit}" if high == math.inf else f"{low:g} to {high:g} {unit}", part


def _interval(table: pd.DataFrame, errors: str, of: str = "words") -> intervals.Interval:
    return intervals.interval(table[errors].tolist(), table[of].tolist(), table["speaker"].tolist())
