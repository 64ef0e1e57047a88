"""Word and character error rates, as percentages, through jiwer.

What counts as the same word is `corpus/text.py`'s to say; by default it is what Whisper's own basic normaliser
leaves (lower case, no punctuation, letters such as å, ä and ö kept), so that figures compare with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.corpus.text import scored

if TYPE_CHECKING:
    import evaluate


@dataclass(frozen=True)
class Errors:
    """What is wrong in one clip."""

    words: int  # in the reference
    word_errors: int
    characters: int
    character_errors: int


def errors(
    references: Sequence[str], hypotheses: Sequence[str], rule: str = "basic", language: str = "sv"
) -> list[Errors]:
    """A clip's errors each. An empty reference counts every word that was heard as an error."""
    return [
        _errors(scored(said, rule, language), scored(heard, rule, language))
        for said, heard in zip(references, hypotheses, strict=True)
    ]


def _errors(said: str, heard: str) -> Errors:
    import jiwer

    if not said:
        return Errors(0, len(heard.split()), 0, len(heard))
    words, characters = jiwer.process_words(said, heard), jiwer.process_characters(said, heard)
    return Errors(
        words=len(said.split()),
        word_errors=words.substitutions + words.insertions + words.deletions,
        characters=len(said),
        character_errors=characters.substitutions + characters.insertions + characters.deletions,
    )


def wer(clips: Sequence[Errors]) -> float:
    """Percent of the words said that are wrong: over 100 where much more was heard, NaN where nothing was said."""
    words = sum(clip.words for clip in clips)
    return 100 * sum(clip.word_errors for clip in clips) / words if words else float("nan")


def cer(clips: Sequence[Errors]) -> float:
    """The same for characters."""
    characters = sum(clip.characters for clip in clips)
    return 100 * sum(clip.character_errors for clip in clips) / characters if characters else float("nan")


def metric() -> evaluate.Metric:
    """The same WER and CER as an `evaluate.Metric` that needs no network, for `evaluate`'s own tools.

    >>> metric().compute(references=["Hej på dig."], predictions=["hej på mig"])["wer"]
    33.333333333333336
    """
    import datasets
    import evaluate

    class WhisperErrorRates(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description="WER and CER in percent on text normalised as Whisper's basic normaliser does.",
                citation="",
                features=datasets.Features(
                    {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
                ),
            )

        def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
            clips = errors(references, predictions)
            return {"wer": wer(clips), "cer": cer(clips)}

    return WhisperErrorRates()
