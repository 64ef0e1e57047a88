"""Weight averaging of the winner with its base, which retains more of the base's knowledge.

Averages of a base and a model fine-tuned from it are nearly as good as the tuned model on its task, and better on
others: Wortsman et al. (arXiv:2109.01903), for speech Vander Eeckt and Van hamme (arXiv:2210.15282). The best share of
the base depends on how far training went and is chosen on retained speech; without any, the winner is released as it
is.
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
from asr.training import decoding, models
from asr.training.dataset import FeatureDataset

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

BASE_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # that are evaluated
MAX_WER_LOSS = 3.0  # WER points above the best average so far: larger shares are then skipped


@dataclass(frozen=True)
class Average:
    """A share of the base, and the validation WERs (percent) of the averaged model."""

    base_share: float
    wer: float
    retained: Mapping[str, float]  # by language

    @property
    def cost(self) -> float:
        """The mean over the tuned language, which counts as much as all retained ones together."""
        return self.wer + fmean(self.retained.values())


def choose_average(
    winner: Path, settings: Settings, speech: SpeechDataset, target: Path, log: Callable[[str], None] = print
) -> tuple[Path, dict[str, Any]]:
    """Choose the model to release; returns its folder, and the report's `base_share` and `averages` (those evaluated).

    An average is written to `target`. Without a base, with [release] base_share = 0, or if that is "auto" and no speech
    is retained, the winner itself is released.
    """
    base, share, evaluated = settings.model.base, settings.release.base_share, list[Average]()
    if base and share == "auto" and (retained := speech.retained("validation")):
        validation = {settings.corpus.language: speech.split("validation"), **retained}
        evaluated = list(evaluate_averages(winner, base, settings, validation, log))
        share = min(evaluated, key=lambda average: average.cost).base_share
    if not base or share == "auto" or not share:
        return winner, {"base_share": 0.0, "averages": [asdict(average) for average in evaluated]}
    models.save(target, *average_weights(winner, base, share))
    return target, {"base_share": share, "averages": [asdict(average) for average in evaluated]}


def average_weights(
    tuned: str | Path, base: str | Path, base_share: float
) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """The model with `base_share` of the base's weights and the rest of the tuned model's.

    Raises ValueError if the two have different shapes.
    """
    import torch

    model, processor = models.load(tuned)
    if base_share:
        base_weights = dict(models.load(base)[0].named_parameters())  # lists tied weights once
        weights = dict(model.named_parameters())
        shapes = [{name: weight.shape for name, weight in of.items()} for of in (weights, base_weights)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{tuned} has other weights than {base}")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.lerp_(base_weights[name], base_share)
    return model, processor


def evaluate_averages(
    tuned: Path, base: str | Path, settings: Settings, validation: Mapping[str, Dataset],
    log: Callable[[str], None] = print,
) -> Iterator[Average]:  # fmt: skip
    """The averages with increasing shares of the base, each with its WERs on `validation` by language.

    Decoding is as in a trial's validation. Stops early once an average is far worse than the best.
    """
    main_language, lowest_cost = settings.corpus.language, float("inf")
    clips_by_language = dict[str, FeatureDataset]()
    for share in BASE_SHARES:
        model, processor = average_weights(tuned, base, share)
        clips_by_language = clips_by_language or {
            language: FeatureDataset(clips, processor) for language, clips in validation.items()
        }
        errors = decoding.errors_by_language(model.eval(), processor, clips_by_language, settings, lambda line: None)
        wers = {language: rates.wer(clips) for language, clips in errors.items()}
        result = Average(share, wers.pop(main_language), wers)
        retained = "".join(f", {language} {wer:.1f} %" for language, wer in wers.items())
        log(f"with {share:.0%} of the base's weights: {main_language} {result.wer:.1f} %{retained} on validation")
        yield result
        lowest_cost = min(lowest_cost, result.cost)
        if result.cost > lowest_cost + MAX_WER_LOSS:
            return
