"""The Trainer callback of a trial: progress lines, metrics, evaluation, checkpoints and early stopping."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from asr import Terminated
from asr.corpus.text import RATES, rate_unit
from asr.scoring import intervals, rates
from asr.settings import Settings
from asr.terminal import format_duration
from asr.training import halving
from asr.training.checkpoints import Checkpoints
from asr.training.decoding import Validation
from asr.training.learner import Learner
from asr.training.search import CurvePoint, LogEntry, best_evaluation

REPORTS = 12  # progress lines of a trial
LOG_POINTS = 50  # points of the training curve
DIVERGED_FACTOR = 2.0  # times the loss of a uniform guess over all tokens
WEIGHTS_FILE, BEST_FILE, PROGRESS_FILE = "learnt.safetensors", "best.safetensors", "progress.json"


@dataclass
class Progress:
    """The state of a trial in a checkpoint, in addition to weights, optimiser and schedule."""

    losses: list[float] = field(default_factory=list)  # of the batches since the last report
    new_losses: list[float] = field(default_factory=list)  # of those since the last log entry
    loss: float = math.nan  # the mean of those before the last report
    history: list[LogEntry] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    stopped: str = ""  # why the trial ended, once it has
    seconds: float = 0.0  # of training until the last checkpoint, without the time between restarts
    rung: int = -1  # the last one passed
    rung_loss: float = math.nan
    word_errors: list[int] = field(default_factory=list)  # in each validation clip, at the best evaluation
    evaluated_step: int = 0  # the last step whose evaluation is complete


@dataclass(frozen=True)
class TrialStatus:
    """The progress of a trial, for its card."""

    steps: int  # in all
    seconds_left: float
    stopped: str  # why the trial ended, once it has
    history: tuple[LogEntry, ...]
    curve: tuple[CurvePoint, ...]


class TrialCallback(TrainerCallback):
    """Reports, evaluates, saves checkpoints and ends the trial. A report is a single line: trials print in parallel."""

    def __init__(
        self, learner: Learner, validation: Validation, settings: Settings, log: Callable[[str], None], scratch: Path,
        started: float, checkpoints: Checkpoints | None, siblings: halving.SuccessiveHalving | None,
        on_status: Callable[[TrialStatus], None] | None,
    ) -> None:  # fmt: skip
        self.learner, self.validation, self.training, self.print_line = learner, validation, settings.training, log
        self.scratch, self.trial_start, self.checkpoints, self.siblings = scratch, started, checkpoints, siblings
        self.rate = RATES[rate_unit(settings.corpus.language)]
        self.on_status = on_status or (lambda status: None)
        self.log: Callable[[dict[str, float]], None] = lambda metrics: None  # to the trackers
        steps, times = self.training.steps, self.training.evaluations
        self.evaluations = {max(1, round(steps * part / times)) for part in range(1, times + 1)}
        self.reports = {1, *range(max(1, steps // REPORTS), steps + 1, max(1, steps // REPORTS))}
        self.rungs = halving.rung_steps(steps) if siblings else []
        self.log_steps = {1, *range(0, steps + 1, max(1, steps // LOG_POINTS)), steps}
        self.checked_steps = self.log_steps | self.reports | self.evaluations | set(self.rungs)
        self.progress = Progress()
        self.terminated = False
        self.changing = False  # whether the state of a checkpoint is being changed
        self.random = torch.get_rng_state()  # after the last step; a GPU's is not reproducible anyway
        self.kept_losses = 0  # losses of complete steps that were not taken yet
        self.started, self.first, self.evaluating, self.evaluated = time.monotonic(), 0, 0.0, 0
        self.last_log = self.started  # time of the last log entry, plus the evaluations since

    def save(self, folder: Path) -> None:
        """Write the progress and the best weights to a checkpoint's folder."""
        progress = replace(self.progress, seconds=self.seconds)
        (folder / PROGRESS_FILE).write_text(json.dumps(asdict(progress)))
        if (self.scratch / BEST_FILE).exists():
            shutil.copyfile(self.scratch / BEST_FILE, folder / BEST_FILE)

    def load(self, folder: Path, step: int) -> None:
        """Restore the files of `save`."""
        fields = json.loads((folder / PROGRESS_FILE).read_text())
        fields["curve"] = [CurvePoint(**point) for point in fields["curve"]]
        fields["history"] = [LogEntry(**entry) for entry in fields["history"]]
        self.progress = Progress(**fields)
        self.first = step
        if (folder / BEST_FILE).exists():
            shutil.copyfile(folder / BEST_FILE, self.scratch / BEST_FILE)
        self.print_line(f"resumed at step {step} of {self.training.steps}")

    @property
    def seconds(self) -> float:
        """The training time, without the time between restarts."""
        return self.progress.seconds + time.monotonic() - self.trial_start

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.changing = True

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        step, progress = state.global_step, self.progress
        self.random = torch.get_rng_state()
        if step in self.checked_steps:
            self._take_losses()
        self.kept_losses = len(self.learner.losses)
        if step in self.log_steps:
            self._log_metrics(step, more["lr_scheduler"].get_last_lr()[0])
        self._check_loss(step)
        self.changing = False
        self.evaluate(step)
        if progress.stopped:
            control.should_training_stop = True
        elif self.checkpoints and (self.terminated or self.checkpoints.is_due):
            self._take_losses()
            self.changing = control.should_save = True

    def evaluate(self, step: int) -> None:
        """Evaluate after a step, unless that was done before, and decide whether the trial ends."""
        progress = self.progress
        for check in (self._check_wer, self._check_rung):
            if not progress.stopped:
                check(step)
        if step == self.training.steps and not progress.stopped:
            progress.stopped = "finished"
        progress.evaluated_step = step
        if step in self.checked_steps or progress.stopped:
            self.on_status(self._status(step))

    def discard_partial_step(self) -> None:
        """Undo the changes of an interrupted step, so that the last complete step can be saved."""
        torch.set_rng_state(self.random)
        del self.learner.losses[self.kept_losses :]
        self._take_losses()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.checkpoints
        [folder] = self.scratch.glob("checkpoint-*")
        self.checkpoints.save(folder, state.global_step)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        self.changing = False
        if self.terminated:
            raise Terminated(f"asked to end at step {state.global_step}")

    def _take_losses(self) -> None:
        taken, self.kept_losses = self.learner.take_losses(), 0
        self.progress.losses += taken
        self.progress.new_losses += taken

    def _log_metrics(self, step: int, learning_rate: float) -> None:
        progress, now = self.progress, time.monotonic()
        speed = self.learner.clips_seen / max(now - self.last_log, 1e-3)
        self.last_log, self.learner.clips_seen = now, 0
        entry = LogEntry(step, sum(progress.new_losses) / len(progress.new_losses), learning_rate, speed)
        progress.new_losses = []
        progress.history.append(entry)
        self.log({"loss": entry.loss, "learning_rate": learning_rate, "clips_per_second": speed})

    def _check_loss(self, step: int) -> None:
        progress = self.progress
        if step in self.checked_steps and is_diverged(progress.losses, self.learner.whisper.config.vocab_size):
            progress.stopped = "diverged"
        if step in self.reports and not progress.stopped:
            progress.loss, progress.losses = sum(progress.losses) / len(progress.losses), []
            self._print_line(step, f"loss {progress.loss:6.3f}")

    def _check_wer(self, step: int) -> None:
        if step not in self.evaluations:
            return
        curve = self.progress.curve
        if not curve or curve[-1].step < step:
            self._evaluate(step)
        best = best_evaluation(curve)
        assert best
        without_improvement = len(curve) - 1 - curve.index(best)
        if 0 < self.training.patience <= without_improvement and step < self.training.steps:
            self.progress.stopped = "plateau"

    def _check_rung(self, step: int) -> None:
        progress = self.progress
        if not self.siblings or step == self.training.steps:
            return
        if step in self.rungs:
            progress.rung, progress.rung_loss = self.rungs.index(step), self.validation.loss(self.learner)
            self.siblings.report(progress.rung, progress.rung_loss)
        elif progress.rung < 0 or step not in self.reports:
            return
        if self.siblings.is_outpaced(progress.rung, progress.rung_loss):
            progress.stopped = "outpaced"
            if step not in self.evaluations:
                self._evaluate(step)

    def _evaluate(self, step: int) -> None:
        start, progress = time.monotonic(), self.progress
        errors = self.validation.errors(self.learner)
        word_errors, words = [clip.word_errors for clip in errors], [clip.words for clip in errors]
        bounds = intervals.confidence_interval(word_errors, words, self.validation.speakers)
        loss = self.validation.loss(self.learner)
        point = CurvePoint(step, progress.loss, loss, rates.wer(errors), bounds.low, bounds.high)
        self.changing = True
        progress.curve.append(point)
        if best_evaluation(progress.curve) is point:
            progress.word_errors = word_errors
            self.learner.save(self.scratch / BEST_FILE)
        self.changing = False
        spent = time.monotonic() - start
        self.evaluating, self.evaluated, self.last_log = (
            self.evaluating + spent,
            self.evaluated + 1,
            self.last_log + spent,
        )
        self.log({"eval_loss": loss, "eval_wer": point.validation_wer})
        self._print_line(step, f"validation {self.rate} {point.validation_wer:.1f} %")

    def _seconds_left(self, step: int) -> float:
        """Estimated seconds until the end of the trial, from its speed so far."""
        spent = time.monotonic() - self.started - self.evaluating
        remaining = sum(evaluation > step for evaluation in self.evaluations)
        steps = spent / max(1, step - self.first) * (self.training.steps - step)
        return steps + self.evaluating / max(1, self.evaluated) * remaining

    def _status(self, step: int) -> TrialStatus:
        progress, seconds_left = self.progress, 0.0 if self.progress.stopped else self._seconds_left(step)
        steps, history, curve = self.training.steps, tuple(progress.history), tuple(progress.curve)
        return TrialStatus(steps, seconds_left, progress.stopped, history, curve)

    def _print_line(self, step: int, metric: str) -> None:
        steps = self.training.steps
        self.print_line(
            f"step {step:{len(str(steps))}d}/{steps}  {metric:24s}  {format_duration(self._seconds_left(step))} left"
        )


def is_diverged(losses: list[float], vocabulary: int) -> bool:
    """Whether the last losses are NaN or far worse than guessing."""
    last = losses[-max(1, len(losses) // 2) :]
    return bool(losses) and not sum(last) / len(last) < DIVERGED_FACTOR * math.log(vocabulary)
