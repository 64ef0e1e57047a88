"""The gate: checks that a release has to pass before it replaces the last release, locally and on the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from asr.scoring import intervals
from asr.scoring.intervals import SIGNIFICANCE
from asr.settings import Release


@dataclass(frozen=True)
class Check:
    """A check of a release."""

    name: str
    passed: bool
    finding: str  # what was measured, in a sentence


def run_checks(report: Mapping[str, Any], release: Release) -> list[Check]:
    """Check the release by its own report."""
    test, served, baseline = report["test_wer"], report["served_wer"], report["baseline_wer"]
    gap, loads = served - test, report["loads"]
    results = [
        Check("Loads and runs", not loads, "; ".join(loads) or "each format loads and transcribes a few clips"),
        Check(
            "Served as well as trained", bool(gap <= release.max_served_gap),
            f"as served, its error rate is {abs(gap):.1f} points {'above' if gap > 0 else 'below'} the float model's; "
            f"up to {release.max_served_gap:g} points above are allowed ([release] max_served_gap)",
        ),
    ]  # fmt: skip
    if baseline is not None:
        better = bool(test < baseline)
        finding = f"its error rate of {test:.1f} % is {'' if better else 'not '}below its base's {baseline:.1f} %"
        results.append(Check("Better than its base", better, finding))
    if release.max_invented is not None:
        words = report["invented_words_per_minute"]
        finding = (
            f"it writes {words:.1f} words a minute on noise; "
            f"up to {release.max_invented:g} are allowed ([release] max_invented)"
        )
        results.append(Check("Silent on noise", bool(words <= release.max_invented), finding))
    if release.max_timestamp_error is not None and (off := report["timestamp_error"]) is not None:
        finding = (
            f"its word times are {off:.2f} s off; "
            f"up to {release.max_timestamp_error:g} s are allowed ([release] max_timestamp_error)"
        )
        results.append(Check("Word times are right", bool(off <= release.max_timestamp_error), finding))
    if release.max_forgotten is not None:
        for language, against in report.get("against_retained_baseline", {}).items():
            finding = (
                f"in {language} its error rate is {against['difference']:+.1f} points from its base's; "
                f"up to {release.max_forgotten:g} more are allowed ([release] max_forgotten)"
            )
            results.append(Check(f"Still knows {language}", against["difference"] <= release.max_forgotten, finding))
    return results


def failures(results: Sequence[Check]) -> list[str]:
    """The findings of the failed checks; empty if the release passes."""
    return [check.finding for check in results if not check.passed]


def compare_with_published(table: pd.DataFrame, published_errors: Sequence[int], revision: str) -> Check:
    """Check that the release, as served, is significantly better than the published one on the same test clips.

    Args:
        table: the release's table of test clips.
        published_errors: the published model's word errors in each clip.
        revision: the published model's commit.
    """
    wrong, words, speakers = (table[name].tolist() for name in ("served_word_errors", "words", "speaker"))
    comparison = intervals.compare_models(wrong, list(published_errors), words, speakers)
    total, points = max(sum(words), 1), f"{abs(comparison.difference):.1f} points"
    direction = "better" if comparison.difference < 0 else "worse"
    rate, published_rate = 100 * sum(wrong) / total, 100 * sum(published_errors) / total
    finding = (
        f"served, its error rate of {rate:.1f} % is {points} {direction} than the published model's "
        f"{published_rate:.1f} % ({revision[:8]}; p {comparison.p:.3f}, must be below {SIGNIFICANCE:g})"
    )
    return Check("Better than the published model", comparison.difference < 0 and comparison.p < SIGNIFICANCE, finding)


def error_counts(table: pd.DataFrame, rule: str) -> dict[str, Any]:
    """The word errors that a release publishes for later comparisons: by the hash of each clip, without text."""
    rows = table[["sound", "words", "served_word_errors"]].itertuples(index=False)
    return {"scoring": rule, "clips": {sound: [int(words), int(wrong)] for sound, words, wrong in rows}}


def match_published_counts(counts: Mapping[str, Any], table: pd.DataFrame, rule: str) -> list[int] | None:
    """A published release's word errors in our test clips, from its counts; None if the clips differ."""
    if counts.get("scoring") != rule:
        return None
    matches = [counts["clips"].get(sound) for sound in table["sound"]]
    is_same = all(match and match[0] == words for match, words in zip(matches, table["words"], strict=True))
    return [match[1] for match in matches if match] if is_same else None
