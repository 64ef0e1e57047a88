"""transformers' Trainer with our dataloader; a batch that does not fit into the GPU's memory is split into parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader

from asr.settings import Training
from asr.training.callback import WEIGHTS_FILE, TrialCallback
from asr.training.learner import Learner, label_positions
from asr.training.models import FRAMES_PER_SECOND

Batch = dict[str, Tensor]


class Trainer(transformers.Trainer):
    """Trains a `Learner` on the batches of a dataloader; checkpoints have only the trainable weights."""

    def __init__(
        self,
        loader: DataLoader,
        callback: TrialCallback | None,
        training: Training,
        log: Callable[[str], None],
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.loader, self.callback, self.print_line = loader, callback, log
        self.max_clips: float = training.micro_batch if isinstance(training.micro_batch, int) else math.inf
        self.max_frames = math.inf  # clips times frames that fit into memory, known once it ran out
        self._step_batches: list[Batch] = []  # batches of this step whose gradients are accumulated

    def get_train_dataloader(self) -> DataLoader:
        return self.loader

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """Accumulate a batch's gradients, and return its mean loss.

        Where memory runs out, the parts are halved and the step starts again, since the interrupted backward pass left
        gradients. The result is the same.
        """
        model.train()
        self._step_batches.append(inputs)
        pending = [inputs]
        while True:
            try:
                losses = [self._accumulate_gradients(model, batch) for batch in pending]
                break
            except torch.OutOfMemoryError:
                if not self._halve_parts(inputs):
                    raise
            # Outside of the `except`, whose traceback keeps the tensors alive.
            pending = self._step_batches
            model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if self.accelerator.sync_gradients:
            self._step_batches = []
        total, cross_entropy = losses[-1]
        assert isinstance(self.model, Learner)
        self.model.record_loss(cross_entropy, len(inputs["labels"]))
        return total

    def _accumulate_gradients(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward and backward of a batch in parts; its mean loss and its mean cross-entropy."""
        labels, clips = batch["labels"], len(batch["labels"])
        tokens, size, sums = len(label_positions(labels)), self._part_size(batch), list[Tensor]()
        for at in range(0, clips, size):
            part = {name: tensor[at : at + size] for name, tensor in batch.items()}
            # Computed on the host: on the GPU this would synchronise.
            part["places"] = label_positions(part["labels"])
            is_last = at + size >= clips
            with nullcontext() if is_last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    losses = model(**self._prepare_inputs(part), tokens=tokens, clips=clips)
                loss = losses["loss"] / self.current_gradient_accumulation_steps
                self.accelerator.backward(loss)
            sums.append(torch.stack([loss.detach(), losses["cross_entropy"]]))
        total, cross_entropy = torch.stack(sums).sum(0)
        return total, cross_entropy

    def _part_size(self, batch: Batch) -> int:
        """Clips per forward pass for a batch."""
        fit = min(self.max_clips, self.max_frames // batch["input_features"].shape[2], len(batch["labels"]))
        return max(1, int(fit))

    def _halve_parts(self, batch: Batch) -> bool:
        """Halve the clips per forward pass; False where there is only one."""
        clips, frames = self._part_size(batch), batch["input_features"].shape[2]
        if clips == 1 or self.args.world_size > 1:  # the ranks would wait for each other
            return False
        self.max_frames = clips // 2 * frames
        self.print_line(
            f"the GPU's memory does not hold {clips} clips of {frames / FRAMES_PER_SECOND:.1f} s at once: "
            f"from here on batches are split into parts of {clips // 2}, with the same result"
        )
        return True

    def _prepare_input(self, data: Any) -> Any:
        """Copy without synchronising."""
        if isinstance(data, Tensor):
            return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def save_last_step(self) -> None:
        """Save a checkpoint of the last complete step after an interruption."""
        assert self.callback and self.model is not None
        self.callback.discard_partial_step()
        self._save_checkpoint(self.model, None)
        self.callback.on_save(self.args, self.state, self.control)

    def store_flos(self) -> None:
        """Not used; summing them over the ranks would block."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        assert output_dir and isinstance(self.model, Learner)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        self.model.save(Path(output_dir, WEIGHTS_FILE))
        if self.callback:
            self.callback.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        assert isinstance(self.model, Learner)
        self.model.load(Path(resume_from_checkpoint, WEIGHTS_FILE))
