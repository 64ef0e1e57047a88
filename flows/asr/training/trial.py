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
from asr.training import gpu, halving, models, optimizers, ranks, trackers
from asr.training.batches import LengthBuckets, Pool, collate
from asr.training.checkpoints import Checkpoints
from asr.training.examples import CACHE_BYTES, Clips, Examples
from asr.training.hearing import Validation
from asr.training.learner import Learner
from asr.training.models import MAX_TOKENS
from asr.training.ranks import Job, Share, Together
from asr.training.search import Outcome, Trial, best
from asr.training.trainer import Trainer
from asr.training.watch import BEST, WEIGHTS, Standing, Watch

CLIP_NORM = 1.0
ALONE = Share()
STEP_GRACE = 15.0  # seconds for a step, once a trial is to end; a spot machine has 30, and its checkpoint takes some
BUSY_SECONDS = 0.5  # then between two looks whether it can be broken off
LOADERS = 4  # processes that make batches while a GPU computes, at most


class BrokenOff(Terminated):
    """A step, or the listening after it, took too long for what is to end."""


def fine_tune(
    trial: Trial, settings: Settings, speech: SpeechDataset, say: Callable[[str], None] = print,
    keeper: Checkpoints | None = None, siblings: halving.Siblings | None = None,
    show: Callable[[Standing], None] | None = None, name: str = "trial", gpus: int = 1,
) -> tuple[Outcome, WhisperForConditionalGeneration, WhisperProcessor]:  # fmt: skip
    """Train with one set of hyperparameters; the model is the one that was best on validation.

    The same trial on the same speech ends the same, bit by bit, on the same CPU with the same number of threads, also
    when it was killed in between and goes on from `keeper`'s last checkpoint. With `siblings` it ends early where they
    do better. `show` is given its standing some fifty times, and trackers know it by `name`. With several `gpus` each
    computes a share of every step's batches. Raises `Terminated` after a SIGTERM or an interrupt, its state kept by
    `keeper`, and `Refused` where memory does not suffice.
    """
    settings, began = trial.applied(settings), time.monotonic()
    training = settings.training
    heard, kept_back = speech.split("train"), speech.split("validation")
    torch.manual_seed(training.seed)
    learner, processor, optimizer = _learner(trial, settings, heard["text"])
    validation = Validation(Clips(kept_back, processor), processor, settings)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        watch = Watch(learner, validation, settings, say, scratch, began, keeper, siblings, show)
        state = scratch / "taken-up"
        step = keeper.restore(state) if keeper else 0
        if step:
            watch.load(state, step)
        taken_up, share = state if step else None, Share(0, gpus)
        batches = loader(heard, processor, settings, step, share=share)
        callbacks = [watch, *trackers.callbacks(settings, name)]
        job = Job(trial, settings, speech.shards, speech.folder, taken_up, step)
        with ranks.together(job, gpus, torch.get_num_threads()), _terminating(watch), gpu.told_plainly(settings):
            trainer = _trainer(learner, optimizer, batches, callbacks, watch, scratch, settings, share, name, say)
            watch.log, progress = trainer.log, watch.progress
            if step and (progress.stopped or progress.judged < step):  # it was asked to end while it listened
                learner.load(state / WEIGHTS)
                watch.judge(step)
            if not progress.stopped:
                try:
                    trainer.train(resume_from_checkpoint=str(taken_up) if taken_up else None)
                except BrokenOff:
                    if trainer.state.global_step > step:
                        trainer.keep()
                    raise
            if progress.curve:
                learner.load(scratch / BEST)
    model, handed_on = learner.plain().eval(), best(progress.curve)
    outcome = Outcome(
        trial=trial,
        validation_wer=handed_on.validation_wer if handed_on else math.nan,
        steps=max(step, trainer.state.global_step),
        seconds=watch.seconds,
        stopped=progress.stopped,
        curve=tuple(progress.curve),
        heard=validation.heard(progress.wrong),
        history=tuple(progress.history),
    )
    return outcome, model, processor


def train_along(job: Job, share: Share) -> None:
    """Compute a share of a trial's batches, as another process of `fine_tune` leads."""
    settings, speech = job.settings, SpeechDataset(job.shards, job.folder, lambda keys, folder: folder)
    heard = speech.split("train")
    torch.manual_seed(settings.training.seed + share.rank)
    learner, processor, optimizer = _learner(job.trial, settings, heard["text"])
    batches = loader(heard, processor, settings, start=job.step, share=share)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(learner, optimizer, batches, [], None, Path(folder), settings, share)
        trainer.train(resume_from_checkpoint=str(job.taken_up) if job.taken_up else None)


def _learner(
    trial: Trial, settings: Settings, texts: Sequence[str]
) -> tuple[Learner, WhisperProcessor, torch.optim.Optimizer]:
    """What a trial begins with, in each of its processes."""
    model, processor = models.prepare(settings, texts)
    learner = Learner(model, settings)
    optimizer = optimizers.build(learner, models.optimizer(settings), trial.learning_rate, trial.weight_decay)
    return learner, processor, optimizer


def _trainer(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: DataLoader, callbacks: Sequence[TrainerCallback],
    watch: Watch | None, scratch: Path, settings: Settings, share: Share, name: str = "",
    say: Callable[[str], None] = print,
) -> Trainer:  # fmt: skip
    together = [Together()] if share.ranks > 1 else []
    trainer = Trainer(
        batches, watch, settings.training, say, model=learner, optimizers=(optimizer, None),
        args=_arguments(scratch, settings, share, name), callbacks=[*callbacks, *together],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def loader(
    heard: Any, processor: WhisperProcessor, settings: Settings, start: int = 0, processes: int | None = None,
    share: Share = ALONE,
) -> DataLoader:  # fmt: skip
    """Batches of the training split from the optimiser's step `start` on, made in processes of their own for a GPU."""
    training = settings.training
    if processes is None:
        processes = min(LOADERS, torch.get_num_threads()) if torch.cuda.is_available() else 0
    clips = Clips(heard, processor, CACHE_BYTES // max(1, processes), settings.corpus.retained)
    tokens = [len(spelt) for spelt in processor.tokenizer([" " + text for text in clips.texts]).input_ids]
    weights = {source.called: source.weight for source in settings.corpus.mixed}
    drawn = [weights[source] for source in heard["source"]]
    speakers = [f"{who or ''}/{source}" for who, source in zip(heard["speaker"], heard["source"], strict=True)]
    return DataLoader(
        Examples(clips, training),  # type: ignore[arg-type]
        batch_sampler=LengthBuckets(
            Pool(clips.seconds, drawn, speakers, tokens, MAX_TOKENS), training, start, share.rank, share.ranks
        ),
        collate_fn=collate,
        num_workers=processes,
        worker_init_fn=_own_signals if processes else None,
        persistent_workers=processes > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _own_signals(_: int) -> None:
    """A loader's process ends when it is told to: the trial's handlers, which it was forked with, only take note."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the trial ends its own


@contextmanager
def _terminating(watch: Watch) -> Iterator[None]:
    """Let a request to end save a checkpoint at the end of the step: SIGTERM, Ctrl-C, a terminal that is closed.

    What takes longer, a step or the listening after it, is broken off, and the state before it is saved.
    """
    if not watch.keeper or threading.current_thread() is not threading.main_thread():
        yield
        return

    def now(*_: object) -> None:
        if watch.changing:
            signal.setitimer(signal.ITIMER_REAL, BUSY_SECONDS)
            return
        raise BrokenOff("asked to end before its first step was done, or done again")

    def soon(*_: object) -> None:
        if not watch.terminated:
            watch.terminated = True
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, now)  # until here it is Metaflow's, for @timeout
            signal.setitimer(signal.ITIMER_REAL, STEP_GRACE)

    asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    heeded = [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
    before: dict[int, Any] = {number: signal.signal(number, soon) for number in heeded}
    try:
        yield
    finally:
        if watch.terminated:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _arguments(folder: Path, settings: Settings, share: Share, name: str) -> TrainingArguments:
    training = settings.training
    on_gpu = torch.cuda.is_available()
    by_cpu = share.ranks > 1 and not on_gpu  # accelerate must be told
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulate // share.ranks,
        use_cpu=by_cpu,
        ddp_backend="gloo" if by_cpu else None,
        ddp_find_unused_parameters=False,
        lr_scheduler_type="linear",
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=CLIP_NORM,
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
        bf16=compute.bfloat16(),
        fp16=on_gpu and not compute.bfloat16(),
    )
