"""Training and the reference recipe side by side: steps, evaluation, whole trials, WER by context, memory.

    python tests/benchmarks/training.py [PART ...] [--rounds N] [--steps N] [--seeds N] [--contexts NAME ...]

PART is step, evaluation, trial, parallel, wer or memory; without one, all. The reference is the widely copied Hugging
Face recipe: log-mels of 30 s made beforehand by `datasets.map` (not timed), `Seq2SeqTrainer`, evaluation by
`predict_with_generate`. It runs without its gradient checkpointing, which only costs time on a CPU. Both have the same
whisper-tiny geometry with random weights, the same clips of 2 to 6 s, batches of 16, all cores, and write the same
number of tokens a clip; ours makes its log-mels as it goes. They take turns, and the ratios are of medians.

`wer` trains the sample's model in each context on the same number of clips and hears the test clips at their own and
at 30 s context. It takes most of the time: a padded trial of 600 steps took 17 minutes on one core, the others two.
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
from asr import compute  # noqa: E402
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
TOKENS = 20  # that a clip is transcribed to: four seconds of Swedish in Whisper's vocabulary
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
        made = [
            shards.build_part(
                part,
                sample,
                store,
            )[0]
            for part in sources.list_parts(sample.corpus)
        ]
        return cls(folder, store, manifest.merge_parts(made, sample.corpus))

    @property
    def speech(self) -> shards.SpeechDataset:
        return shards.SpeechDataset(self.joined.shards, self.folder / "shards", self.store.fetch)

    def clips(self, count: int, seed: int) -> Dataset:
        """Pairs of the sample's clips, cut to 2 to 6 s, in a shard's columns."""
        train, random = self.speech.split("train"), np.random.default_rng(seed)
        rows = []
        for pair in random.integers(0, len(train), (count, 2)):
            sounds = [soundfile.read(io.BytesIO(train[int(at)]["audio"]["bytes"]), dtype="float32")[0] for at in pair]
            sound = np.concatenate(sounds * 2)[: round(random.uniform(SHORTEST, LONGEST) * RATE)]
            flac = io.BytesIO()
            soundfile.write(flac, sound, RATE, format="FLAC")
            said = " ".join(train[int(at)]["text"] for at in pair)
            rows.append({
                "audio": {"bytes": flac.getvalue(), "path": None}, "text": said, "seconds": len(sound) / RATE,
                "segments": None, "speaker": "", "source": "sample",
            })  # fmt: skip
        return Dataset.from_list(rows)


class Pieces:
    """Stands in for `Speech`: a corpus in memory."""

    shards, folder = (), Path()  # which other ranks would read

    def __init__(self, **splits: Dataset) -> None:
        self.splits = splits

    def split(self, name: str) -> Dataset:
        return self.splits[name]


class Reference:
    """The copied recipe on a model and its clips."""

    def __init__(self, base: Path, train: Dataset, validation: Dataset, folder: Path, **arguments: Any) -> None:
        torch.manual_seed(0)
        self.model, self.processor = models.load(base)
        self.model.config.use_cache = True
        self.model.generation_config.min_new_tokens = self.model.generation_config.max_new_tokens = TOKENS
        made = [split.map(self._prepare, remove_columns=split.column_names) for split in (train, validation)]
        batches = {"per_device_train_batch_size": BATCH, "per_device_eval_batch_size": BATCH}
        self.trainer = Seq2SeqTrainer(
            model=self.model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(folder), learning_rate=1e-5, predict_with_generate=True, generation_max_length=225,
                report_to=[], save_strategy="no", disable_tqdm=True, remove_unused_columns=False, seed=0,
                **batches | arguments,
            ),
            train_dataset=made[0], eval_dataset=made[1], data_collator=self._collate, compute_metrics=self._wer,
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
        said = self.processor.batch_decode(labels, skip_special_tokens=True)
        heard = self.processor.batch_decode(np.where(tokens < 0, padding, tokens), skip_special_tokens=True)
        return {"wer": rates.wer(rates.count_errors(said, heard, "verbatim"))}


def ours(base: Path, **training: Any) -> Settings:
    return Settings.model_validate({"model": {"base": str(base)}, "training": {"batch_size": BATCH, **training}})


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compared(what: str, unit: str, rounds: int, reference: Callable[[], float], own: Callable[[], float]) -> float:
    """Both in turns; a row of the table, and how many times less ours takes."""
    times = [(reference(), own()) for _ in range(rounds)]
    theirs, mine = (statistics.median(one) for one in zip(*times, strict=True))
    print(f"{what:12s} {theirs:10.3f} {mine:10.3f}  {unit:24s} {theirs / mine:6.1f} x", flush=True)
    return round(theirs / mine, 2)


class Laps:
    """A trainer's seconds a clip over its steps, the first one left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def watch(self, trainer: Any) -> Laps:
        step = trainer.training_step
        self.clips: list[int] = []

        def counted(model: Any, inputs: Any, *more: Any) -> Any:
            self.times.append(time.perf_counter())
            self.clips.append(len(inputs["labels"]))
            return step(model, inputs, *more)

        trainer.training_step = counted
        return self

    @property
    def seconds_a_clip(self) -> float:
        return (time.perf_counter() - self.times[1]) / sum(self.clips[1:])


def step(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """Training steps, from one batch being asked for to the next."""
    train = corpus.clips(STEP_CLIPS, 1)

    def reference() -> float:
        recipe = Reference(base, train, train.select([0]), corpus.folder / "recipe", max_steps=4)
        laps = Laps().watch(recipe.trainer)
        recipe.trainer.train()
        return laps.seconds_a_clip

    def own() -> float:
        profile = ours(base, steps=STEP_CLIPS // BATCH, long_share=0.0)
        torch.manual_seed(0)
        model, processor = models.prepare(profile, [])
        learner, batches = Learner(model, profile), trial.make_dataloader(train, processor, profile)
        optimizer = optimizers.build(learner, "adamw", 1e-5, 0.01)
        trainer = trial._build_trainer(
            learner, optimizer, batches, [], None, corpus.folder / "ours", profile, trial.SINGLE
        )
        laps = Laps().watch(trainer)
        trainer.train()
        return laps.seconds_a_clip

    return {"step_ratio": compared("step", "s a clip", rounds, reference, own)}


def evaluation(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """A default validation of 200 clips, the model's conversion included."""
    clips = corpus.clips(EVALUATION_CLIPS, 2)
    recipe = Reference(base, clips.select([0]), clips, corpus.folder / "recipe")
    profile = ours(base)
    model, processor = models.prepare(profile, [])
    learner, own = Learner(model, profile), Validation(FeatureDataset(clips, processor), processor, profile)
    listener = decoding.Int8Decoder(model, processor)
    recipe.trainer.evaluate(recipe.trainer.eval_dataset.select(range(BATCH)))
    written = {len(one) for one in listener.tokens(torch.randn(BATCH, 80, 400))}
    assert written == recipe.written == {TOKENS}, "both must write the same number of tokens"
    unit, listen = f"s for {EVALUATION_CLIPS} clips", partial(own.errors, learner)
    ratio = compared("evaluation", unit, rounds, lambda: timed(recipe.trainer.evaluate), lambda: timed(listen))
    return {"evaluation_ratio": ratio}


def whole(corpus: Corpus, base: Path, rounds: int) -> dict[str, float]:
    """A short trial with two evaluations; ours is timed with loading, the reference without it and its log-mels."""
    train, validation = corpus.clips(STEP_CLIPS, 3), corpus.clips(TRIAL_CLIPS, 4)
    steps = STEP_CLIPS // BATCH

    def reference() -> float:
        more = {"max_steps": steps, "eval_strategy": "steps", "eval_steps": steps // 2}
        return timed(Reference(base, train, validation, corpus.folder / "recipe", **more).trainer.train)

    def own() -> None:
        profile = ours(base, steps=steps, evaluations=2)
        trial.fine_tune(POINT, profile, Pieces(train=train, validation=validation), lambda line: None)  # type: ignore[arg-type]

    named = f"s, {STEP_CLIPS} clips, 2 evaluations"
    return {"trial_ratio": compared("trial", named, rounds, reference, lambda: timed(own))}


CONTEXTS: dict[str, dict[str, Any]] = {
    "trimmed": {},
    "trimmed-only": {"long_share": 0.0},  # without the long phase at its end
    "padded": {"context": "padded"},
    # As many clips a step: 32 s hold eight of them on average.
    "packed": {"context": "packed", "batch_seconds": 32.0, "timestamps_share": 0.5},
}


def wer(corpus: Corpus, steps: int, seeds: int, contexts: Sequence[str]) -> dict[str, Any]:
    """The sample's model trained in each context; test WER at the clips' own length and at 30 s, all seeds together."""
    test = corpus.speech.split("test")
    table: dict[str, Any] = {}
    print(f"{'context':24s} {'own length':>24s} {'at 30 s':>24s}  clips seen  seconds")
    for name in contexts:
        training = CONTEXTS[name]
        found: dict[str, list[rates.ErrorCounts]] = {"own": [], "full": []}
        seen, seconds = 0, 0.0
        for seed in range(seeds):
            asked = {"steps": steps, "evaluations": 1, "seed": seed, "validation_clips": len(test), **training}
            profile = Settings.model_validate({"training": asked})
            outcome, model, processor = trial.fine_tune(Trial(0, 4e-3, 0.1), profile, corpus.speech, lambda line: None)
            heard = Validation(FeatureDataset(test, processor), processor, profile)
            learner = Learner(model, profile)
            found["own"] += heard.errors(learner)
            found["full"] += heard.errors(learner, WINDOW_FRAMES)
            seconds += outcome.seconds
            drawn = trial.make_dataloader(corpus.speech.split("train"), processor, profile).batch_sampler
            seen += sum(len(draw.unit.clips) for batch in drawn for draw in batch)
        row = {}
        for where, errors in found.items():
            wrong, words = [one.word_errors for one in errors], [one.words for one in errors]
            clips = [
                str(clip) for clip in range(len(test))
            ] * seeds  # the interval is over them, as if they were speakers
            interval = intervals.confidence_interval(wrong, words, clips)
            row[where] = [round(rates.wer(errors), 2), round(interval.low, 2), round(interval.high, 2)]
        own, full = (f"{one[0]:.1f} % ({one[1]:.1f} to {one[2]:.1f})" for one in row.values())
        print(f"{name:24s} {own:>24s} {full:>24s}  {seen // seeds:10d}  {seconds / seeds:7.0f}", flush=True)
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
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    chosen = given.parts or parts
    compute.set_threads(compute.cores())
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Corpus.of(Path(scratch))
        base = models.save(
            Path(scratch, "tiny"), *random_models.build(random_models.TINY, corpus.speech.split("train")["text"])
        )
        ratios = {"step": step, "evaluation": evaluation, "trial": whole}
        told: dict[str, Any] = {}
        if set(chosen) & set(ratios):
            print(f"{'':12s} {'reference':>10s} {'ours':>10s}")
        for part in chosen:
            if part in ratios:
                with mock.patch.object(models, "most_tokens", lambda frames: TOKENS):
                    told |= ratios[part](corpus, base, given.rounds)
            elif part == "parallel":
                told["parallel_loss"] = round(parallel.measure(100, given.rounds, 2) - 1, 3)
            elif part == "wer":
                told |= wer(corpus, given.steps, given.seeds, given.contexts)
            else:
                told |= memory.report()
    machine.print_result(told)


if __name__ == "__main__":
    main()
