"""An evaluation: a table with a row per clip, the report of its metrics, and a breakdown of the errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from asr.corpus import text
from asr.scoring import diagnostics, intervals, rates
from asr.scoring.rates import ErrorCounts
from asr.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

LENGTH_EDGES = (0, 2, 5, 10, 20, math.inf)  # seconds
SNR_EDGES = (0, 20, 40, math.inf)  # decibels


@dataclass(frozen=True)
class Evaluation:
    """The results of evaluating one model on a test set."""

    scores: pd.DataFrame  # a row per clip, see `score_clips`
    report: dict[str, Any]  # see `build_report`
    breakdown: pd.DataFrame  # see `build_breakdown`
    sounds: dict[str, bytes]  # the worst clips as FLAC, the worst first


def score_clips(clips: pd.DataFrame, hypotheses: Mapping[str, Sequence[str]], settings: Settings) -> pd.DataFrame:
    """A row per test clip: its reference, each model's hypothesis, and the errors.

    Args:
        clips: with the columns clip, source, speaker, seconds, decibels (signal-to-noise ratio) and reference.
        hypotheses: by model: `hypothesis` is of the winner in floats, `served` of the winner as served, and `baseline`
            of the base if there is one. Each becomes a column; the error counts of `hypothesis` have no prefix.
    """
    rule, language, references = settings.text.scoring, settings.corpus.language, clips["reference"].tolist()
    table = clips.copy()
    for model, texts in hypotheses.items():
        prefix = "" if model == "hypothesis" else f"{model}_"
        table[model] = list(texts)
        counts = rates.count_errors(references, texts, rule, language)
        for name in ("words", "characters") if model == "hypothesis" else ():
            table[name] = [getattr(clip, name) for clip in counts]
        for name in ("word_errors", "substitutions", "deletions", "insertions", "character_errors"):
            table[prefix + name] = [getattr(clip, name) for clip in counts]
        pairs = zip(references, texts, strict=True)
        table[f"{prefix}loops"] = [diagnostics.has_repetition_loop(*pair, language) for pair in pairs]
    verbatim = rates.count_errors(references, hypotheses["hypothesis"], "verbatim", language)
    table["written_words"] = [clip.words for clip in verbatim]
    table["written_word_errors"] = [clip.word_errors for clip in verbatim]
    return table


def build_report(table: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """The metrics of the table of `score_clips`; shares in percent, each WER with its 95 % interval in `..._ci`.

    - `unit`: what a WER counts: "word", or "character" in languages without spaces, where it is a CER.
    - `test_wer`, `test_cer`, `substitutions`, `deletions`, `insertions` (shares of the reference words): the float
      model. `orthographic_wer` also counts case and punctuation.
    - `served_wer`: the release in the engine that serves it. `baseline_wer`: the base model, None if there is none.
    - `against_served`, `against_baseline`: the float model compared with each on the same clips: difference, low, high
      (WER points) and p.
    - `loops`, `wrong_language`: shares of the clips, as served.
    """

    def rate(errors: str, total: str = "words", part: pd.DataFrame = table) -> float:
        return rates.error_rate(int(part[errors].sum()), int(part[total].sum()))

    def bounds(errors: str, total: str = "words") -> tuple[float, float]:
        interval = _confidence_interval(table, errors, total)
        return interval.low, interval.high

    def compare(other: str) -> dict[str, float]:
        names = ("word_errors", f"{other}_word_errors", "words", "speaker")
        first, second, words, speakers = (table[name].tolist() for name in names)
        return _comparison_fields(intervals.compare_models(first, second, words, speakers))

    has_base = "baseline" in table
    return {
        "unit": text.rate_unit(settings.corpus.language),
        "test_wer": rate("word_errors"),
        "test_wer_ci": bounds("word_errors"),
        "test_wer_ci_unit": _confidence_interval(table, "word_errors").unit,
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
        "against_served": compare("served"),
        "baseline_wer": rate("baseline_word_errors") if has_base else None,
        "baseline_wer_ci": bounds("baseline_word_errors") if has_base else None,
        "against_baseline": compare("baseline") if has_base else None,
        "loops": 100 * float(table["served_loops"].mean()),
        "wrong_language": diagnostics.wrong_language_share(
            table["reference"].tolist(), table["served"].tolist(), settings.corpus.language
        ),
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
    }


def build_retained_report(
    model: Mapping[str, Sequence[ErrorCounts]], base: Mapping[str, Sequence[ErrorCounts]],
    speakers: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:  # fmt: skip
    """The metrics in retained languages, by Whisper's language code.

    `retained_wer` is the model's and `retained_baseline_wer` its base's on the same clips, each with its 95 % interval
    in `..._ci`; `against_retained_baseline` compares them as `against_baseline` does; `retained_clips` counts clips.
    """
    fields: dict[str, Any] = {"retained_clips": {language: len(errors) for language, errors in model.items()}}
    for name, errors_by_language in (("retained_wer", model), ("retained_baseline_wer", base)):
        fields[name] = {language: rates.wer(errors) for language, errors in errors_by_language.items()}
        fields[f"{name}_ci"] = {}
        for language, errors in errors_by_language.items():
            words = [clip.words for clip in errors]
            interval = intervals.confidence_interval(_word_errors(errors), words, speakers[language])
            fields[f"{name}_ci"][language] = interval.low, interval.high
    fields["against_retained_baseline"] = {}
    for language, errors in model.items():
        counts = _word_errors(errors), _word_errors(base[language]), [clip.words for clip in errors]
        comparison = intervals.compare_models(*counts, speakers[language])
        fields["against_retained_baseline"][language] = _comparison_fields(comparison)
    return fields


def _word_errors(errors: Sequence[ErrorCounts]) -> list[int]:
    return [clip.word_errors for clip in errors]


def _comparison_fields(comparison: intervals.Comparison) -> dict[str, float]:
    return {name: getattr(comparison, name) for name in ("difference", "low", "high", "p")}


def build_breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """The float model's WER by group: by, name, clips, words, wer, low, high.

    `by` is source, speaker, length or noise. Speakers come by WER, the worst first; clips of unknown speakers are left
    out of them. Intervals are by clip, or by speaker where a group has at least 20.
    """
    import pandas as pd

    rows = []
    for by, name, part in _group_clips(table):
        interval = _confidence_interval(part, "word_errors")
        words = int(part["words"].sum())
        wer = rates.error_rate(int(part["word_errors"].sum()), words)
        rows.append((by, name, len(part), words, wer, interval.low, interval.high))
    groups = pd.DataFrame(rows, columns=["by", "name", "clips", "words", "wer", "low", "high"])
    is_speaker = groups["by"] == "speaker"
    ranked = groups[is_speaker].sort_values("wer", ascending=False, kind="stable")
    return pd.concat([groups[~is_speaker], ranked], ignore_index=True)


def worst_clips(table: pd.DataFrame, limit: int) -> list[int]:
    """The row numbers of the clips with the most errors: by the share of wrong words, then by their number."""
    ranked = table.assign(share=table["word_errors"] / table["words"].clip(lower=1), row=range(len(table)))
    ranked = ranked[ranked["word_errors"] > 0].sort_values(["share", "word_errors"], ascending=False, kind="stable")
    return ranked["row"].head(limit).tolist()


def _group_clips(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for by in ("source", "speaker"):
        for name, part in table.groupby(by):
            yield by, str(name), part
    for by, column, edges, unit in (("length", "seconds", LENGTH_EDGES, "s"), ("noise", "decibels", SNR_EDGES, "dB")):
        for low, high in pairwise(edges):
            part = table[(table[column] >= low) & (table[column] < high)]
            if len(part):
                yield by, f"over {low:g} {unit}" if high == math.inf else f"{low:g} to {high:g} {unit}", part


def _confidence_interval(table: pd.DataFrame, errors: str, total: str = "words") -> intervals.Interval:
    return intervals.confidence_interval(table[errors].tolist(), table[total].tolist(), table["speaker"].tolist())
