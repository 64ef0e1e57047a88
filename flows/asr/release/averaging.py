"""The winner averaged with its base: what was learnt, with as much of what was known before as it can bear.

Between the weights of a base and of a model fine-tuned from it lie models that do nearly as well as the tuned one on
what it was tuned for, and better on all else: Wortsman et al. (arXiv:2109.01903), for speech Vander Eeckt and
Van hamme (arXiv:2210.15282). An average costs no training, only some listening. How much of the base is worth having
depends on how far training went: retained speech tells, and where there is none the winner is released as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from asr.corpus.shards import SpeechDataset
from asr.scoring import rates
from asr.settings import Settings
from asr.training import hearing, models
from asr.training.examples import Clips

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the base that are tried
HOPELESS = 3.0  # points of WER in all above the best average so far: larger shares are not tried


@dataclass(frozen=True)
class Average:
    """A share of the base, and the WERs (percent) of what it makes on validation."""

    base_share: float
    wer: float
    retained: Mapping[str, float]  # by language

    @property
    def cost(self) -> float:
        """The language that was tuned for counts as much as all those retained together."""
        return self.wer + fmean(self.retained.values())


def release(
    winner: Path, settings: Settings, speech: SpeechDataset, target: Path, say: Callable[[str], None] = print
) -> tuple[Path, dict[str, Any]]:
    """The model to release, and what the report tells of it: `base_share`, and `averages`, those that were tried.

    The average is written to `target`. Without a base, with [release] base_share = 0, or where it is "auto" and no
    speech is retained, it is the winner itself.
    """
    base, share, tried = settings.model.base, settings.release.base_share, list[Average]()
    if base and share == "auto" and (retained := speech.retained("validation")):
        validation = {settings.corpus.language: speech.split("validation"), **retained}
        tried = list(averages(winner, base, settings, validation, say))
        share = min(tried, key=lambda one: one.cost).base_share
    if not base or share == "auto" or not share:
        return winner, {"base_share": 0.0, "averages": [asdict(one) for one in tried]}
    models.save(target, *average(winner, base, share))
    return target, {"base_share": share, "averages": [asdict(one) for one in tried]}


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
    tuned: Path, base: str | Path, settings: Settings, validation: Mapping[str, Dataset],
    say: Callable[[str], None] = print,
) -> Iterator[Average]:  # fmt: skip
    """Each share of the base with its WERs on `validation`: the corpus' own, and that of each language retained.

    Clips are heard as a trial's validation hears them. It ends where a share is hopeless.
    """
    own, lowest = settings.corpus.language, float("inf")
    heard = dict[str, Clips]()
    for share in SHARES:
        model, processor = average(tuned, base, share)
        heard = heard or {language: Clips(clips, processor) for language, clips in validation.items()}
        errors = hearing.by_language(model.eval(), processor, heard, settings, lambda line: None)
        wers = {language: rates.wer(clips) for language, clips in errors.items()}
        found = Average(share, wers.pop(own), wers)
        told = "".join(f", {language} {wer:.1f} %" for language, wer in wers.items())
        say(f"with {share:.0%} of the base's weights: {own} {found.wer:.1f} %{told} on validation")
        yield found
        lowest = min(lowest, found.cost)
        if found.cost > lowest + HOPELESS:
            return
