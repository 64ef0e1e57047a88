"""Word and character error rates in percent, computed by jiwer, and the word confusions behind them.

`corpus/text.py` defines what a word is and which words are equal. The default is Whisper's basic normaliser (lower
case, no punctuation, letters such as å, ä and ö kept), so that results compare with published ones. In languages
without spaces between words each character counts as a word, and the WER is a CER.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.corpus.text import rate_unit, split_units

if TYPE_CHECKING:
    import evaluate
    import pandas as pd


@dataclass(frozen=True)
class ErrorCounts:
    """The errors in one clip."""

    words: int  # in the reference: words, or characters in languages without spaces
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_errors: int

    @property
    def word_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


WordPair = tuple[str, str]  # a reference word and the hypothesis word aligned with it; "" if there is none


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], rule: str = "basic", language: str = "sv"
) -> list[ErrorCounts]:
    """The errors of each clip. With an empty reference, every word of the hypothesis is an error."""
    return [_count_clip_errors(*pair, rule, language) for pair in zip(references, hypotheses, strict=True)]


def _count_clip_errors(reference: str, hypothesis: str, rule: str, language: str) -> ErrorCounts:
    import jiwer

    reference_words, hypothesis_words = split_units(reference, rule, language), split_units(hypothesis, rule, language)
    joined = " ".join(reference_words), " ".join(hypothesis_words)
    words = jiwer.process_words(*joined)
    by_character = rate_unit(language) == "character"  # then the spaces are only separators
    characters = words if by_character else jiwer.process_characters(*joined)
    return ErrorCounts(
        words=len(reference_words),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        characters=len(reference_words) if by_character else len(joined[0]),
        character_errors=characters.substitutions + characters.insertions + characters.deletions,
    )


def wer(clips: Sequence[ErrorCounts]) -> float:
    """Word errors in percent of the reference words; may exceed 100.

    Without any reference words it is 0 if the hypotheses are empty too, else 100.
    """
    return error_rate(sum(clip.word_errors for clip in clips), sum(clip.words for clip in clips))


def cer(clips: Sequence[ErrorCounts]) -> float:
    """Character errors in percent of the reference characters, defined as `wer`."""
    return error_rate(sum(clip.character_errors for clip in clips), sum(clip.characters for clip in clips))


def error_rate(wrong: int, total: int) -> float:
    """Percent, defined as for `wer`."""
    return 100 * wrong / total if total else 100.0 * (wrong > 0)


def align_words(reference: str, hypothesis: str, rule: str = "basic", language: str = "sv") -> list[WordPair]:
    """The normalised words of reference and hypothesis, aligned.

    >>> align_words("Hej på dig, du.", "hej dig du då")
    [('hej', 'hej'), ('på', ''), ('dig', 'dig'), ('du', 'du'), ('', 'då')]
    """
    import jiwer

    reference, hypothesis = (" ".join(split_units(text, rule, language)) for text in (reference, hypothesis))
    output = jiwer.process_words(reference, hypothesis)
    reference_words, hypothesis_words, pairs = output.references[0], output.hypotheses[0], list[WordPair]()
    for chunk in output.alignments[0]:
        expected = reference_words[chunk.ref_start_idx : chunk.ref_end_idx]
        recognised = hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx]
        longer = max(len(expected), len(recognised))  # the lengths differ only if one is empty
        pairs += zip(expected or [""] * longer, recognised or [""] * longer, strict=True)
    return pairs


def count_confusions(
    references: Sequence[str], hypotheses: Sequence[str], rule: str = "basic", language: str = "sv"
) -> pd.DataFrame:
    """Words that were recognised as others, the most frequent first: reference, hypothesis (or nothing), times."""
    import pandas as pd

    def mismatches() -> Iterator[WordPair]:
        for reference, hypothesis in zip(references, hypotheses, strict=True):
            aligned = align_words(reference, hypothesis, rule, language)
            yield from (pair for pair in aligned if pair[0] != pair[1])

    ranked = sorted(Counter(mismatches()).items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame([(*pair, times) for pair, times in ranked], columns=["reference", "hypothesis", "times"])


def build_metric() -> evaluate.Metric:
    """The same error rates as an `evaluate.Metric` that needs no network.

    Its `compute` also takes `rule`, `language`, and a list of `speakers` for the interval.

    >>> build_metric().compute(references=["Hej på dig."], predictions=["hej på mig"])["wer"]
    33.333333333333336
    """
    import datasets
    import evaluate

    from asr.scoring import intervals

    class WhisperErrorRates(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description="WER and CER in percent of the reference, on normalised text.",
                citation="",
                features=datasets.Features(
                    {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
                ),
            )

        def _compute(
            self, predictions: list[str], references: list[str], rule: str = "basic", language: str = "sv",
            speakers: Sequence[str | None] | None = None,
        ) -> dict[str, float | int | str]:  # fmt: skip
            clips = count_errors(references, predictions, rule, language)
            wrong, words = [clip.word_errors for clip in clips], [clip.words for clip in clips]
            interval = intervals.confidence_interval(wrong, words, speakers or [None] * len(clips))
            return {
                "wer": wer(clips),
                "wer_low": interval.low,
                "wer_high": interval.high,
                "wer_unit": interval.unit,
                "cer": cer(clips),
                "words": sum(words),
                "substitutions": sum(clip.substitutions for clip in clips),
                "deletions": sum(clip.deletions for clip in clips),
                "insertions": sum(clip.insertions for clip in clips),
            }

    return WhisperErrorRates()
