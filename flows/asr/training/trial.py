"""One trial: fine-tune a Whisper with one set of hyperparameters, tell how it goes, and end where it is time."""

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

from asr import Terminated, compute
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
GRACE_SECONDS = 15.0  # seconds for a step, once a trial is to end; a spot machine has 30, and its checkpoint takes some
BUSY_SECONDS = 0.5  # then between two looks whether it can be broken off
MAX_LOADER_WORKERS = 4  # processes that make batches while a GPU computes, at most


class StepInterrupted(Terminated):
    """A step, or the listening after it, took too long for what is to end."""


def fine_tune(
    trial: Trial, settings: Settings, speech: SpeechDataset, say: Callable[[str], None] = print,
    keeper: Checkpoints | None = None, siblings: halving.SuccessiveHalving | None = None,
    show: Callable[[TrialStatus], None] | None = None, name: str = "trial", gpus: int = 1,
) -> tuple[Outcome, WhisperForConditionalGeneration, WhisperProcessor]:  # fmt: skip
    """Train with one set of hyperparameters; the model is the one that was best on validation.

    The same trial on the same speech ends the same, bit by bit, on the same CPU with the same number of threads, also
    when it was killed in between and goes on from `keeper`'s last checkpoint. With `siblings` it ends early where they
    do better. `show` is given its standing some fifty times, and trackers know it by `name`. With several `gpus` each
    computes a share of every step's batches. Raises `Terminated` after a SIGTERM or an interrupt, its state kept by
    `keeper`, and `InputError` where memory does not suffice.
    """
    settings, began = trial.apply_to(settings), time.monotonic()
    training = settings.training
    heard, kept_back = speech.split("train"), speech.split("validation")
    torch.manual_seed(training.seed)
    learner, processor, optimizer = _build_learner(trial, settings, heard["text"])
    validation = Validation(FeatureDataset(kept_back, processor), processor, settings)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        callback = TrialCallback(learner, validation, settings, say, scratch, began, keeper, siblings, show)
        state = scratch / "taken-up"
        step = keeper.restore(state) if keeper else 0
        if step:
            callback.load(state, step)
        checkpoint, rank = state if step else None, Rank(0, gpus)
        batches = make_dataloader(heard, processor, settings, step, rank=rank)
        callbacks = [callback, *trackers.callbacks(settings, name)]
        job = Job(trial, settings, speech.shards, speech.folder, checkpoint, step)
        with (
            distributed.worker_processes(job, gpus, torch.get_num_threads()),
            _stopping_on_signals(callback),
            gpu.explained_errors(settings),
        ):
            trainer = _build_trainer(
                learner, optimizer, batches, callbacks, callback, scratch, settings, rank, name, say
            )
            callback.log, progress = trainer.log, callback.progress
            if step and (progress.stopped or progress.evaluated_step < step):  # it was asked to end while it listened
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
    model, handed_on = learner.merged_model().eval(), best_evaluation(progress.curve)
    outcome = Outcome(
        trial=trial,
        validation_wer=handed_on.validation_wer if handed_on else math.nan,
        steps=max(step, trainer.state.global_step),
        seconds=callback.seconds,
        stopped=progress.stopped,
        curve=tuple(progress.curve),
        clip_errors=validation.clip_errors(progress.word_errors),
        history=tuple(progress.history),
    )
    return outcome, model, processor


def train_worker(job: Job, rank: Rank) -> None:
    """Compute a share of a trial's batches, as another process of `fine_tune` leads."""
    settings, speech = job.settings, SpeechDataset(job.shards, job.folder, lambda keys, folder: folder)
    heard = speech.split("train")
    torch.manual_seed(settings.training.seed + rank.index)
    learner, processor, optimizer = _build_learner(job.trial, settings, heard["text"])
    batches = make_dataloader(heard, processor, settings, start=job.step, rank=rank)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _build_trainer(learner, optimizer, batches, [], None, Path(folder), settings, rank)
        trainer.train(resume_from_checkpoint=str(job.checkpoint) if job.checkpoint else None)


def _build_learner(
    trial: Trial, settings: Settings, texts: Sequence[str]
) -> tuple[Learner, WhisperProcessor, torch.optim.Optimizer]:
    """What a trial begins with, in each of its processes."""
    model, processor = models.prepare(settings, texts)
    learner = Learner(model, settings)
    optimizer = optimizers.build(learner, models.optimizer_name(settings), trial.learning_rate, trial.weight_decay)
    return learner, processor, optimizer


def _build_trainer(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: DataLoader, callbacks: Sequence[TrainerCallback],
    callback: TrialCallback | None, scratch: Path, settings: Settings, rank: Rank, name: str = "",
    say: Callable[[str], None] = print,
) -> Trainer:  # fmt: skip
    together = [StopCallback()] if rank.world_size > 1 else []
    trainer = Trainer(
        batches, callback, settings.training, say, model=learner, optimizers=(optimizer, None),
        args=_training_arguments(scratch, settings, rank, name), callbacks=[*callbacks, *together],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def make_dataloader(
    heard: Any, processor: WhisperProcessor, settings: Settings, start: int = 0, processes: int | None = None,
    rank: Rank = SINGLE,
) -> DataLoader:  # fmt: skip
    """Batches of the training split from the optimiser's step `start` on, made in processes of their own for a GPU."""
    training = settings.training
    if processes is None:
        processes = min(MAX_LOADER_WORKERS, torch.get_num_threads()) if torch.cuda.is_available() else 0
    clips = FeatureDataset(heard, processor, CACHE_BYTES // max(1, processes), settings.corpus.retained)
    tokens = [len(spelt) for spelt in processor.tokenizer([" " + text for text in clips.texts]).input_ids]
    weights = {source.display_name: source.weight for source in settings.corpus.all_sources}
    drawn = [weights[source] for source in heard["source"]]
    speakers = [f"{who or ''}/{source}" for who, source in zip(heard["speaker"], heard["source"], strict=True)]
    return DataLoader(
        TrainingDataset(clips, training),  # type: ignore[arg-type]
        batch_sampler=BucketBatchSampler(
            ClipPool(clips.seconds, drawn, speakers, tokens, MAX_TOKENS), training, start, rank.index, rank.world_size
        ),
        collate_fn=collate,
        num_workers=processes,
        worker_init_fn=_reset_signals if processes else None,
        persistent_workers=processes > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _reset_signals(_: int) -> None:
    """A loader's process ends when it is told to: the trial's handlers, which it was forked with, only take note."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the trial ends its own


@contextmanager
def _stopping_on_signals(callback: TrialCallback) -> Iterator[None]:
    """Let a request to end save a checkpoint at the end of the step: SIGTERM, Ctrl-C, a terminal that is closed.

    What takes longer, a step or the listening after it, is broken off, and the state before it is saved.
    """
    if not callback.keeper or threading.current_thread() is not threading.main_thread():
        yield
        return

    def now(*_: object) -> None:
        if callback.changing:
            signal.setitimer(signal.ITIMER_REAL, BUSY_SECONDS)
            return
        raise StepInterrupted("asked to end before its first step was done, or done again")

    def soon(*_: object) -> None:
        if not callback.terminated:
            callback.terminated = True
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, now)  # until here it is Metaflow's, for @timeout
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    heeded = [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
    before: dict[int, Any] = {number: signal.signal(number, soon) for number in heeded}
    try:
        yield
    finally:
        if callback.terminated:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _training_arguments(folder: Path, settings: Settings, rank: Rank, name: str) -> TrainingArguments:
    training = settings.training
    on_gpu = torch.cuda.is_available()
    by_cpu = rank.world_size > 1 and not on_gpu  # accelerate must be told
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulate // rank.world_size,
        use_cpu=by_cpu,
        ddp_backend="gloo" if by_cpu else None,
        ddp_find_unused_parameters=False,
        lr_scheduler_type="linear",
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=MAX_GRADIENT_NORM,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        ignore_data_skip=True,  # the loader begins where it is to go on
        report_to=[],  # `trackers` are given as callbacks
        run_name=name,
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=training.seed,
        data_seed=training.seed,
        bf16=compute.has_bfloat16(),
        fp16=on_gpu and not compute.has_bfloat16(),
    )
