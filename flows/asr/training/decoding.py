"""What a model hears in the clips of a split, and how wrong that is.

Always greedy, in batches of like length, each at its own context. `Validation` is what trials are watched and chosen
by. On a CPU it listens through CTranslate2 in 8-bit integers, as a release is served: at whisper-tiny's geometry a
batch took a fifteenth of the time of the reference's `generate` on 30 s, transformers' own at the clips' length a
sixth. On a GPU it is transformers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from asr import console
from asr.corpus.text import split_units
from asr.scoring import rates
from asr.settings import Settings
from asr.training import models
from asr.training.batches import batches_by_length, evenly_spaced, pad_features, pad_labels
from asr.training.dataset import FeatureDataset, log_mels
from asr.training.learner import Learner
from asr.training.models import WINDOW_FRAMES
from asr.training.search import ClipErrors

MAX_RETAINED_CLIPS = 200  # of each language that is not to be forgotten, at most; the same ones every time
TAIL_FRAMES = 30  # of silence after the longest clip that a model is to transcribe, as the serving engine leaves it


def transcribe_clips(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, clips: FeatureDataset, chosen: Sequence[int],
    say: Callable[[str], None] = print, context: int = 0, exact: bool = True,
) -> list[str]:  # fmt: skip
    """What a model hears in the chosen clips, in their order, on a GPU where there is one.

    Each batch is heard at its own length, or at `context` frames where that is more; what is written is no more than
    fits into its own length, as in the serving engine: at 30 s a base's loops went on for 444 tokens. On a CPU, floats
    take four times as long as 8-bit integers, which do where nothing has to be `exact`. `say` is told how far it is.
    """
    was_training, before, heard = model.training, model.device, dict[int, str]()
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    listen = _decoder_of(model, processor, exact)
    for batch in console.with_progress(batches_by_length(clips, chosen), len(chosen), say):
        heard.update(zip(batch, listen(*_stack_features(clips, batch, context)), strict=True))
    model.train(was_training).to(before)
    return [heard[clip] for clip in chosen]


def errors_by_language(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, speech: Mapping[str, FeatureDataset],
    settings: Settings, say: Callable[[str], None] = print, context: int = 0,
) -> dict[str, list[rates.ErrorCounts]]:  # fmt: skip
    """The errors of a model, in 8-bit integers on a CPU, in `choose_retained_clips` of each language.

    Each language is scored as itself; the model's language is the corpus' again afterwards. `context` is
    that of `transcribe_clips`.
    """
    found = dict[str, list[rates.ErrorCounts]]()
    try:
        for language, clips in speech.items():
            models.set_language(model, processor, language)
            chosen = choose_retained_clips(clips)
            told = transcribe_clips(model, processor, clips, chosen, say, context, exact=False)
            found[language] = rates.count_errors(
                [clips.texts[clip] for clip in chosen], told, settings.text.scoring, language
            )
    finally:
        models.set_language(model, processor, settings.corpus.language)
    return found


def choose_retained_clips(clips: Sized) -> list[int]:
    """Those of a language's clips that are heard."""
    return evenly_spaced(len(clips), MAX_RETAINED_CLIPS)


def transcribe_sounds(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, sounds: Sequence[np.ndarray], context: int = 0
) -> list[str]:
    """What a float model hears in a few (samples,) float32 sounds, one by one; `context` as for `transcribe_clips`."""
    found = []
    for sound in sounds:
        features = log_mels(processor, sound)
        spoken = min(WINDOW_FRAMES, features.shape[1] + TAIL_FRAMES)
        found += models.transcribe(model, processor, pad_features([features], max(context, spoken)), spoken)
    return found


def _feature_batches(
    clips: FeatureDataset, chosen: Sequence[int], context: int = 0
) -> Iterator[tuple[list[int], torch.Tensor, int]]:
    """The chosen clips in batches, longest first, each as `_stack_features` gives it."""
    for batch in batches_by_length(clips, chosen):
        yield batch, *_stack_features(clips, batch, context)


def _stack_features(clips: FeatureDataset, batch: Sequence[int], context: int = 0) -> tuple[torch.Tensor, int]:
    """(batch, mel, frames) log-mels, and in how many of the frames there is speech."""
    features = [clips.features(clip) for clip in batch]
    spoken = min(WINDOW_FRAMES, max(one.shape[1] for one in features) + TAIL_FRAMES)
    return pad_features(features, max(context, spoken)), spoken


class Validation:
    """A fixed choice of the validation clips, the same in every trial, and how well a learner does on it."""

    def __init__(self, clips: FeatureDataset, processor: WhisperProcessor, settings: Settings) -> None:
        self.clips, self.processor, self.settings = clips, processor, settings
        self.chosen = evenly_spaced(len(clips), settings.training.validation_clips)
        self.speakers: list[str | None] = [clips.speakers[clip] for clip in self.chosen]

    def errors(self, learner: Learner, context: int = 0) -> list[rates.ErrorCounts]:
        """What is wrong in each clip, heard at its batch's own length, or at `context` frames where that is more."""
        whisper, was_training = learner.merged_model(), learner.training
        learner.eval()
        listen = _decoder_of(whisper, self.processor, exact=False)
        heard = dict[int, str]()
        for batch, features, spoken in _feature_batches(self.clips, self.chosen, context):
            heard.update(zip(batch, listen(features, spoken), strict=True))
        learner.train(was_training)
        said = [self.clips.texts[clip] for clip in self.chosen]
        told = [heard[clip] for clip in self.chosen]
        return rates.count_errors(said, told, self.settings.text.scoring, self.settings.corpus.language)

    def clip_errors(self, wrong: Sequence[int]) -> ClipErrors:
        """So many wrong words in each clip, beside how many were said and by whom."""
        said = [self.clips.texts[clip] for clip in self.chosen] if wrong else []
        words = (len(split_units(text, self.settings.text.scoring, self.settings.corpus.language)) for text in said)
        return ClipErrors(tuple(wrong), tuple(words), tuple(self.speakers[: len(said)]))

    @torch.no_grad()
    def loss(self, learner: Learner) -> float:
        """The mean cross-entropy of the clips' tokens, given those before them."""
        was_training, total, tokens = learner.training, 0.0, 0
        learner.eval()
        device = learner.whisper.device
        for batch, features, _ in _feature_batches(self.clips, self.chosen):
            labels = pad_labels([self.clips.tokens(clip) for clip in batch])
            surprise, counted = learner.total_cross_entropy(features.to(device), labels.to(device))
            total, tokens = total + float(surprise), tokens + counted
        learner.train(was_training)
        return total / tokens


def _decoder_of(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, exact: bool
) -> Callable[[torch.Tensor, int], list[str]]:
    quick = not exact and model.device.type == "cpu"
    return Int8Decoder(model, processor) if quick else partial(models.transcribe, model, processor)


class Int8Decoder:
    """A model converted in memory to CTranslate2's 8-bit integers: (batch, mel, frames) log-mels to texts."""

    def __init__(self, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
        import ctranslate2
        from ctranslate2.converters import TransformersConverter

        class Converter(TransformersConverter):
            def load_model(self, *_: Any, **__: Any) -> WhisperForConditionalGeneration:
                return copy.deepcopy(model)  # the converter quantises weights where they are

        with tempfile.TemporaryDirectory() as scratch:
            described, converted = Path(scratch, "model"), Path(scratch, "ct2")
            model.config.save_pretrained(described)
            processor.save_pretrained(described)
            Converter(str(described)).convert(str(converted), quantization="int8")
            self._model = ctranslate2.models.Whisper(
                str(converted), compute_type="int8", intra_threads=torch.get_num_threads()
            )
        self._tokenizer = processor.tokenizer
        *self._prompt, _ = self._tokenizer("").input_ids
        self._times = range(self._prompt[-1] + 1, self._prompt[-1] + 1 + models.TIMESTAMPS)

    def __call__(self, features: torch.Tensor, spoken: int = 0) -> list[str]:
        """As `models.transcribe`."""
        return [self._tokenizer.decode(one, skip_special_tokens=True).strip() for one in self.tokens(features, spoken)]

    def tokens(self, features: torch.Tensor, spoken: int = 0) -> list[list[int]]:
        """What is written for each of (batch, mel, frames) log-mels, without prompt, times and end."""
        import ctranslate2

        sounds = ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy()))
        results = self._model.generate(
            sounds, [self._prompt] * len(features), beam_size=1,
            # It makes half as many.
            max_length=min(models.POSITIONS, 2 * models.max_tokens(spoken or features.shape[2])),
        )  # fmt: skip
        return [[token for token in one.sequences_ids[0] if token not in self._times] for one in results]
