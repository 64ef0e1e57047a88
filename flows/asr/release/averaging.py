"""The winner averaged with its base: what was learnt, with as much of what was known before as it can bear.

Between the weights of a base and of a model fine-tuned from it lie models that do nearly as well as the tuned one on
what it was tuned for, and better on all else: Wortsman et al. (arXiv:2109.01903), for speech Vander Eeckt and
Van hamme (arXiv:2210.15282). An average costs no training, only some listening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from asr.scoring import rates
from asr.settings import Settings
from asr.training import hearing, models
from asr.training.batches import evenly
from asr.training.examples import Clips

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the base that are tried
TOLERATED = 0.2  # points of validation WER that may be given for the base's sake where no retained speech tells more
HOPELESS = 3.0  # points of WER in all above the best average so far: larger shares are not tried


@dataclass(frozen=True)
class Average:
    """A share of the base, and the WERs (percent) of what it makes on validation."""

    base_share: float
    wer: float
    retained: Mapping[str, float]  # by language

    @property
    def cost(self) -> float:
        """The language that was tuned for counts as much as all those retained."""
        return self.wer + (fmean(self.retained.values()) if self.retained else 0.0)


def average(
    tuned: str | Path, base: str | Path, base_share: float
) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """The model whose weights are `base_share` of the base's and the rest the tuned one's.

    Raises ValueError where the two are of different shapes.
    """
    import torch

    model, processor = models.load(tuned)
    if base_share:
        other = dict(models.load(base)[0].named_parameters())  # where one weight stands in two places it is named once
        mine = dict(model.named_parameters())
        if {name: weight.shape for name, weight in mine.items()} != {name: one.shape for name, one in other.items()}:
            raise ValueError(f"{tuned} has other weights than {base}")
        with torch.no_grad():
            for name, weight in mine.items():
                weight.lerp_(other[name], base_share)
    return model, processor


def averages(
    tuned: Path, settings: Settings, validation: Dataset, retained: Mapping[str, Dataset],
    say: Callable[[str], None] = print,
) -> Iterator[Average]:  # fmt: skip
    """Each share of the base with its WERs on the validation clips, and on those of each language retained.

    Clips are heard as a trial's validation hears them. It ends where a share is hopeless.
    """
    assert settings.model.base
    speech = {settings.corpus.language: validation, **retained}
    lowest = float("inf")
    for share in SHARES:
        model, processor = average(tuned, settings.model.base, share)
        wers = {language: _wer(model, processor, settings, language, clips) for language, clips in speech.items()}
        found = Average(share, wers.pop(settings.corpus.language), wers)
        told = "".join(f", {language} {wer:.1f} %" for language, wer in found.retained.items())
        say(f"with {share:.0%} of the base's weights: {found.wer:.1f} %{told} on validation")
        yield found
        lowest = min(lowest, found.cost)
        if found.cost > lowest + HOPELESS:
            return


def best(found: Sequence[Average]) -> Average:
    """The average to release.

    With retained speech it has the lowest WERs in all. Without, it has as much of the base as costs no more than
    `TOLERATED` points.
    """
    if found[0].retained:
        return min(found, key=lambda one: one.cost)
    lowest = min(one.wer for one in found)
    return max((one for one in found if one.wer <= lowest + TOLERATED), key=lambda one: one.base_share)


def _wer(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, settings: Settings, language: str,
    speech: Dataset,
) -> float:  # fmt: skip
    models.speak(model, processor, language)
    clips = Clips(speech, processor)
    chosen = evenly(len(clips), settings.training.validation_clips)
    heard = hearing.transcripts(model, processor, clips, chosen, lambda line: None, exact=False)
    return rates.wer(rates.errors([clips.texts[clip] for clip in chosen], heard, settings.text.scoring, language))


def record(found: Sequence[Average]) -> list[dict[str, Any]]:
    """As JSON holds them."""
    return [asdict(one) for one in found]
