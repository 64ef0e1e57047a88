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

from transformers import TrainerCallback

from asr import Terminated
from asr.settings import Settings
from asr.training import halving
from asr.training.checkpoints import Checkpoints
from asr.training.hearing import Validation
from asr.training.learner import Learner
from asr.training.search import Point

REPORTS = 12  # lines of progress a trial prints
LOOKS = 50  # times a trial looks whether its loss has exploded
EXPLODED = 2.0  # times the loss of a model that guesses evenly among all tokens
WEIGHTS, BEST, PROGRESS = "learnt.safetensors", "best.safetensors", "progress.json"


@dataclass
class Progress:
    """How far a trial has come: what a checkpoint must know beside weights, optimiser and schedule."""

    losses: list[float] = field(default_factory=list)  # of the batches since the last report
    loss: float = math.nan  # the mean of those before the last report
    curve: list[Point] = field(default_factory=list)
    stopped: str = ""  # why it ended, once it has
    seconds: float = 0.0  # until the last checkpoint, in all lives
    rung: int = -1  # the last one passed
    rung_loss: float = math.nan

    @property
    def best(self) -> Point:
        """The point with the lowest validation WER, the earliest of equals."""
        return min(self.curve, key=lambda point: (math.isnan(point.validation_wer), point.validation_wer, point.step))


class Watch(TrainerCallback):
    """Reports, evaluates, keeps checkpoints and ends the trial. A report is one whole line: branches print at once."""

    def __init__(
        self, learner: Learner, validation: Validation, settings: Settings, say: Callable[[str], None], scratch: Path,
        born: float, keeper: Checkpoints | None, siblings: halving.Siblings | None,
    ) -> None:  # fmt: skip
        self.learner, self.validation, self.training, self.say = learner, validation, settings.training, say
        self.scratch, self.born, self.keeper, self.siblings = scratch, born, keeper, siblings
        steps, times = self.training.steps, self.training.evaluations
        self.evaluations = {max(1, round(steps * part / times)) for part in range(1, times + 1)}
        self.reports = {1, *range(max(1, steps // REPORTS), steps + 1, max(1, steps // REPORTS))}
        self.rungs = halving.rungs(steps) if siblings else []
        self.looks = {*range(0, steps + 1, max(1, steps // LOOKS)), *self.reports, *self.evaluations, *self.rungs}
        self.progress = Progress()
        self.terminated = False
        self.began, self.first, self.evaluating, self.evaluated = time.monotonic(), 0, 0.0, 0

    def save(self, folder: Path) -> None:
        """Write what it knows to a checkpoint's folder."""
        told = replace(self.progress, seconds=self.seconds)
        (folder / PROGRESS).write_text(json.dumps(asdict(told)))
        if (self.scratch / BEST).exists():
            shutil.copyfile(self.scratch / BEST, folder / BEST)

    def load(self, folder: Path, step: int) -> None:
        """Take up what `save` wrote."""
        told = json.loads((folder / PROGRESS).read_text())
        self.progress = Progress(**{**told, "curve": [Point(**point) for point in told["curve"]]})
        self.first = step
        if (folder / BEST).exists():
            shutil.copyfile(folder / BEST, self.scratch / BEST)
        self.say(f"goes on from step {step} of {self.training.steps}, where it was stopped")

    @property
    def seconds(self) -> float:
        """Since the trial began, without the time between its lives."""
        return self.progress.seconds + time.monotonic() - self.born

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, progress = state.global_step, self.progress
        for judge in (self._by_loss, self._by_wer, self._by_siblings):
            if not progress.stopped:
                judge(step)
        if step == self.training.steps and not progress.stopped:
            progress.stopped = "finished"
        if progress.stopped:
            control.should_training_stop = True
        elif self.keeper and (self.terminated or self.keeper.due):
            progress.losses += self.learner.take_losses()
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.keeper
        [folder] = self.scratch.glob("checkpoint-*")
        self.keeper.save(folder, state.global_step)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        if self.terminated:
            raise Terminated(f"asked to end at step {state.global_step}")

    def _by_loss(self, step: int) -> None:
        progress = self.progress
        if step in self.looks:
            progress.losses += self.learner.take_losses()
            if exploded(progress.losses, self.learner.whisper.config.vocab_size):
                progress.stopped = "diverged"
        if step in self.reports and not progress.stopped:
            progress.loss, progress.losses = sum(progress.losses) / len(progress.losses), []
            self._line(step, f"loss {progress.loss:6.3f}")

    def _by_wer(self, step: int) -> None:
        if step not in self.evaluations:
            return
        self._evaluate(step)
        curve = self.progress.curve
        without_gain = len(curve) - 1 - curve.index(self.progress.best)
        if 0 < self.training.patience <= without_gain and step < self.training.steps:
            self.progress.stopped = "plateau"

    def _by_siblings(self, step: int) -> None:
        progress = self.progress
        if not self.siblings or step == self.training.steps:
            return
        if step in self.rungs:
            progress.rung, progress.rung_loss = self.rungs.index(step), self.validation.loss(self.learner)
            self.siblings.arrive(progress.rung, progress.rung_loss)
        elif progress.rung < 0 or step not in self.reports:
            return
        if self.siblings.outpaced(progress.rung, progress.rung_loss):
            progress.stopped = "outpaced"
            if step not in self.evaluations:
                self._evaluate(step)

    def _evaluate(self, step: int) -> None:
        began, progress = time.monotonic(), self.progress
        point = Point(step, progress.loss, self.validation.loss(self.learner), self.validation.wer(self.learner))
        progress.curve.append(point)
        if progress.best is point:
            self.learner.save(self.scratch / BEST)
        self.evaluating, self.evaluated = self.evaluating + time.monotonic() - began, self.evaluated + 1
        self._line(step, f"validation WER {point.validation_wer:.1f} %")

    def _line(self, step: int, what: str) -> None:
        spent, steps = time.monotonic() - self.began, self.training.steps
        left = (spent - self.evaluating) / max(1, step - self.first) * (steps - step)
        to_come = sum(one > step for one in self.evaluations)
        left += self.evaluating / max(1, self.evaluated) * to_come
        self.say(f"step {step:{len(str(steps))}d}/{steps}  {what:24s}  {clock(left)} left")


def exploded(losses: list[float], vocabulary: int) -> bool:
    """Whether the last losses are no numbers, or far worse than guessing."""
    last = losses[-max(1, len(losses) // 2) :]
    return bool(losses) and not sum(last) / len(last) < EXPLODED * math.log(vocabulary)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> clock(75), clock(7500)
    ('1:15 min', '2:05 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
