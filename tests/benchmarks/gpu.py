"""A real trial and the copied recipe, on the same clips and GPU, in the precision that both train in.

    python tests/benchmarks/gpu.py [--batches N ...] [--steps N] [--tiny]

Both have whisper-small's geometry with random weights and clips of 2 to 6 s. The recipe runs as its authors would run
it: its log-mels of 30 s are made beforehand (not timed), with `Seq2SeqTrainer`, half precision, 4 loader processes and
evaluation by `predict_with_generate`. Ours is a trial of the flow, with its loader, callbacks, validation and
checkpoints. The bare step is the same model on batches that are already on the GPU, and nothing else. Each is measured
at every batch size; rates are medians after the first steps. The table shows where a trial's time goes.

Without a GPU it says so; `--tiny` runs whisper-tiny's geometry on any device, which shows the overhead of the step.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(Path(__file__).parent)]

from asr import hardware, terminal  # noqa: E402

terminal.silence_libraries()
import machine  # noqa: E402
import memory  # noqa: E402
import random_models  # noqa: E402
import torch  # noqa: E402
import training  # noqa: E402
from asr.settings import Settings, load  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import models, trial  # noqa: E402
from asr.training.checkpoints import Checkpoints  # noqa: E402
from asr.training.dataset import FeatureDataset  # noqa: E402
from asr.training.decoding import Validation  # noqa: E402
from asr.training.learner import Learner, label_positions  # noqa: E402
from asr.training.search import Trial  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

PROFILE = ROOT / "flows" / "profiles" / "swedish-small-t4.toml"
RECIPE_LOADERS = 4


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    train: int  # clips
    evaluation: int
    steps: int  # of a trial
    recipe_steps: int
    bare: int  # steps


ON_GPU = Size(train=512, evaluation=128, steps=150, recipe_steps=40, bare=60)
ON_CPU = Size(train=64, evaluation=16, steps=20, recipe_steps=3, bare=8)


class LineTimes:
    """The times of the first and the last line that a trial prints."""

    def __init__(self) -> None:
        self.began, self.first, self.last = time.perf_counter(), 0.0, 0.0

    def __call__(self, line: str) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last


@dataclass(frozen=True)
class Bench:
    """The clips, the base and the sizes of all measurements."""

    corpus: training.Corpus
    base: Path
    size: Size
    device: str

    def settings(self, batch: int, steps: int) -> Settings:
        """The settings of whisper-small's profile, on these clips."""
        settings = load(PROFILE.read_text(encoding="utf-8"))
        changes = {"steps": steps, "batch_size": batch, "evaluations": 1, "validation_clips": 16, "long_share": 0.0}
        return settings.model_copy(
            update={
                "corpus": load("").corpus,
                "model": settings.model.model_copy(update={"base": str(self.base)}),
                "training": settings.training.model_copy(update=changes),
            }
        )

    def clips(self) -> tuple[Any, Any]:
        return self.corpus.clips(self.size.train, 1), self.corpus.clips(self.size.evaluation, 2)

    def recipe(self, batch: int) -> training.Recipe:
        train, evaluation = self.clips()
        half = {"bf16": True} if hardware.has_bfloat16() else {"fp16": True} if self.device == "cuda" else {}
        loaders = {"dataloader_num_workers": RECIPE_LOADERS} if self.device == "cuda" else {}
        sizes = {"per_device_train_batch_size": batch, "per_device_eval_batch_size": batch}
        folder = self.corpus.folder / f"recipe-{batch}"
        steps = self.size.recipe_steps
        return training.Recipe(self.base, train, evaluation, folder, max_steps=steps, **half, **loaders, **sizes)

    def recipe_rate(self, batch: int) -> float:
        recipe = self.recipe(batch)
        step_times = training.StepTimes().watch(recipe.trainer)
        recipe.trainer.train()
        return 1 / step_times.seconds_a_clip

    def trial(self, batch: int) -> dict[str, float]:
        """Clips per second after the first steps, and the seconds of its start and end."""
        train, evaluation = self.clips()
        settings, line_times = self.settings(batch, self.size.steps), LineTimes()
        speech, store = (
            training.MemoryDataset(train=train, validation=evaluation),
            Store.in_folder(self.corpus.folder / "trials"),
        )
        name = f"{batch}-{time.monotonic()}"
        checkpoints = Checkpoints(store, name, settings.training.model_copy(update={"checkpoint_minutes": 60.0}))
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        point = Trial(0, 1e-5, 0.01)
        outcome, model, processor = trial.fine_tune(point, settings, speech, line_times, checkpoints)  # type: ignore[arg-type]
        trained = time.perf_counter()
        models.save(self.corpus.folder / name, model, processor)
        speeds = [entry.clips_per_second for entry in outcome.history[len(outcome.history) // 3 :]]
        return {
            "clips_per_second": statistics.median(speeds),
            "start": line_times.first - line_times.began,
            "end": trained - line_times.last,
            "save": time.perf_counter() - trained,
            "gib": torch.cuda.max_memory_reserved() / 2**30 if self.device == "cuda" else 0.0,
        }

    def bare(self, batch: int) -> dict[str, float]:
        """Steps on batches that are on the device: their rate, and milliseconds per step by part."""
        settings = self.settings(batch, self.size.bare)
        torch.manual_seed(0)
        model, processor = models.prepare(settings, [])
        step = memory.Step(Learner(model, settings).train(), self.device)
        train, _ = self.clips()
        began = time.perf_counter()
        loaded_batches = list(trial.make_dataloader(train, processor, settings))
        load_seconds = time.perf_counter() - began
        batches = [
            {
                "features": inputs["input_features"].to(self.device),
                "labels": inputs["labels"].to(self.device),
                "places": label_positions(inputs["labels"]).to(self.device),
            }
            for inputs in loaded_batches
        ]
        clips = sum(len(inputs["labels"]) for inputs in batches)
        with FlopCounterMode(display=False) as counter:
            step(**batches[0])
        operations = counter.get_total_flops() / len(batches[0]["labels"]) / batches[0]["features"].shape[2]
        frames = sum(len(inputs["labels"]) * inputs["features"].shape[2] for inputs in batches)
        for inputs in itertools.islice(batches, 3):
            step(**inputs)
        step.wait()
        began = time.perf_counter()
        for inputs in batches:
            step(**inputs)
        launch_seconds = time.perf_counter() - began
        step.wait()
        seconds = time.perf_counter() - began
        return {
            "clips_per_second": clips / seconds,
            "step_ms": 1000 * seconds / len(batches),
            "launch_ms": 1000 * launch_seconds / len(batches),
            "loader_ms": 1000 * load_seconds / len(batches),
            "share_of_peak": memory.share_of_peak(operations * frames, seconds) or float("nan"),
        }

    def validation_rates(self) -> tuple[float, float]:
        """Clips per second of our validation and the recipe's, with the same number of tokens."""
        recipe, (_, evaluation) = self.recipe(training.BATCH), self.clips()
        settings = self.settings(training.BATCH, 1)
        training_settings = settings.training.model_copy(update={"validation_clips": len(evaluation)})
        settings = settings.model_copy(update={"training": training_settings})
        model, processor = models.prepare(settings, [])
        model.generation_config.min_new_tokens = training.TOKENS
        learner = Learner(model, settings).to(self.device)
        own = Validation(FeatureDataset(evaluation, processor), processor, settings)

        def rate(work: Callable[[], Any]) -> float:
            work()
            began = time.perf_counter()
            work()
            return len(evaluation) / (time.perf_counter() - began)

        with mock.patch.object(models, "max_tokens", lambda frames: training.TOKENS):
            return rate(lambda: own.errors(learner)), rate(recipe.trainer.evaluate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", help="default: 16 64 128, with --tiny 16")
    parser.add_argument("--steps", type=int, help="of a trial")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.tiny:
        print("skipped: there is no GPU here; --tiny shows the overhead of the step on a CPU")
        machine.print_result({"gpu": None})
        return
    size = ON_GPU if device == "cuda" else ON_CPU
    if arguments.steps:
        size = Size(**{**vars(size), "steps": arguments.steps})
    hardware.set_threads(hardware.cores())
    rows: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = training.Corpus.of(Path(scratch))
        shape = random_models.TINY if arguments.tiny else random_models.SMALL
        texts = corpus.speech.split("train")["text"]
        bench = Bench(corpus, models.save(Path(scratch, "base"), *random_models.build(shape, texts)), size, device)
        print(f"{'batch':>5s} {'recipe':>8s} {'trial':>8s} {'bare':>8s}  clips/s; of its bare step, GiB", flush=True)
        for batch in arguments.batches or ([16] if device == "cpu" else [16, 64, 128]):
            bare, own, recipe = bench.bare(batch), bench.trial(batch), bench.recipe_rate(batch)
            rate, bare_rate = own["clips_per_second"], bare["clips_per_second"]
            rows[batch] = {"bare": bare, "trial": own, "recipe": recipe, "share": rate / bare_rate}
            print(
                f"{batch:5d} {recipe:8.1f} {rate:8.1f} {bare_rate:8.1f}  {rate / bare_rate:.0%}, {own['gib']:.1f}",
                flush=True,
            )
        print(
            f"{'batch':>5s} {'step':>8s} {'launch':>8s} {'loader':>8s} {'trial':>8s}  ms a step; start, end, save in s"
        )
        for batch, row in rows.items():
            bare, own = row["bare"], row["trial"]
            trial_ms = 1000 * batch / own["clips_per_second"]
            parts = f"{bare['step_ms']:8.0f} {bare['launch_ms']:8.0f} {bare['loader_ms']:8.0f} {trial_ms:8.0f}"
            print(f"{batch:5d} {parts}  {own['start']:.1f}, {own['end']:.1f}, {own['save']:.1f}", flush=True)
        validation_rate, recipe_validation_rate = bench.validation_rates()
    print(f"validation {validation_rate:.1f} clips/s, the recipe's {recipe_validation_rate:.1f}")
    on_gpu = device == "cuda"
    best = max(rows, key=lambda batch: rows[batch]["trial"]["clips_per_second"])
    smallest = rows[min(rows)]
    machine.print_result({
        "gpu": hardware.describe()[0] if on_gpu else None,
        "batch": min(rows),
        "best_batch": best,
        "trial_clips_per_second": round(smallest["trial"]["clips_per_second"], 1),
        "recipe_clips_per_second": round(smallest["recipe"], 1),
        "best_trial_clips_per_second": round(rows[best]["trial"]["clips_per_second"], 1),
        "best_recipe_clips_per_second": round(max(row["recipe"] for row in rows.values()), 1),
        "bare_step_share": round(smallest["share"], 3),
        "share_of_peak": round(rows[best]["bare"]["share_of_peak"] * rows[best]["share"], 3) if on_gpu else None,
        "gib": round(rows[best]["trial"]["gib"], 2) if on_gpu else None,
        "evaluation_clips_per_second": round(validation_rate, 1),
        "recipe_evaluation_clips_per_second": round(recipe_validation_rate, 1),
    })  # fmt: skip


if __name__ == "__main__":
    main()
