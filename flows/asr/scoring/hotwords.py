"""Recall and false alarms of hotwords, with and without the list as a hint to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asr.corpus.text import split_units
from asr.scoring import intervals, rates
from asr.settings import Settings


def score_hotwords(
    references: Sequence[str], hypotheses: Sequence[str], hinted: Sequence[str], speakers: Sequence[str | None],
    settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    """How well the words in `[text] hotwords` are recognised.

    Hotwords are compared under the scoring rule, and may be several words.

    Args:
        references: the clips' transcripts.
        hypotheses: what the engine wrote without a hint.
        hinted: what it wrote with the hotwords as a hint.
        speakers: the clips' speakers, None where unknown.

    Returns:
        Recalls in percent of the hotwords' occurrences, false alarms per hundred clips, each with its 95 % interval in
        `..._ci`; `hotword_p` is the p-value of the difference between the two recalls.
    """
    rule, language = settings.text.scoring, settings.corpus.language
    phrases = [phrase for word in settings.text.hotwords if (phrase := tuple(split_units(word, rule, language)))]

    def count(transcript: str) -> list[int]:
        words = split_units(transcript, rule, language)
        return [_count_phrase(words, phrase) for phrase in phrases]

    expected = [count(reference) for reference in references]
    total, fields, missed = [sum(counts) for counts in expected], dict[str, Any](), dict[str, list[int]]()
    for name, transcripts in (("hotword", hypotheses), ("hinted", hinted)):
        counts = [count(transcript) for transcript in transcripts]
        pairs = [list(zip(*clip, strict=True)) for clip in zip(expected, counts, strict=True)]
        missed[name] = [sum(max(0, spoken - recognised) for spoken, recognised in clip) for clip in pairs]
        alarms = [sum(max(0, recognised - spoken) for spoken, recognised in clip) for clip in pairs]
        interval = intervals.confidence_interval(missed[name], total, speakers)
        fields[f"{name}_recall"] = 100 - rates.error_rate(sum(missed[name]), sum(total))
        fields[f"{name}_recall_ci"] = (100 - interval.high, 100 - interval.low)
        interval = intervals.confidence_interval(alarms, [1] * len(references), speakers)
        fields[f"{name}_false_alarms"] = 100 * sum(alarms) / len(references)
        fields[f"{name}_false_alarms_ci"] = (interval.low, interval.high)
    return {
        "hotwords": len(phrases),
        "hotwords_said": sum(total),
        **fields,
        "hotword_p": intervals.compare_models(missed["hinted"], missed["hotword"], total, speakers).p,
        "hinted_wer": rates.wer(rates.count_errors(references, hinted, rule, language)),
    }


def _count_phrase(words: Sequence[str], phrase: Sequence[str]) -> int:
    """How often a word or phrase occurs.

    >>> _count_phrase("från norra kvarken till norra kvarken".split(), ("norra", "kvarken"))
    2
    """
    starts = range(len(words) - len(phrase) + 1)
    return sum(tuple(words[start : start + len(phrase)]) == tuple(phrase) for start in starts)
