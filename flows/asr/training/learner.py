"""A Whisper in training: its loss, its trainable weights, and the merged model."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from asr.settings import Settings
from asr.training import models
from asr.training.batches import IGNORED_LABEL, PROMPT_OFFSET

LORA_MODULES = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]  # every matrix of a layer: arXiv:2305.14314
LORA_ALPHA = 2.0  # times the rank


def label_positions(labels: torch.Tensor) -> torch.Tensor:
    """The flat positions in labels[:, 1:] (batch, tokens - 1) that count in the loss."""
    return (labels[:, 1:] >= 0).flatten().nonzero().squeeze(1)


class Learner(nn.Module):
    """A Whisper with its loss.

    From scratch, a CTC head on the encoder helps to find the alignment in the first steps (joint CTC-attention,
    arXiv:1609.06773); it is not part of the release. With `lora_rank` only low-rank adapters are trained.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, settings: Settings) -> None:
        super().__init__()
        training = settings.training
        self.whisper, self.ctc_weight = whisper, 0.0 if settings.model.base else settings.model.ctc_weight
        self.label_smoothing, self.frozen = training.label_smoothing, training.freeze_encoder
        self.blank: int = whisper.generation_config.eos_token_id  # the first special token; text tokens are below it
        self.ctc_head = nn.Linear(whisper.config.d_model, self.blank + 1) if self.ctc_weight else None
        if training.lora_rank:
            from peft import LoraConfig, inject_adapter_in_model

            adapters = LoraConfig(
                r=training.lora_rank, lora_alpha=round(LORA_ALPHA * training.lora_rank), target_modules=LORA_MODULES
            )
            inject_adapter_in_model(adapters, whisper)
        if self.frozen:
            whisper.model.encoder.requires_grad_(False)
        if training.gradient_checkpointing:
            whisper.activation_checkpointing_enable({"use_reentrant": False})
        self.losses: list[torch.Tensor] = []  # of the batches since `take_losses`
        self.clips_seen = 0  # clips, or packs of them

    def forward(
        self, input_features: torch.Tensor, labels: torch.Tensor, places: torch.Tensor | None = None,
        tokens: int | None = None, clips: int | None = None,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """The mean loss of a batch, or this part's share of it.

        Args:
            input_features: (batch, mel, frames) log-mels.
            labels: (batch, tokens) from start to end. Negative labels do not count in the loss; `PROMPT_OFFSET - token`
                is an input token without a loss.
            places: `label_positions(labels)`, where they are known.
            tokens: The counted tokens of the whole batch, where this is a part of one.
            clips: The clips of the whole batch, likewise.

        Returns:
            `loss`, and `cross_entropy`, which is the loss without the CTC head. Over the parts of a batch they add up
            to its mean.
        """
        with torch.no_grad() if self.frozen else nullcontext():
            states = models.encode(self.whisper, input_features)
        scores, expected = self._token_scores(states, labels, places)
        loss = functional.cross_entropy(scores, expected, label_smoothing=self.label_smoothing, reduction="sum")
        loss = cross_entropy = loss / (tokens or len(expected))
        if self.ctc_head is not None:
            aligned = self._ctc_loss(states, labels) / (clips or len(labels))
            loss = (1 - self.ctc_weight) * loss + self.ctc_weight * aligned
        return {"loss": loss, "cross_entropy": cross_entropy.detach()}

    def total_cross_entropy(self, input_features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The summed cross-entropy of the labels, without smoothing or CTC, and their number."""
        scores, expected = self._token_scores(models.encode(self.whisper, input_features), labels)
        return functional.cross_entropy(scores, expected, reduction="sum"), len(expected)

    def _token_scores(
        self, states: torch.Tensor, labels: torch.Tensor, places: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(places, vocabulary) logits and (places,) labels, of the counted positions only: the vocabulary is large."""
        whisper, padding = self.whisper, int(self.whisper.config.pad_token_id or 0)
        inputs = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED_LABEL, padding)
        inputs = torch.where(inputs <= PROMPT_OFFSET, PROMPT_OFFSET - inputs, inputs)
        decoded = whisper.model.decoder(
            input_ids=inputs, encoder_hidden_states=states, use_cache=False
        ).last_hidden_state
        places = label_positions(labels) if places is None else places
        return whisper.proj_out(decoded.flatten(0, 1)[places]).float(), labels[:, 1:].flatten()[places]

    def _ctc_loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The CTC loss of the text tokens, per token of each clip, summed over the clips."""
        assert self.ctc_head is not None
        words = (labels >= 0) & (labels < self.blank)
        scores = functional.log_softmax(self.ctc_head(states).float(), -1).transpose(0, 1)
        frames = torch.full((len(labels),), len(scores), device=labels.device)
        losses = functional.ctc_loss(
            scores, labels[words], frames, words.sum(1), blank=self.blank, reduction="none", zero_infinity=True
        )
        return (losses / words.sum(1).clamp(min=1)).sum()

    def record_loss(self, cross_entropy: torch.Tensor, clips: int) -> None:
        """Record the mean cross-entropy of a batch of `clips` clips."""
        self.losses.append(cross_entropy)
        self.clips_seen += clips

    def take_losses(self) -> list[float]:
        """The losses of the batches since the last call; synchronises with the device."""
        taken = torch.stack(self.losses).float().tolist() if self.losses else []
        self.losses.clear()
        return taken

    def save(self, file: Path) -> None:
        """Write `trainable_weights` as safetensors."""
        save_file({name: weight.contiguous() for name, weight in self.trainable_weights().items()}, file)

    def load(self, file: Path) -> None:
        """Load the file of `save`."""
        self.set_weights(load_file(file))

    def trainable_weights(self) -> dict[str, torch.Tensor]:
        """The trainable weights by name, which a checkpoint needs in addition to the initial model."""
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    def set_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Set weights of `trainable_weights`."""
        own = self.trainable_weights()
        if own.keys() != weights.keys():
            raise ValueError("these weights are of another model")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(weights[name])

    def merged_model(self) -> WhisperForConditionalGeneration:
        """The Whisper with its adapters merged in: a copy, or itself where there are none."""
        if not any("lora_" in name for name, _ in self.whisper.named_parameters()):
            return self.whisper
        merged = copy.deepcopy(self.whisper)
        for name, module in list(merged.named_modules()):
            if hasattr(module, "lora_A"):
                layer: Any = module
                layer.merge()
                parent, _, attribute = name.rpartition(".")
                setattr(merged.get_submodule(parent), attribute, layer.get_base_layer())
        return merged
