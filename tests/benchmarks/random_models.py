"""Whispers of the published shapes with random weights, for benchmarks where no weights are available.

The tokenizer is a small one, trained on the given texts, and the embedding is as wide as Whisper's 51,865 tokens: the
cost of a step depends on the shape alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

FLOWS = Path(__file__).parents[2] / "flows"
sys.path.insert(0, str(FLOWS))

import torch  # noqa: E402
from asr.settings import Model  # noqa: E402
from asr.training import models  # noqa: E402
from transformers import WhisperForConditionalGeneration, WhisperProcessor  # noqa: E402

TINY = Model(width=384, heads=6, encoder_layers=4, decoder_layers=4)
SMALL = Model(width=768, heads=12, encoder_layers=12, decoder_layers=12)
VOCABULARY = 51_865  # tokens of a published multilingual Whisper


def build(shape: Model, texts: Sequence[str]) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A Whisper of the shape, with a processor that knows the texts' words."""
    torch.manual_seed(0)
    processor = models.new_processor(texts, 2_000)
    model = models.new_model(shape, processor)
    model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
    models.set_language(model, processor, "sv")
    return model, processor
