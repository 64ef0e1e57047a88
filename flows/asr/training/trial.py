"""One trial: fine-tune a Whisper with one set of hyperparameters."""

from __future__ import annotations

import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments, WhisperForConditionalGeneration, WhisperProcessor

from asr import Terminated, hardware
from asr.corpus.shards import SpeechDataset
from asr.settings import Settings
from asr.training import distributed, gpu, halving, models, optimizers, trackers
from asr.training.batches import BucketBatchSampler, ClipPool, collate
from asr.training.callback import BEST_FILE, WEIGHTS_FILE, TrialCallback, TrialStatus
from asr.training.checkpoints import Checkpoints
from asr.training.dataset import CACHE_BYTES, FeatureDataset, TrainingDataset
from asr.training.decoding import Validation
from asr.training.distributed import Job, Rank, StopCallback
from asr.training.learner import Learner
from asr.training.models import MAX_TOKENS
from asr.training.search import Outcome, Trial, best_evaluation
from asr.training.trainer import Trainer

MAX_GRADIENT_NORM = 1.0
SINGLE = Rank()
GRACE_SECONDS = 15.0  # for the current step after SIGTERM; a preempted node has 30 s, and the checkpoint needs some
RETRY_SECONDS = 0.5  # until the next try to interrupt a step
MAX_LOADER_WORKERS = 4  # processes that make batches for a GPU


class StepInterrupted(Terminated):
    """A step or an evaluation took too long after a request to end, and was interrupted."""


def fine_tune(
    trial: Trial, settings: Settings, speech: SpeechDataset, log: Callable[[str], None] = print,
    checkpoints: Checkpoints | None = None, siblings: halving.SuccessiveHalving | None = None,
    on_status: Callable[[TrialStatus], None] | None = None, name: str = "trial", gpus: int = 1,
) -> tuple[Outcome, WhisperForConditionalGeneration, WhisperProcessor]:  # fmt: skip
    """Train with one set of hyperparameters.

    A trial is reproducible bit by bit on the same CPU with the same number of threads, also where it was killed and
    continued from its last checkpoint.

    Args:
        checkpoints: Where the state is saved and restored from.
        siblings: The other trials of the search; the trial ends early where they do better.
        on_status: Is called with the status some fifty times.
        name: Of the trial in the trackers.
        gpus: Each computes a share of every step's batches.

    Returns:
        The outcome, and the model that was best on validation with its processor.

    Raises:
        Terminated: After SIGTERM or an interrupt; the state is saved.
        InputError: The memory is too small for a batch.
    """
    settings, started = trial.apply_to(settings), time.monotonic()
    training = settings.training
    train, held_out = speech.split("train"), speech.split("validation")
    torch.manual_seed(training.seed)
    learner, processor, optimizer = _build_learner(trial, settings, train["text"])
    validation = Validation(FeatureDataset(held_out, processor), processor, settings)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        callback = TrialCallback(learner, validation, settings, log, scratch, started, checkpoints, siblings, on_status)
        state = scratch / "restored"
        step = checkpoints.restore(state) if checkpoints else 0
        if step:
            callback.load(state, step)
        checkpoint, rank = state if step else None, Rank(0, gpus)
        batches = make_dataloader(train, processor, settings, step, rank=rank)
        callbacks = [callback, *trackers.callbacks(settings, name)]
        job = Job(trial, settings, speech.shards, speech.folder, checkpoint, step)
        with (
            distributed.worker_processes(job, gpus, torch.get_num_threads()),
            _stopping_on_signals(callback),
            gpu.explained_errors(settings),
        ):
            trainer = _build_trainer(
                learner, optimizer, batches, callbacks, callback, scratch, settings, rank, name, log
            )
            callback.log, progress = trainer.log, callback.progress
            if step and (progress.stopped or progress.evaluated_step < step):  # it was terminated during an evaluation
                learner.load(state / WEIGHTS_FILE)
                callback.evaluate(step)
            if not progress.stopped:
                try:
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
                except StepInterrupted:
                    if trainer.state.global_step > step:
                        trainer.save_last_step()
                    raise
            if progress.curve:
                learner.load(scratch / BEST_FILE)
    model, best = learner.merged_model().eval(), best_evaluation(progress.curve)
    outcome = Outcome(
        trial=trial,
        validation_wer=best.validation_wer if best else math.nan,
        steps=max(step, trainer.state.global_step),
        seconds=callback.seconds,
        stopped=progress.stopped,
        curve=tuple(progress.curve),
        clip_errors=validation.clip_errors(progress.word_errors),
        history=tuple(progress.history),
    )
    return outcome, model, processor


def train_worker(job: Job, rank: Rank) -> None:
    """Compute a worker's share of a trial's batches; `fine_tune` is rank 0."""
    settings, speech = job.settings, SpeechDataset(job.shards, job.folder, lambda keys, folder: folder)
    train = speech.split("train")
    torch.manual_seed(settings.training.seed + rank.index)
    learner, processor, optimizer = _build_learner(job.trial, settings, train["text"])
    batches = make_dataloader(train, processor, settings, start=job.step, rank=rank)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _build_trainer(learner, optimizer, batches, [], None, Path(folder), settings, rank)
        trainer.train(resume_from_checkpoint=str(job.checkpoint) if job.checkpoint else None)


def _build_learner(
    trial: Trial, settings: Settings, texts: Sequence[str]
) -> tuple[Learner, WhisperProcessor, torch.optim.Optimizer]:
    """The learner at the start of a trial, its processor and its optimiser."""
    model, processor = models.prepare(settings, texts)
    learner = Learner(model, settings)
    optimizer = optimizers.build(learner, models.optimizer_name(settings), trial.learning_rate, trial.weight_decay)
    return learner, processor, optimizer


def _build_trainer(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: DataLoader, callbacks: Sequence[TrainerCallback],
    callback: TrialCallback | None, scratch: Path, settings: Settings, rank: Rank, name: str = "",
    log: Callable[[str], None] = print,
) -> Trainer:  # fmt: skip
    stop = [StopCallback()] if rank.world_size > 1 else []
    trainer = Trainer(
        batches, callback, settings.training, log, model=learner, optimizers=(optimizer, None),
        args=_training_arguments(scratch, settings, rank, name), callbacks=[*callbacks, *stop],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def make_dataloader(
    split: Any, processor: WhisperProcessor, settings: Settings, start: int = 0, processes: int | None = None,
    rank: Rank = SINGLE,
) -> DataLoader:  # fmt: skip
    """Batches of the training split from optimiser step `start` on; worker processes make them for a GPU."""
    training = settings.training
    if processes is None:
        processes = min(MAX_LOADER_WORKERS, torch.get_num_threads()) if torch.cuda.is_available() else 0
    clips = FeatureDataset(split, processor, CACHE_BYTES // max(1, processes), settings.corpus.retained)
    tokens = [len(spelt) for spelt in processor.tokenizer([" " + text for text in clips.texts]).input_ids]
    weights = {source.display_name: source.weight for source in settings.corpus.all_sources}
    clip_weights = [weights[source] for source in split["source"]]
    speakers = [f"{speaker or ''}/{source}" for speaker, source in zip(split["speaker"], split["source"], strict=True)]
    return DataLoader(
        TrainingDataset(clips, training),  # type: ignore[arg-type]
        batch_sampler=BucketBatchSampler(
            ClipPool(clips.seconds, clip_weights, speakers, tokens, MAX_TOKENS),
            training,
            start,
            rank.index,
            rank.world_size,
        ),
        collate_fn=collate,
        num_workers=processes,
        worker_init_fn=_reset_signals if processes else None,
        persistent_workers=processes > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _reset_signals(_: int) -> None:
    """Let SIGTERM end a dataloader's worker: it inherits the trial's handlers, which would only set a flag."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the trial ends its own


@contextmanager
def _stopping_on_signals(callback: TrialCallback) -> Iterator[None]:
    """On SIGTERM, Ctrl-C or a closed terminal, let the current step end and save a checkpoint.

    A step or an evaluation that takes longer than `GRACE_SECONDS` is interrupted, and the state before it is saved.
    """
    if not callback.checkpoints or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        if callback.changing:
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
            return
        raise StepInterrupted("asked to end before its first step was complete")

    def terminate(*_: object) -> None:
        if not callback.terminated:
            callback.terminated = True
            previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, interrupt)  # Metaflow's @timeout used it so far
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    end_signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handled = [number for number in end_signals if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    previous: dict[int, Any] = {number: signal.signal(number, terminate) for number in handled}
    try:
        yield
    finally:
        if callback.terminated:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _training_arguments(folder: Path, settings: Settings, rank: Rank, name: str) -> TrainingArguments:
    training = settings.training
    on_gpu = torch.cuda.is_available()
    cpu_ranks = rank.world_size > 1 and not on_gpu  # accelerate does not detect it
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulate // rank.world_size,
        use_cpu=cpu_ranks,
        ddp_backend="gloo" if cpu_ranks else None,
        ddp_find_unused_parameters=False,
        lr_scheduler_type="linear",
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=MAX_GRADIENT_NORM,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        ignore_data_skip=True,  # the dataloader starts at the right step
        report_to=[],  # `trackers` are callbacks
        run_name=name,
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=training.seed,
        data_seed=training.seed,
        bf16=hardware.has_bfloat16(),
        fp16=on_gpu and not hardware.has_bfloat16(),
    )
