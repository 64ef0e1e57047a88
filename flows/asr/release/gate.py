"""Whether a release may take the place of the last one, here and on the Hub."""

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
    """One thing that is asked of a release."""

    name: str
    passed: bool
    told: str  # what was found, in a sentence


def checks(report: Mapping[str, Any], release: Release) -> list[Check]:
    """What the release's own scores say of it."""
    test, served, baseline = report["test_wer"], report["served_wer"], report["baseline_wer"]
    gap, loads = served - test, report["loads"]
    found = [
        Check("Loads and runs", not loads, "; ".join(loads) or "each format loads and transcribes a few clips"),
        Check(
            "Served as well as trained", bool(gap <= release.max_served_gap),
            f"as served, its error rate is {abs(gap):.1f} points {'above' if gap > 0 else 'below'} the float model's; "
            f"up to {release.max_served_gap:g} points above are allowed ([release] max_served_gap)",
        ),
    ]  # fmt: skip
    if baseline is not None:
        better = bool(test < baseline)
        told = f"its error rate of {test:.1f} % is {'' if better else 'not '}below its base's {baseline:.1f} %"
        found.append(Check("Better than its base", better, told))
    if release.max_invented is not None:
        words = report["invented_words_per_minute"]
        told = (
            f"it writes {words:.1f} words a minute on noise; "
            f"up to {release.max_invented:g} are allowed ([release] max_invented)"
        )
        found.append(Check("Silent on noise", bool(words <= release.max_invented), told))
    if release.max_timestamp_error is not None and (off := report["timestamp_error"]) is not None:
        told = (
            f"its word times are {off:.2f} s off; "
            f"up to {release.max_timestamp_error:g} s are allowed ([release] max_timestamp_error)"
        )
        found.append(Check("Word times are right", bool(off <= release.max_timestamp_error), told))
    if release.max_forgotten is not None:
        for language, against in report.get("against_retained_baseline", {}).items():
            told = (
                f"in {language} its error rate is {against['difference']:+.1f} points from its base's; "
                f"up to {release.max_forgotten:g} more are allowed ([release] max_forgotten)"
            )
            found.append(Check(f"Still knows {language}", against["difference"] <= release.max_forgotten, told))
    return found


def faults(of: Sequence[Check]) -> list[str]:
    """What speaks against the release, a sentence each; nothing where it may go out."""
    return [check.told for check in of if not check.passed]


def contest(ours: pd.DataFrame, theirs: Sequence[int], revision: str) -> Check:
    """Whether the release, as served, is better than what is published, clip by clip on the same test clips.

    `ours` is the table of test clips, `theirs` the words that the published model got wrong in each.
    """
    wrong, words, speakers = (ours[name].tolist() for name in ("served_word_errors", "words", "speaker"))
    found = intervals.compare_models(wrong, list(theirs), words, speakers)
    said, points = max(sum(words), 1), f"{abs(found.difference):.1f} points"
    where = "better" if found.difference < 0 else "worse"
    told = (
        f"served, its error rate of {100 * sum(wrong) / said:.1f} % is {points} {where} than the published model's "
        f"{100 * sum(theirs) / said:.1f} % ({revision[:8]}; p {found.p:.3f}, must be below {SIGNIFICANCE:g})"
    )
    return Check("Better than the published model", found.difference < 0 and found.p < SIGNIFICANCE, told)


def counts(table: pd.DataFrame, rule: str) -> dict[str, Any]:
    """What a release keeps of its test for later ones to be compared with: no text, each clip by its sound's hash."""
    rows = table[["sound", "words", "served_word_errors"]].itertuples(index=False)
    return {"scoring": rule, "clips": {sound: [int(words), int(wrong)] for sound, words, wrong in rows}}


def known(counts: Mapping[str, Any], table: pd.DataFrame, rule: str) -> list[int] | None:
    """What a published release got wrong in the clips of our test, from the counts it kept; None where they differ."""
    if counts.get("scoring") != rule:
        return None
    kept = [counts["clips"].get(sound) for sound in table["sound"]]
    same = all(one and one[0] == words for one, words in zip(kept, table["words"], strict=True))
    return [one[1] for one in kept if one] if same else None
