"""Decoding of clips with a model, and its errors: greedy, in batches of similar length, each at its own context.

`Validation` scores the trials. On a CPU it decodes with CTranslate2 in 8-bit integers, as a release is served; see
"Decoding in validation" in flows/docs/decisions.md. On a GPU it uses transformers.
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

from asr import terminal
from asr.corpus.text import split_units
from asr.scoring import rates
from asr.settings import Settings
from asr.training import models
from asr.training.batches import batches_by_length, evenly_spaced, pad_features, pad_labels
from asr.training.dataset import FeatureDataset, log_mels
from asr.training.learner import Learner
from asr.training.models import WINDOW_FRAMES
from asr.training.search import ClipErrors

MAX_RETAINED_CLIPS = 200  # of each retained language; the same every time
TAIL_FRAMES = 30  # of silence after the longest clip of a batch, as in the serving engine


def transcribe_clips(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, clips: FeatureDataset, chosen: Sequence[int],
    log: Callable[[str], None] = print, context: int = 0, exact: bool = True,
) -> list[str]:  # fmt: skip
    """The hypotheses of a model for the chosen clips, in their order, on a GPU where there is one.

    Args:
        context: Frames of the encoder's input, where a batch is not longer. The number of tokens is limited by the
            batch's own length, as in the serving engine.
        exact: Decode in floats. On a CPU that takes four times as long as 8-bit integers.
        log: Called with progress lines.
    """
    was_training, device, hypotheses = model.training, model.device, dict[int, str]()
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    decode = _decoder_of(model, processor, exact)
    for batch in terminal.with_progress(batches_by_length(clips, chosen), len(chosen), log):
        hypotheses.update(zip(batch, decode(*_stack_features(clips, batch, context)), strict=True))
    model.train(was_training).to(device)
    return [hypotheses[clip] for clip in chosen]


def errors_by_language(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, speech: Mapping[str, FeatureDataset],
    settings: Settings, log: Callable[[str], None] = print, context: int = 0,
) -> dict[str, list[rates.ErrorCounts]]:  # fmt: skip
    """The errors of a model, in 8-bit integers on a CPU, in `choose_retained_clips` of each language.

    Each is decoded with its own language; afterwards the model's language is the corpus' again. `context` is
    that of `transcribe_clips`.
    """
    errors = dict[str, list[rates.ErrorCounts]]()
    try:
        for language, clips in speech.items():
            models.set_language(model, processor, language)
            chosen = choose_retained_clips(clips)
            hypotheses = transcribe_clips(model, processor, clips, chosen, log, context, exact=False)
            errors[language] = rates.count_errors(
                [clips.texts[clip] for clip in chosen], hypotheses, settings.text.scoring, language
            )
    finally:
        models.set_language(model, processor, settings.corpus.language)
    return errors


def choose_retained_clips(clips: Sized) -> list[int]:
    """The clips of a retained language that are scored."""
    return evenly_spaced(len(clips), MAX_RETAINED_CLIPS)


def transcribe_sounds(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, sounds: Sequence[np.ndarray], context: int = 0
) -> list[str]:
    """The hypotheses of a float model for (samples,) float32 sounds; `context` as in `transcribe_clips`."""
    hypotheses = []
    for sound in sounds:
        features = log_mels(processor, sound)
        spoken = min(WINDOW_FRAMES, features.shape[1] + TAIL_FRAMES)
        hypotheses += models.transcribe(model, processor, pad_features([features], max(context, spoken)), spoken)
    return hypotheses


def _feature_batches(
    clips: FeatureDataset, chosen: Sequence[int], context: int = 0
) -> Iterator[tuple[list[int], torch.Tensor, int]]:
    """The chosen clips in batches, longest first, with the results of `_stack_features`."""
    for batch in batches_by_length(clips, chosen):
        yield batch, *_stack_features(clips, batch, context)


def _stack_features(clips: FeatureDataset, batch: Sequence[int], context: int = 0) -> tuple[torch.Tensor, int]:
    """(batch, mel, frames) log-mels, and the number of frames of the longest clip."""
    features = [clips.features(clip) for clip in batch]
    spoken = min(WINDOW_FRAMES, max(clip.shape[1] for clip in features) + TAIL_FRAMES)
    return pad_features(features, max(context, spoken)), spoken


class Validation:
    """A fixed choice of validation clips, the same in every trial, and a learner's errors and loss on it."""

    def __init__(self, clips: FeatureDataset, processor: WhisperProcessor, settings: Settings) -> None:
        self.clips, self.processor, self.settings = clips, processor, settings
        self.chosen = evenly_spaced(len(clips), settings.training.validation_clips)
        self.speakers: list[str | None] = [clips.speakers[clip] for clip in self.chosen]

    def errors(self, learner: Learner, context: int = 0) -> list[rates.ErrorCounts]:
        """The errors in each clip, decoded at its batch's length, or at `context` frames where that is more."""
        whisper, was_training = learner.merged_model(), learner.training
        learner.eval()
        decode = _decoder_of(whisper, self.processor, exact=False)
        hypotheses = dict[int, str]()
        for batch, features, spoken in _feature_batches(self.clips, self.chosen, context):
            hypotheses.update(zip(batch, decode(features, spoken), strict=True))
        learner.train(was_training)
        references = [self.clips.texts[clip] for clip in self.chosen]
        ordered = [hypotheses[clip] for clip in self.chosen]
        return rates.count_errors(references, ordered, self.settings.text.scoring, self.settings.corpus.language)

    def clip_errors(self, word_errors: Sequence[int]) -> ClipErrors:
        """The word errors of each clip with its number of words and its speaker."""
        references = [self.clips.texts[clip] for clip in self.chosen] if word_errors else []
        words = (
            len(split_units(text, self.settings.text.scoring, self.settings.corpus.language)) for text in references
        )
        return ClipErrors(tuple(word_errors), tuple(words), tuple(self.speakers[: len(references)]))

    @torch.no_grad()
    def loss(self, learner: Learner) -> float:
        """The mean cross-entropy per token."""
        was_training, total, tokens = learner.training, 0.0, 0
        learner.eval()
        device = learner.whisper.device
        for batch, features, _ in _feature_batches(self.clips, self.chosen):
            labels = pad_labels([self.clips.tokens(clip) for clip in batch])
            cross_entropy, count = learner.total_cross_entropy(features.to(device), labels.to(device))
            total, tokens = total + float(cross_entropy), tokens + count
        learner.train(was_training)
        return total / tokens


def _decoder_of(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, exact: bool
) -> Callable[[torch.Tensor, int], list[str]]:
    use_int8 = not exact and model.device.type == "cpu"
    return Int8Decoder(model, processor) if use_int8 else partial(models.transcribe, model, processor)


class Int8Decoder:
    """A model converted to CTranslate2 with 8-bit integers: (batch, mel, frames) log-mels to texts."""

    def __init__(self, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
        import ctranslate2
        from ctranslate2.converters import TransformersConverter

        class Converter(TransformersConverter):
            def load_model(self, *_: Any, **__: Any) -> WhisperForConditionalGeneration:
                return copy.deepcopy(model)  # the converter quantises in place

        with tempfile.TemporaryDirectory() as scratch:
            source, converted = Path(scratch, "model"), Path(scratch, "ct2")
            model.config.save_pretrained(source)
            processor.save_pretrained(source)
            Converter(str(source)).convert(str(converted), quantization="int8")
            self._model = ctranslate2.models.Whisper(
                str(converted), compute_type="int8", intra_threads=torch.get_num_threads()
            )
        self._tokenizer = processor.tokenizer
        *self._prompt, _ = self._tokenizer("").input_ids
        self._times = range(self._prompt[-1] + 1, self._prompt[-1] + 1 + models.TIMESTAMPS)

    def __call__(self, features: torch.Tensor, spoken: int = 0) -> list[str]:
        """As `models.transcribe`."""
        return [
            self._tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in self.tokens(features, spoken)
        ]

    def tokens(self, features: torch.Tensor, spoken: int = 0) -> list[list[int]]:
        """The tokens for each of (batch, mel, frames) log-mels, without prompt, timestamps and end."""
        import ctranslate2

        sounds = ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy()))
        results = self._model.generate(
            sounds, [self._prompt] * len(features), beam_size=1,
            # CTranslate2 generates half of `max_length`.
            max_length=min(models.POSITIONS, 2 * models.max_tokens(spoken or features.shape[2])),
        )  # fmt: skip
        return [[token for token in result.sequences_ids[0] if token not in self._times] for result in results]
