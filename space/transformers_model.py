"""A plain Whisper in Hugging Face's format, run by transformers: slower, and without words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class TransformersModel:
    """Answers those calls of CTranslate2's Whisper that make its text."""

    def __init__(self, folder: Path, language: str, threads: int) -> None:
        import torch
        from transformers import WhisperForConditionalGeneration

        if threads:
            torch.set_num_threads(threads)
        self._model: Any = WhisperForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()
        self._language = language

    @property
    def n_mels(self) -> int:
        return int(self._model.config.num_mel_bins)

    def encode(self, features: Any) -> Any:
        return features

    def generate(
        self, features: Any, prompts: Any, beam_size: int, max_length: int, return_scores: bool,
        return_no_speech_prob: bool, sampling_temperature: float = 0.0, sampling_topk: int = 1, **options: Any,
    ) -> list[Any]:  # fmt: skip
        """Scores and the probability of silence are constants: all is taken for speech. Prompts are ignored."""
        import torch

        if sampling_temperature:
            options |= {"do_sample": True, "temperature": sampling_temperature, "top_k": sampling_topk}
        with torch.inference_mode():
            rows = self._model.generate(
                torch.from_numpy(np.array(features)), language=self._language, task="transcribe",
                num_beams=beam_size, max_new_tokens=max_length // 2, **options,
            )  # fmt: skip
        return [SimpleNamespace(sequences_ids=[row], scores=[0.0], no_speech_prob=0.0) for row in rows.tolist()]
