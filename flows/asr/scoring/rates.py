"""Word and character error rates, as percentages, through jiwer; which word was taken for which.

What counts as a word, and as the same word, is `corpus/text.py`'s to say; by default it is what Whisper's own basic
normaliser leaves (lower case, no punctuation, letters such as å, ä and ö kept), so that figures compare with published
ones. In languages that put no space between words, each character is a word here, and the WER is a CER.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.corpus.text import unit, units

if TYPE_CHECKING:
    import evaluate
    import pandas as pd


@dataclass(frozen=True)
class Errors:
    """What is wrong in one clip."""

    words: int  # in the reference: `units` of it
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_errors: int

    @property
    def word_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


Pair = tuple[str, str]  # a word said and what was heard in its place; "" where one of them has none


def errors(
    references: Sequence[str], hypotheses: Sequence[str], rule: str = "basic", language: str = "sv"
) -> list[Errors]:
    """A clip's errors each. An empty reference counts every word that was heard as an error."""
    return [_errors(said, heard, rule, language) for said, heard in zip(references, hypotheses, strict=True)]


def _errors(said: str, heard: str, rule: str, language: str) -> Errors:
    import jiwer

    reference, hypothesis = units(said, rule, language), units(heard, rule, language)
    joined = " ".join(reference), " ".join(hypothesis)
    words = jiwer.process_words(*joined)
    by_character = unit(language) == "character"  # the spaces are ours
    characters = words if by_character else jiwer.process_characters(*joined)
    return Errors(
        words=len(reference),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        characters=len(reference) if by_character else len(joined[0]),
        character_errors=characters.substitutions + characters.insertions + characters.deletions,
    )


def wer(clips: Sequence[Errors]) -> float:
    """Percent of the words said that are wrong: over 100 where more was heard than was said.

    Where no word was said it is 0 if none was heard either, else 100.
    """
    return rate(sum(clip.word_errors for clip in clips), sum(clip.words for clip in clips))


def cer(clips: Sequence[Errors]) -> float:
    """The same for characters."""
    return rate(sum(clip.character_errors for clip in clips), sum(clip.characters for clip in clips))


def rate(wrong: int, of: int) -> float:
    """Percent, defined as for `wer`."""
    return 100 * wrong / of if of else 100.0 * (wrong > 0)


def aligned(said: str, heard: str, rule: str = "basic", language: str = "sv") -> list[Pair]:
    """The words of a clip as they are compared, side by side.

    >>> aligned("Hej på dig, du.", "hej dig du då")
    [('hej', 'hej'), ('på', ''), ('dig', 'dig'), ('du', 'du'), ('', 'då')]
    """
    import jiwer

    found = jiwer.process_words(" ".join(units(said, rule, language)), " ".join(units(heard, rule, language)))
    reference, hypothesis, pairs = found.references[0], found.hypotheses[0], list[Pair]()
    for chunk in found.alignments[0]:
        words = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        others = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        longer = max(len(words), len(others))  # they differ only where one of them is empty
        pairs += zip(words or [""] * longer, others or [""] * longer, strict=True)
    return pairs


def confusions(
    references: Sequence[str], hypotheses: Sequence[str], rule: str = "basic", language: str = "sv"
) -> pd.DataFrame:
    """Which word was heard as which, the most frequent first: said, heard (either may be empty), times."""
    import pandas as pd

    def wrong() -> Iterator[Pair]:
        for said, heard in zip(references, hypotheses, strict=True):
            yield from (pair for pair in aligned(said, heard, rule, language) if pair[0] != pair[1])

    rows = [(*pair, times) for pair, times in sorted(Counter(wrong()).items(), key=lambda one: (-one[1], one[0]))]
    return pd.DataFrame(rows, columns=["said", "heard", "times"])


def metric() -> evaluate.Metric:
    """The same figures as an `evaluate.Metric` that needs no network, for `evaluate`'s own tools.

    `compute` takes `rule` and `language` too, and a `speakers` list for the interval.

    >>> metric().compute(references=["Hej på dig."], predictions=["hej på mig"])["wer"]
    33.333333333333336
    """
    import datasets
    import evaluate

    from asr.scoring import intervals

    class WhisperErrorRates(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description="WER and CER in percent of what is said, on text that is normalised first.",
                citation="",
                features=datasets.Features(
                    {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
                ),
            )

        def _compute(
            self, predictions: list[str], references: list[str], rule: str = "basic", language: str = "sv",
            speakers: Sequence[str | None] | None = None,
        ) -> dict[str, float | int | str]:  # fmt: skip
            clips = errors(references, predictions, rule, language)
            wrong, words = [clip.word_errors for clip in clips], [clip.words for clip in clips]
            interval = intervals.interval(wrong, words, speakers or [None] * len(clips))
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
