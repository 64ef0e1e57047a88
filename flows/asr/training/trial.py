"""One trial: fine-tune a Whisper with one set of hyperparameters, tell how it goes, score it on validation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments, WhisperForConditionalGeneration, WhisperProcessor

from asr.corpus.shards import Speech
from asr.scoring import rates
from asr.settings import Settings
from asr.training import models, optimizers
from asr.training.batches import (
    IGNORED,
    TAIL_FRAMES,
    WINDOW_FRAMES,
    Clips,
    Collate,
    Examples,
    LengthBuckets,
    by_length,
    evenly,
    pad,
)
from asr.training.search import Outcome, Point, Trial

REPORTS = 12  # lines of progress a trial prints
CLIP_NORM = 1.0


class Learner(nn.Module):
    """A Whisper with its loss. From nothing, a CTC head on the encoder helps the first steps find the alignment
    (joint CTC-attention, arXiv:1609.06773); the head is not part of the released model."""

    def __init__(self, whisper: WhisperForConditionalGeneration, settings: Settings) -> None:
        super().__init__()
        self.whisper, self.ctc_weight = whisper, 0.0 if settings.model.base else settings.model.ctc_weight
        self.blank: int = whisper.generation_config.eos_token_id  # the first special token: words stand below it
        self.aligner = nn.Linear(whisper.config.d_model, self.blank + 1) if self.ctc_weight else None

    def forward(self, input_features: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The mean loss of (batch, mel, frames) log-mels against (batch, tokens) labels from prompt to end."""
        whisper, padding = self.whisper, int(self.whisper.config.pad_token_id or 0)
        states = models.encode(whisper, input_features)
        heard = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, padding)
        decoded = whisper.model.decoder(
            input_ids=heard, encoder_hidden_states=states, use_cache=False
        ).last_hidden_state
        expected = labels[:, 1:]
        counted = expected != IGNORED  # the vocabulary is wide: score only the places that count
        loss = functional.cross_entropy(whisper.proj_out(decoded[counted]).float(), expected[counted])
        if self.aligner is not None:
            loss = (1 - self.ctc_weight) * loss + self.ctc_weight * self._alignment_loss(states, labels)
        return {"loss": loss}

    def _alignment_loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.aligner is not None
        words = (labels >= 0) & (labels < self.blank)
        scores = functional.log_softmax(self.aligner(states).float(), -1).transpose(0, 1)
        frames = torch.full((len(labels),), len(scores), device=labels.device)
        return functional.ctc_loss(scores, labels[words], frames, words.sum(1), blank=self.blank, zero_infinity=True)


class _Engine(Trainer):
    """transformers' Trainer on batches of our own making."""

    def __init__(self, loader: DataLoader, **more: Any) -> None:
        super().__init__(**more)
        self.loader = loader

    def get_train_dataloader(self) -> DataLoader:
        return self.loader


class _Watch(TrainerCallback):
    """Evaluates and reports as training goes; a report is one whole line, so that branches may print at once."""

    def __init__(self, settings: Settings, evaluate: Callable[[], float], say: Callable[[str], None]) -> None:
        training = settings.training
        self.steps, self.evaluate, self.say = training.steps, evaluate, say
        self.evaluations = {
            round(training.steps * part / training.evaluations) for part in range(1, training.evaluations + 1)
        }
        self.curve: list[Point] = []
        self.loss, self.began, self.evaluating = float("nan"), time.monotonic(), 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self.loss = float(logs["loss"])
        self._line(state.global_step, f"loss {self.loss:6.3f}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.evaluations:
            began = time.monotonic()
            self.curve.append(Point(state.global_step, self.loss, self.evaluate()))
            self.evaluating += time.monotonic() - began
            self._line(state.global_step, f"validation WER {self.curve[-1].validation_wer:.1f} %")

    def _line(self, step: int, what: str) -> None:
        spent = time.monotonic() - self.began
        left = (spent - self.evaluating) / step * (self.steps - step)
        left += self.evaluating / max(1, len(self.curve)) * (len(self.evaluations) - len(self.curve))
        self.say(f"step {step:{len(str(self.steps))}d}/{self.steps}  {what:24s}  {clock(left)} left")


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> clock(75), clock(7500)
    ('1:15 min', '2:05 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def fine_tune(
    trial: Trial, settings: Settings, speech: Speech, say: Callable[[str], None] = print
) -> tuple[Outcome, WhisperForConditionalGeneration, WhisperProcessor]:
    """Train with one set of hyperparameters and score on validation.

    The same trial on the same speech ends the same, bit by bit, on the same CPU with the same number of threads.
    """
    training, began = settings.training, time.monotonic()
    heard, kept_back = speech.split("train"), speech.split("validation")
    torch.manual_seed(training.seed)
    model, processor = models.prepare(settings, heard["text"])
    train, validation = Clips(heard, processor), Clips(kept_back, processor)
    learner = Learner(model, settings)
    optimizer = optimizers.build(learner, models.optimizer(settings), trial.learning_rate, trial.weight_decay)
    weights = {source.called: source.weight for source in settings.corpus.mixed}
    draws = [weights[name] for name in heard["source"]]
    loader: DataLoader = DataLoader(
        Examples(train, training),  # type: ignore[arg-type]
        batch_sampler=LengthBuckets(train.seconds, training.batch_size, training.steps, training.seed, draws),
        collate_fn=Collate(training),
    )
    chosen = evenly(len(validation), training.validation_clips)
    watch = _Watch(settings, lambda: wer(model, processor, validation, chosen, settings), say)
    with tempfile.TemporaryDirectory() as folder:
        engine = _Engine(
            loader, model=learner, args=_arguments(folder, settings), optimizers=(optimizer, None), callbacks=[watch]
        )
        engine.remove_callback(transformers.PrinterCallback)
        engine.train()
    model.eval()
    outcome = Outcome(
        trial=trial,
        validation_wer=watch.curve[-1].validation_wer,
        steps=engine.state.global_step,
        seconds=time.monotonic() - began,
        stopped="finished",
        curve=tuple(watch.curve),
    )
    return outcome, model, processor


def _arguments(folder: str, settings: Settings) -> TrainingArguments:
    training = settings.training
    on_gpu = torch.cuda.is_available()
    wide = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return TrainingArguments(
        output_dir=folder,
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=CLIP_NORM,
        logging_steps=max(1, training.steps // REPORTS),
        logging_first_step=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=training.seed,
        data_seed=training.seed,
        bf16=wide,
        fp16=on_gpu and not wide,
    )


def wer(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    clips: Clips,
    chosen: Sequence[int],
    settings: Settings,
) -> float:
    """Percent of words wrong in the chosen clips, heard greedily at each batch's own context."""
    heard = transcripts(model, processor, clips, chosen)
    said = [clips.texts[clip] for clip in chosen]
    return rates.wer(rates.errors(said, heard, settings.text.scoring, settings.corpus.language))


def transcripts(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, clips: Clips, chosen: Sequence[int]
) -> list[str]:
    """What the model hears in the chosen clips, in their order."""
    was_training, heard = model.training, dict[int, str]()
    model.eval()
    for batch in by_length(clips, chosen):
        features = [clips.features(clip) for clip in batch]
        longest = max(one.shape[1] for one in features)
        texts = models.transcribe(model, processor, pad(features, min(WINDOW_FRAMES, longest + TAIL_FRAMES)))
        heard.update(zip(batch, texts, strict=True))
    model.train(was_training)
    return [heard[clip] for clip in chosen]
