"""What watches a trial: it reports, evaluates, keeps checkpoints, and says when it is over."""

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
from asr.console import format_duration
from asr.corpus.text import RATES, rate_unit
from asr.scoring import intervals, rates
from asr.settings import Settings
from asr.training import halving
from asr.training.checkpoints import Checkpoints
from asr.training.decoding import Validation
from asr.training.learner import Learner
from asr.training.search import CurvePoint, LogEntry, best_evaluation

REPORTS = 12  # lines of progress a trial prints
LOG_POINTS = 50  # times a trial looks whether its loss has exploded
DIVERGED_FACTOR = 2.0  # times the loss of a model that guesses evenly among all tokens
WEIGHTS_FILE, BEST_FILE, PROGRESS_FILE = "learnt.safetensors", "best.safetensors", "progress.json"


@dataclass
class Progress:
    """How far a trial has come: what a checkpoint must know beside weights, optimiser and schedule."""

    losses: list[float] = field(default_factory=list)  # of the batches since the last report
    new_losses: list[float] = field(default_factory=list)  # of those since the last look
    loss: float = math.nan  # the mean of those before the last report
    history: list[LogEntry] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    stopped: str = ""  # why it ended, once it has
    seconds: float = 0.0  # until the last checkpoint, in all lives
    rung: int = -1  # the last one passed
    rung_loss: float = math.nan
    word_errors: list[int] = field(default_factory=list)  # words in each validation clip, where it was best
    evaluated_step: int = 0  # the last step after which it was judged to the end


@dataclass(frozen=True)
class TrialStatus:
    """How far a trial has come, for somebody who looks at it."""

    steps: int  # of how many
    seconds_left: float  # seconds
    stopped: str  # why it ended, once it has
    history: tuple[LogEntry, ...]
    curve: tuple[CurvePoint, ...]


class TrialCallback(TrainerCallback):
    """Reports, evaluates, keeps checkpoints and ends the trial. A report is one whole line: branches print at once."""

    def __init__(
        self, learner: Learner, validation: Validation, settings: Settings, say: Callable[[str], None], scratch: Path,
        born: float, keeper: Checkpoints | None, siblings: halving.SuccessiveHalving | None,
        show: Callable[[TrialStatus], None] | None,
    ) -> None:  # fmt: skip
        self.learner, self.validation, self.training, self.say = learner, validation, settings.training, say
        self.scratch, self.start, self.keeper, self.siblings = scratch, born, keeper, siblings
        self.rate = RATES[rate_unit(settings.corpus.language)]
        self.on_status = show or (lambda standing: None)
        self.log: Callable[[dict[str, float]], None] = lambda figures: None  # to the trackers
        steps, times = self.training.steps, self.training.evaluations
        self.evaluations = {max(1, round(steps * part / times)) for part in range(1, times + 1)}
        self.reports = {1, *range(max(1, steps // REPORTS), steps + 1, max(1, steps // REPORTS))}
        self.rungs = halving.rung_steps(steps) if siblings else []
        self.log_steps = {1, *range(0, steps + 1, max(1, steps // LOG_POINTS)), steps}
        self.checked_steps = self.log_steps | self.reports | self.evaluations | set(self.rungs)
        self.progress = Progress()
        self.terminated = False
        self.changing = False  # whether what a checkpoint holds is in the middle of a change
        self.random = torch.get_rng_state()  # after the last step; not a GPU's, which does not repeat itself
        self.kept_losses = 0  # losses of whole steps that were not taken yet
        self.started, self.first, self.evaluating, self.evaluated = time.monotonic(), 0, 0.0, 0
        self.last_log = self.started  # when it last did, with the time of evaluations since then added

    def save(self, folder: Path) -> None:
        """Write what it knows to a checkpoint's folder."""
        told = replace(self.progress, seconds=self.seconds)
        (folder / PROGRESS_FILE).write_text(json.dumps(asdict(told)))
        if (self.scratch / BEST_FILE).exists():
            shutil.copyfile(self.scratch / BEST_FILE, folder / BEST_FILE)

    def load(self, folder: Path, step: int) -> None:
        """Take up what `save` wrote."""
        told = json.loads((folder / PROGRESS_FILE).read_text())
        told["curve"] = [CurvePoint(**point) for point in told["curve"]]
        told["history"] = [LogEntry(**look) for look in told["history"]]
        self.progress = Progress(**told)
        self.first = step
        if (folder / BEST_FILE).exists():
            shutil.copyfile(folder / BEST_FILE, self.scratch / BEST_FILE)
        self.say(f"goes on from step {step} of {self.training.steps}, where it was stopped")

    @property
    def seconds(self) -> float:
        """Since the trial began, without the time between its lives."""
        return self.progress.seconds + time.monotonic() - self.start

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
        elif self.keeper and (self.terminated or self.keeper.is_due):
            self._take_losses()
            self.changing = control.should_save = True

    def evaluate(self, step: int) -> None:
        """Listen and compare after a step, as far as that was not done before; say whether the trial is over."""
        progress = self.progress
        for judge in (self._check_wer, self._check_rung):
            if not progress.stopped:
                judge(step)
        if step == self.training.steps and not progress.stopped:
            progress.stopped = "finished"
        progress.evaluated_step = step
        if step in self.checked_steps or progress.stopped:
            self.on_status(self._status(step))

    def discard_partial_step(self) -> None:
        """Forget what was begun since the last whole step, so that it can be kept."""
        torch.set_rng_state(self.random)
        del self.learner.losses[self.kept_losses :]
        self._take_losses()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.keeper
        [folder] = self.scratch.glob("checkpoint-*")
        self.keeper.save(folder, state.global_step)
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
        look = LogEntry(step, sum(progress.new_losses) / len(progress.new_losses), learning_rate, speed)
        progress.new_losses = []
        progress.history.append(look)
        self.log({"loss": look.loss, "learning_rate": learning_rate, "clips_per_second": speed})

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
        found = best_evaluation(curve)
        assert found
        without_gain = len(curve) - 1 - curve.index(found)
        if 0 < self.training.patience <= without_gain and step < self.training.steps:
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
        began, progress = time.monotonic(), self.progress
        errors = self.validation.errors(self.learner)
        wrong, words = [one.word_errors for one in errors], [one.words for one in errors]
        bounds = intervals.confidence_interval(wrong, words, self.validation.speakers)
        loss = self.validation.loss(self.learner)
        point = CurvePoint(step, progress.loss, loss, rates.wer(errors), bounds.low, bounds.high)
        self.changing = True
        progress.curve.append(point)
        if best_evaluation(progress.curve) is point:
            progress.word_errors = wrong
            self.learner.save(self.scratch / BEST_FILE)
        self.changing = False
        spent = time.monotonic() - began
        self.evaluating, self.evaluated, self.last_log = (
            self.evaluating + spent,
            self.evaluated + 1,
            self.last_log + spent,
        )
        self.log({"eval_loss": loss, "eval_wer": point.validation_wer})
        self._print_line(step, f"validation {self.rate} {point.validation_wer:.1f} %")

    def _seconds_left(self, step: int) -> float:
        """Seconds until the trial is over, as it has gone so far."""
        spent = time.monotonic() - self.started - self.evaluating
        to_come = sum(one > step for one in self.evaluations)
        steps = spent / max(1, step - self.first) * (self.training.steps - step)
        return steps + self.evaluating / max(1, self.evaluated) * to_come

    def _status(self, step: int) -> TrialStatus:
        progress, left = self.progress, 0.0 if self.progress.stopped else self._seconds_left(step)
        steps, history, curve = self.training.steps, tuple(progress.history), tuple(progress.curve)
        return TrialStatus(steps, left, progress.stopped, history, curve)

    def _print_line(self, step: int, what: str) -> None:
        steps = self.training.steps
        self.say(
            f"step {step:{len(str(steps))}d}/{steps}  {what:24s}  {format_duration(self._seconds_left(step))} left"
        )


def is_diverged(losses: list[float], vocabulary: int) -> bool:
    """Whether the last losses are no numbers, or far worse than guessing."""
    last = losses[-max(1, len(losses) // 2) :]
    return bool(losses) and not sum(last) / len(last) < DIVERGED_FACTOR * math.log(vocabulary)
