"""Whether words that matter are heard, as they are and where the engine is told of them: recall and false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asr.corpus.text import units
from asr.scoring import intervals, rates
from asr.settings import Settings


def report(
    said: Sequence[str], heard: Sequence[str], hinted: Sequence[str], speakers: Sequence[str | None],
    settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    """What was `said` in some clips, what was `heard` in them, and what was heard with `[text] hotwords` as a hint.

    Recalls are percent of the times that a hotword is said, false alarms those a hundred clips that one is heard and
    not said, each with its 95 % interval `_ci`. `hotword_p` is that of the recalls' difference. Hotwords are compared
    by the scoring rule, and may be several words.
    """
    rule, language = settings.text.scoring, settings.corpus.language
    words = [found for word in settings.text.hotwords if (found := tuple(units(word, rule, language)))]

    def counts(text: str) -> list[int]:
        found = units(text, rule, language)
        return [_times(found, word) for word in words]

    there = [counts(text) for text in said]
    total, told, missed = [sum(of) for of in there], dict[str, Any](), dict[str, list[int]]()
    for name, texts in (("hotword", heard), ("hinted", hinted)):
        mine = [counts(text) for text in texts]
        pairs = [list(zip(one, other, strict=True)) for one, other in zip(there, mine, strict=True)]
        missed[name] = [sum(max(0, wanted - got) for wanted, got in clip) for clip in pairs]
        alarms = [sum(max(0, got - wanted) for wanted, got in clip) for clip in pairs]
        reach = intervals.interval(missed[name], total, speakers)
        told[f"{name}_recall"] = 100 - rates.rate(sum(missed[name]), sum(total))
        told[f"{name}_recall_ci"] = (100 - reach.high, 100 - reach.low)
        reach = intervals.interval(alarms, [1] * len(said), speakers)
        told[f"{name}_false_alarms"] = 100 * sum(alarms) / len(said)
        told[f"{name}_false_alarms_ci"] = (reach.low, reach.high)
    errors = rates.errors(said, hinted, rule, language)
    return {
        "hotwords": len(words),
        "hotwords_said": sum(total),
        **told,
        "hotword_p": intervals.compare(missed["hinted"], missed["hotword"], total, speakers).p,
        "hinted_wer": rates.wer(errors),
    }


def _times(text: Sequence[str], word: Sequence[str]) -> int:
    """How often a word or phrase comes in a text.

    >>> _times("från norra kvarken till norra kvarken".split(), ("norra", "kvarken"))
    2
    """
    return sum(tuple(text[at : at + len(word)]) == tuple(word) for at in range(len(text) - len(word) + 1))
