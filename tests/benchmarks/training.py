"""Training compared with the reference recipe: steps, evaluation, whole trials, WER by context, memory.

    python tests/benchmarks/training.py [PART ...] [--rounds N] [--steps N] [--seeds N] [--contexts NAME ...]

PART is step, evaluation, trial, parallel, wer or memory; without one, all. The reference is the widely copied Hugging
Face recipe: log-mels of 30 s made beforehand by `datasets.map` (not timed), `Seq2SeqTrainer`, evaluation by
`predict_with_generate`. It runs without its gradient checkpointing, which only costs time on a CPU. Both have the same
whisper-tiny geometry with random weights, the same clips of 2 to 6 s, batches of 16, all cores, and write the same
number of tokens per clip; ours makes its log-mels during training. They take turns, and the ratios are of medians.

`wer` trains the sample's model in each context on the same number of clips and transcribes the test clips at their own
and at 30 s context. It takes most of the time: a padded trial of 600 steps took 17 minutes on one core, the others two.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "flows")]
for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(quiet, "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import machine  # noqa: E402
import memory  # noqa: E402
import numpy as np  # noqa: E402
import parallel  # noqa: E402
import random_models  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from asr import hardware  # noqa: E402
from asr.corpus import manifest, shards, sources  # noqa: E402
from asr.corpus.audio import RATE  # noqa: E402
from asr.scoring import intervals, rates  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import decoding, models, optimizers, trial  # noqa: E402
from asr.training.batches import pad_labels  # noqa: E402
from asr.training.dataset import FeatureDataset  # noqa: E402
from asr.training.decoding import Validation  # noqa: E402
from asr.training.learner import Learner  # noqa: E402
from asr.training.models import WINDOW_FRAMES  # noqa: E402
from asr.training.search import Trial  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import PrinterCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments  # noqa: E402

BATCH = 16
TOKENS = 20  # in the transcript of a clip: four seconds of Swedish in Whisper's vocabulary
SHORTEST, LONGEST = 2.0, 6.0  # seconds of a clip
STEP_CLIPS, EVALUATION_CLIPS, TRIAL_CLIPS = 128, 200, 64
POINT = Trial(0, 1e-5, 0.01)


@dataclass(frozen=True)
class Corpus:
    """The sample, and clips of 2 to 6 s made of it."""

    folder: Path
    store: Store
    joined: Any

    @classmethod
    def of(cls, folder: Path) -> Corpus:
        store, sample = Store.in_folder(folder / "store"), Settings()
        packed = [
            shards.build_part(
                part,
                sample,
                store,
            )[0]
            for part in sources.list_parts(sample.corpus)
        ]
        return cls(folder, store, manifest.merge_parts(packed, sample.corpus))

    @property
    def speech(self) -> shards.SpeechDataset:
        return shards.SpeechDataset(self.joined.shards, self.folder / "shards", self.store.fetch)

    def clips(self, count: int, seed: int) -> Dataset:
        """Pairs of the sample's clips, cut to 2 to 6 s, in a shard's columns."""
        train, random = self.speech.split("train"), np.random.default_rng(seed)
        rows = []
        for pair in random.integers(0, len(train), (count, 2)):
            sounds = [
                soundfile.read(io.BytesIO(train[int(index)]["audio"]["bytes"]), dtype="float32")[0] for index in pair
            ]
            sound = np.concatenate(sounds * 2)[: round(random.uniform(SHORTEST, LONGEST) * RATE)]
            flac = io.BytesIO()
            soundfile.write(flac, sound, RATE, format="FLAC")
            text = " ".join(train[int(index)]["text"] for index in pair)
            rows.append({
                "audio": {"bytes": flac.getvalue(), "path": None}, "text": text, "seconds": len(sound) / RATE,
                "segments": None, "speaker": "", "source": "sample",
            })  # fmt: skip
        return Dataset.from_list(rows)


class MemoryDataset:
    """A corpus in memory, instead of `SpeechDataset`."""

    shards, folder = (), Path()  # other ranks would read them

    def __init__(self, **splits: Dataset) -> None:
        self.splits = splits

    def split(self, name: str) -> Dataset:
        return self.splits[name]


class Recipe:
    """The copied recipe on a model and its clips."""

    def __init__(self, base: Path, train: Dataset, validation: Dataset, folder: Path, **arguments: Any) -> None:
        torch.manual_seed(0)
        self.model, self.processor = models.load(base)
        self.model.config.use_cache = True
        self.model.generation_config.min_new_tokens = self.model.generation_config.max_new_tokens = TOKENS
        datasets = [split.map(self._prepare, remove_columns=split.column_names) for split in (train, validation)]
        batches = {"per_device_train_batch_size": BATCH, "per_device_eval_batch_size": BATCH}
        self.trainer = Seq2SeqTrainer(
            model=self.model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(folder), learning_rate=1e-5, predict_with_generate=True, generation_max_length=225,
                report_to=[], save_strategy="no", disable_tqdm=True, remove_unused_columns=False, seed=0,
                **batches | arguments,
            ),
            train_dataset=datasets[0], eval_dataset=datasets[1], data_collator=self._collate, compute_metrics=self._wer,
            processing_class=self.processor.feature_extractor,
        )  # fmt: skip
        self.trainer.remove_callback(PrinterCallback)

    def _prepare(self, clip: dict[str, Any]) -> dict[str, Any]:
        sound = soundfile.read(io.BytesIO(clip["audio"]["bytes"]), dtype="float32")[0]
        features = self.processor.feature_extractor(sound, sampling_rate=RATE).input_features[0]
        return {"input_features": features, "labels": self.processor.tokenizer(clip["text"]).input_ids}

    def _collate(self, clips: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        features = [{"input_features": clip["input_features"]} for clip in clips]
        batch = self.processor.feature_extractor.pad(features, return_tensors="pt")
        batch["labels"] = pad_labels([clip["labels"] for clip in clips])[:, 1:]
        return dict(batch)

    def _wer(self, predicted: Any) -> dict[str, float]:
        padding = self.model.config.pad_token_id
        tokens = predicted.predictions
        self.written = {int(count) for count in ((tokens != padding) & (tokens >= 0)).sum(1)}
        labels = np.where(predicted.label_ids == -100, padding, predicted.label_ids)
        references = self.processor.batch_decode(labels, skip_special_tokens=True)
        hypotheses = self.processor.batch_decode(np.where(tokens < 0, padding, tokens), skip_special_tokens=True)
        return {"wer": rates.wer(rates.count_errors(references, hypotheses, "verbatim"))}


def ours(base: Path, **training: Any) -> Settings:
    return Settings.model_validate({"model": {"base": str(base)}, "training": {"batch_size": BATCH, **training}})


def measure(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(name: str, unit: str, rounds: int, reference: Callable[[], float], own: Callable[[], float]) -> float:
    """Run both in turns and print a row of the table; returns how many times faster ours is."""
    times = [(reference(), own()) for _ in range(rounds)]
    recipe_median, own_median = (statistics.median(values) for values in zip(*times, strict=True))
    print(
        f"{name:12s} {recipe_median:10.3f} {own_median:10.3f}  {unit:24s} {recipe_median / own_median:6.1f} x",
        flush=True,
    )
    return round(recipe_median / own_median, 2)


class StepTimes:
    """A trainer's seconds per clip over its steps, without the first one."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def watch(self, trainer: Any) -> StepTimes:
        step = trainer.training_step
        self.clips: list[int] = []

        def timed_step(model: Any, inputs: Any, *args: Any) -> Any:
            self.times.append(time.perf_counter())
            self.clips.append(len(inputs["labels"]))
            return step(model, inputs, *args)

        trainer.training_step = timed_step
        return self

    @property
    def seconds_a_clip(self) -> float:
        return (time.perf_counter() - self.times[1]) / sum(self.clips[1:])


def step(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """Training steps, from the request for a batch to the next."""
    train = corpus.clips(STEP_CLIPS, 1)

    def reference() -> float:
        recipe = Recipe(base, train, train.select([0]), corpus.folder / "recipe", max_steps=4)
        step_times = StepTimes().watch(recipe.trainer)
        recipe.trainer.train()
        return step_times.seconds_a_clip

    def own() -> float:
        profile = ours(base, steps=STEP_CLIPS // BATCH, long_share=0.0)
        torch.manual_seed(0)
        model, processor = models.prepare(profile, [])
        learner, batches = Learner(model, profile), trial.make_dataloader(train, processor, profile)
        optimizer = optimizers.build(learner, "adamw", 1e-5, 0.01)
        trainer = trial._build_trainer(
            learner, optimizer, batches, [], None, corpus.folder / "ours", profile, trial.SINGLE
        )
        step_times = StepTimes().watch(trainer)
        trainer.train()
        return step_times.seconds_a_clip

    return {"step_ratio": compare("step", "s a clip", rounds, reference, own)}


def evaluation(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """A default validation of 200 clips, the model's conversion included."""
    clips = corpus.clips(EVALUATION_CLIPS, 2)
    recipe = Recipe(base, clips.select([0]), clips, corpus.folder / "recipe")
    profile = ours(base)
    model, processor = models.prepare(profile, [])
    learner, own = Learner(model, profile), Validation(FeatureDataset(clips, processor), processor, profile)
    decoder = decoding.Int8Decoder(model, processor)
    recipe.trainer.evaluate(recipe.trainer.eval_dataset.select(range(BATCH)))
    written = {len(tokens) for tokens in decoder.tokens(torch.randn(BATCH, 80, 400))}
    assert written == recipe.written == {TOKENS}, "both must write the same number of tokens"
    unit, validate = f"s for {EVALUATION_CLIPS} clips", partial(own.errors, learner)
    ratio = compare("evaluation", unit, rounds, lambda: measure(recipe.trainer.evaluate), lambda: measure(validate))
    return {"evaluation_ratio": ratio}


def short_trial(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """A short trial with two evaluations; ours is timed with loading, the reference without it and its log-mels."""
    train, validation = corpus.clips(STEP_CLIPS, 3), corpus.clips(TRIAL_CLIPS, 4)
    steps = STEP_CLIPS // BATCH

    def reference() -> float:
        options = {"max_steps": steps, "eval_strategy": "steps", "eval_steps": steps // 2}
        return measure(Recipe(base, train, validation, corpus.folder / "recipe", **options).trainer.train)

    def own() -> None:
        profile = ours(base, steps=steps, evaluations=2)
        trial.fine_tune(POINT, profile, MemoryDataset(train=train, validation=validation), lambda line: None)  # type: ignore[arg-type]

    unit = f"s, {STEP_CLIPS} clips, 2 evaluations"
    return {"trial_ratio": compare("trial", unit, rounds, reference, lambda: measure(own))}


CONTEXTS: dict[str, dict[str, Any]] = {
    "trimmed": {},
    "trimmed-only": {"long_share": 0.0},  # without the long phase at its end
    "padded": {"context": "padded"},
    # As many clips per step: 32 s hold eight of them on average.
    "packed": {"context": "packed", "batch_seconds": 32.0, "timestamps_share": 0.5},
}


def wer(corpus: Corpus, steps: int, seeds: int, contexts: Sequence[str]) -> dict[str, Any]:
    """The sample's model trained in each context; test WER at the clips' own length and at 30 s, all seeds together."""
    test = corpus.speech.split("test")
    table: dict[str, Any] = {}
    print(f"{'context':24s} {'own length':>24s} {'at 30 s':>24s}  clips seen  seconds")
    for name in contexts:
        training = CONTEXTS[name]
        errors_by_context: dict[str, list[rates.ErrorCounts]] = {"own": [], "full": []}
        clips_seen, seconds = 0, 0.0
        for seed in range(seeds):
            options = {"steps": steps, "evaluations": 1, "seed": seed, "validation_clips": len(test), **training}
            profile = Settings.model_validate({"training": options})
            outcome, model, processor = trial.fine_tune(Trial(0, 4e-3, 0.1), profile, corpus.speech, lambda line: None)
            validation = Validation(FeatureDataset(test, processor), processor, profile)
            learner = Learner(model, profile)
            errors_by_context["own"] += validation.errors(learner)
            errors_by_context["full"] += validation.errors(learner, WINDOW_FRAMES)
            seconds += outcome.seconds
            sampler = trial.make_dataloader(corpus.speech.split("train"), processor, profile).batch_sampler
            clips_seen += sum(len(draw.unit.clips) for batch in sampler for draw in batch)
        row = {}
        for context, errors in errors_by_context.items():
            word_errors = [clip_errors.word_errors for clip_errors in errors]
            words = [clip_errors.words for clip_errors in errors]
            clips = [str(clip) for clip in range(len(test))] * seeds  # the interval is over clips, not speakers
            interval = intervals.confidence_interval(word_errors, words, clips)
            row[context] = [round(rates.wer(errors), 2), round(interval.low, 2), round(interval.high, 2)]
        own, full = (f"{values[0]:.1f} % ({values[1]:.1f} to {values[2]:.1f})" for values in row.values())
        print(f"{name:24s} {own:>24s} {full:>24s}  {clips_seen // seeds:10d}  {seconds / seeds:7.0f}", flush=True)
        table[name] = row
    return {"wer": table, "wer_steps": steps, "wer_seeds": seeds}


def main() -> None:
    parts = ("step", "evaluation", "trial", "parallel", "wer", "memory")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="of the trials of `wer`")
    parser.add_argument("--seeds", type=int, default=3, help="of `wer`")
    parser.add_argument("--contexts", nargs="+", choices=CONTEXTS, default=list(CONTEXTS), help="of `wer`")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    chosen = arguments.parts or parts
    hardware.set_threads(hardware.cores())
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Corpus.of(Path(scratch))
        base = models.save(
            Path(scratch, "tiny"), *random_models.build(random_models.TINY, corpus.speech.split("train")["text"])
        )
        ratios = {"step": step, "evaluation": evaluation, "trial": short_trial}
        result: dict[str, Any] = {}
        if set(chosen) & set(ratios):
            print(f"{'':12s} {'reference':>10s} {'ours':>10s}")
        for part in chosen:
            if part in ratios:
                with mock.patch.object(models, "max_tokens", lambda frames: TOKENS):
                    result |= ratios[part](corpus, base, arguments.rounds)
            elif part == "parallel":
                result["parallel_loss"] = round(parallel.measure(100, arguments.rounds, 2) - 1, 3)
            elif part == "wer":
                result |= wer(corpus, arguments.steps, arguments.seeds, arguments.contexts)
            else:
                result |= memory.report()
    machine.print_result(result)


if __name__ == "__main__":
    main()
