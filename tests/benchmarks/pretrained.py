"""What fine-tuning does to a pretrained Whisper, on data that it was trained on and on other data.

    python tests/benchmarks/pretrained.py --base FOLDER --english FOLDER [--noise FOLDER] [--rooms FOLDER]
        [--steps 300] [--clips 100]

`--base` is a multilingual Whisper in Hugging Face's format, `--english` a corpus as `source = "folder"` needs it. The
base is tuned on the sample's Swedish like a profile with a base: one trial at 2e-5, the better of the two usual
learning rates on validation, with timestamps_share 0.2 and silence_share 0.02. The models, each evaluated with the
engine that serves, in 8-bit integers:

    base      untouched
    tuned     the winner of the trial
    retained  the winner of one in which every fifth draw is of the English training clips, averaged with the base as a
              release is, by the WERs on Swedish and English validation
    noisy     with --noise, as `tuned`, two fifths of its draws in noise of that folder and a tenth in --rooms

and their input: the sample's Swedish test clips at their own length and at 30 s, with 1 and 5 beams, in floats at 30 s;
the English test clips at the length that the model is served at (the base's: 30 s); audio without speech; and sentences
by espeak-ng's library, which gives the start of each word. Beams and floats are for `base` and `retained` alone, which
the bars apply to. With --noise the Swedish clips are also transcribed at 20 to 0 dB, in recordings that are not in the
training noise.

Differences are on the same clips, with a 95 % interval and the p of a paired permutation test. Left out: other seeds,
long recordings (`long.py`), human speakers of Swedish, a larger base. Synthetic voices are easy to learn: a lower WER
shows that learning works, not how much lower it gets on human speech.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# This folder last: the Space has a module `release`, too.
sys.path[:0] = [str(HERE.parents[1] / "flows"), str(HERE.parents[1] / "space"), str(HERE)]
for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(quiet, "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import espeak  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from asr import acoustics, hardware, settings  # noqa: E402
from asr.corpus import manifest, recordings, shards, sources  # noqa: E402
from asr.release import averaging, folder  # noqa: E402
from asr.scoring import diagnostics, intervals, rates  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import decoding, models, trial  # noqa: E402
from asr.training.batches import evenly_spaced  # noqa: E402
from asr.training.dataset import ClipDataset  # noqa: E402
from asr.training.search import Trial  # noqa: E402
from transcriber import Transcriber  # noqa: E402

POINT = Trial(0, 2e-5, 0.01)
PROFILE = """
[text]
scoring = "lenient"
[corpus]
speakers_may_cross = true
[[corpus.sources]]
source = "sample"
{sources}
[model]
base = "{base}"
[training]
steps = {steps}
evaluations = 2
validation_clips = 60
timestamps_share = 0.2
silence_share = 0.02
{training}
"""
ENGLISH = """
[[corpus.sources]]
source = "folder"
name = "english"
path = "{path}"
language = "en"
weight = {weight}
"""
WEIGHT = 0.4  # of each English clip: with nine hundred of them, a fifth of all draws
SENTENCES = 40  # that espeak-ng speaks
VOICES = ("sv", "sv+f2", "sv+m3", "sv+f4")
DECIBELS = (20, 10, 5, 0)
LENGTHS = (0, 2, 2.5, 3, 30)  # seconds


@dataclass(frozen=True)
class Clip:
    """Audio with its text and speaker."""

    sound: np.ndarray  # (samples,) float32, 16 kHz
    text: str
    speaker: str | None


class Corpus:
    """The clips of a profile."""

    def __init__(self, profile: str, scratch: Path) -> None:
        self.settings = settings.load(profile)
        store = Store.in_folder(scratch / "store")
        packed = [shards.build_part(part, self.settings, store)[0] for part in sources.list_parts(self.settings.corpus)]
        joined = manifest.merge_parts(packed, self.settings.corpus)
        self.speech = shards.SpeechDataset(joined.shards, scratch / "shards", store.fetch)


def clips(split: Any, max_clips: int) -> list[Clip]:
    """At most `max_clips` clips of a split, evenly spaced."""
    sounds = ClipDataset(split)
    return [
        Clip(sounds.sound(clip), sounds.texts[clip], sounds.speakers[clip])
        for clip in evenly_spaced(len(sounds), max_clips)
    ]


class Served:
    """A model as a release of it is served."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source, self.folder = source, Path(tempfile.mkdtemp(dir=scratch))
        folder.build_release(self.folder, source, "sv")

    def engine(self, language: str, context: str, beam: int = 1) -> Transcriber:
        folder.write_json(self.folder / folder.RECORD, {"format": 2, "language": language, "context": context})
        engine = Transcriber(self.folder, threads=hardware.cores())
        engine.beam = beam
        return engine

    def errors(self, clips: Sequence[Clip], language: str, context: str, beam: int = 1) -> list[rates.ErrorCounts]:
        """Its errors in each clip."""
        hypotheses = self.engine(language, context, beam).transcribe_batch([clip.sound for clip in clips])
        return rates.count_errors([clip.text for clip in clips], hypotheses, "lenient", language)

    def float_errors(self, clips: Sequence[Clip], language: str) -> list[rates.ErrorCounts]:
        """The same with transformers, in floats at 30 s."""
        model, processor = models.load(self.source)
        models.set_language(model, processor, language)
        hypotheses = decoding.transcribe_sounds(
            model.eval(), processor, [clip.sound for clip in clips], models.WINDOW_FRAMES
        )
        return rates.count_errors([clip.text for clip in clips], hypotheses, "lenient", language)

    def hallucinated_words_per_minute(self, context: str) -> float:
        """Words per minute in audio without speech."""
        probes = diagnostics.non_speech_probes()
        hypotheses = self.engine("sv", context).transcribe_batch(probes)
        return diagnostics.hallucinated_words_per_minute(hypotheses, sum(map(len, probes)) / espeak.RATE)

    def time_errors(self, spoken: Sequence[espeak.Spoken], context: str) -> list[float]:
        """Seconds between each word's true start and the nearest start given."""
        engine, errors = self.engine("sv", context), list[float]()
        for speech in spoken:
            starts = [word.start for segment in engine.transcribe(speech.sound).segments for word in segment.words]
            if starts:
                errors += [float(np.abs(np.array(starts) - start).min()) for start in speech.begins.values()]
        return errors


def tune(corpus: Corpus, target: Path) -> float:
    """Train one trial and write its model to `target`; returns the seconds."""
    torch.set_num_threads(hardware.cores())
    began = time.monotonic()
    _, model, processor = trial.fine_tune(POINT, corpus.settings, corpus.speech, lambda line: print(f"  {line}"))
    models.save(target, model, processor)
    return time.monotonic() - began


def average(corpus: Corpus, tuned: Path, target: Path) -> tuple[Path, float]:
    """The model that a release would be made of, and the base's share in it."""
    model_folder, report = averaging.choose_average(
        tuned, corpus.settings, corpus.speech, target, lambda line: print(f"  {line}")
    )
    return model_folder, report["base_share"]


def counts(errors: Sequence[rates.ErrorCounts]) -> list[int]:
    return [clip_errors.word_errors for clip_errors in errors]


def compare(first: Sequence[rates.ErrorCounts], second: Sequence[rates.ErrorCounts], clips: Sequence[Clip]) -> str:
    """The first WER less the second, with interval and p."""
    words, speakers = [clip_errors.words for clip_errors in first], [clip.speaker for clip in clips]
    comparison = intervals.compare_models(counts(first), counts(second), words, speakers)
    return f"{comparison.difference:+.1f} ({comparison.low:+.1f} to {comparison.high:+.1f}), p {comparison.p:.3f}"


def format_wer(errors: Sequence[rates.ErrorCounts], clips: Sequence[Clip]) -> str:
    """A WER with its interval."""
    words, speakers = [clip_errors.words for clip_errors in errors], [clip.speaker for clip in clips]
    interval = intervals.confidence_interval(counts(errors), words, speakers)
    return f"{rates.wer(errors):.1f} ({interval.low:.1f} to {interval.high:.1f})"


def by_length(clips: Sequence[Clip], errors: Mapping[tuple[str, int], Sequence[rates.ErrorCounts]]) -> str:
    """The WERs at both contexts, by the length of clips."""
    parts = []
    for low, high in pairwise(LENGTHS):
        indices = [index for index, clip in enumerate(clips) if low <= len(clip.sound) / espeak.RATE < high]
        wers = (rates.wer([errors[context, 1][index] for index in indices]) for context in ("trimmed", "full"))
        parts.append(f"{low} to {high} ({len(indices)} clips) " + " and ".join(f"{wer:.1f}" for wer in wers))
    return ", ".join(parts)


@dataclass(frozen=True)
class Figures:
    """The results of one model."""

    swedish: dict[tuple[str, int], list[rates.ErrorCounts]]  # by context and beam
    floats: list[rates.ErrorCounts]  # at 30 s; empty where not measured
    english: list[rates.ErrorCounts]
    invented: float  # words per minute
    off: float  # seconds, the median

    @classmethod
    def measure(
        cls, served: Served, context: str, swedish: Sequence[Clip], english: Sequence[Clip],
        spoken: Sequence[espeak.Spoken], all_variants: bool,
    ) -> Figures:  # fmt: skip
        variants = [(length, beam) for length in ("trimmed", "full") for beam in ((1, 5) if all_variants else (1,))]
        return cls(
            {(length, beam): served.errors(swedish, "sv", length, beam) for length, beam in variants},
            served.float_errors(swedish, "sv") if all_variants else [],
            served.errors(english, "en", context),
            served.hallucinated_words_per_minute(context),
            statistics.median(served.time_errors(spoken, context)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="What fine-tuning does to a pretrained Whisper.")
    parser.add_argument("--base", required=True)
    parser.add_argument("--english", required=True)
    parser.add_argument("--noise", default="")
    parser.add_argument("--rooms", default="")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clips", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, Path(scratch))


def measure(arguments: argparse.Namespace, scratch: Path) -> None:
    def corpus(sources: str = "", training: str = "") -> Corpus:
        values = {"base": arguments.base, "steps": arguments.steps, "sources": sources, "training": training}
        return Corpus(PROFILE.format(**values), scratch)

    plain = corpus()
    english = corpus(ENGLISH.format(path=arguments.english, weight=WEIGHT))
    folders = {"tuned": scratch / "tuned", "retained": scratch / "retained"}
    print("tuned")
    train_seconds = tune(plain, folders["tuned"])
    print("retained")
    tune(english, folders["retained"])
    averaged, share = average(english, folders["retained"], scratch / "averaged")
    models_of = {"base": Path(arguments.base), "tuned": folders["tuned"], "retained": averaged}

    swedish = clips(plain.speech.split("test"), arguments.clips)
    foreign = clips(english.speech.retained("test")["en"], 2 * arguments.clips)
    synthesizer, texts = espeak.Synthesizer(), plain.speech.split("test")["text"]
    spoken = [synthesizer.synthesize(texts[index], VOICES[index % len(VOICES)]) for index in range(SENTENCES)]
    figures = {}
    for name, source in models_of.items():
        context = "full" if name == "base" else "trimmed"
        figures[name] = model_figures = Figures.measure(
            Served(source, scratch), context, swedish, foreign, spoken, name in ("base", "retained")
        )
        wers = ", ".join(
            f"{length} beam {beam} {format_wer(errors, swedish)}"
            for (length, beam), errors in model_figures.swedish.items()
        )
        wers += f", in floats at 30 s {format_wer(model_figures.floats, swedish)}" if model_figures.floats else ""
        print(f"{name:9s} Swedish {wers}")
        print(
            f"{'':9s} English {format_wer(model_figures.english, foreign)}, invented {model_figures.invented:.1f}, "
            f"words off {model_figures.off:.3f} s"
        )
    print(f"the base's share of retained {share:.0%}; training {train_seconds:.0f} s")

    base, best = figures["base"], figures["retained"]
    served_errors, float_errors = best.swedish["trimmed", 1], best.floats
    print(f"English, retained against base       {compare(best.english, base.english, foreign)}")
    print(f"English, tuned against base          {compare(figures['tuned'].english, base.english, foreign)}")
    for name, model_figures in figures.items():
        print(f"by seconds, trimmed and 30 s: {name:9s} {by_length(swedish, model_figures.swedish)}")
    print(f"30 s against trimmed, retained       {compare(best.swedish['full', 1], served_errors, swedish)}")
    print(f"served against floats at 30 s        {compare(served_errors, float_errors, swedish)}")
    result = {
        "train_s": round(train_seconds),
        "wer_ratio": round(rates.wer(served_errors) / rates.wer(base.swedish["full", 1]), 3),
        "english_lost": round(rates.wer(best.english) - rates.wer(base.english), 2),
        "english_lost_tuned": round(rates.wer(figures["tuned"].english) - rates.wer(base.english), 2),
        "invented": round(best.invented, 2),
        "invented_base": round(base.invented, 2),
        "times_ratio": round(best.off / base.off, 3),
        "full_over_trimmed": round(rates.wer(best.swedish["full", 1]) - rates.wer(served_errors), 2),
        "served_over_float": round(rates.wer(served_errors) - rates.wer(float_errors), 2),
        "served_over_float_base": round(rates.wer(base.swedish["trimmed", 1]) - rates.wer(base.floats), 2),
    }
    if arguments.noise:
        result |= noise(arguments, corpus, folders["tuned"], swedish, scratch)
    machine.print_result(result)


def noise(
    arguments: argparse.Namespace,
    corpus: Callable[..., Corpus],
    tuned_model: Path,
    swedish: Sequence[Clip],
    scratch: Path,
) -> dict[str, float]:
    """The Swedish clips in noise, with the tuned model and with one that was trained in noise; what that gains."""
    training = f'noise_share = 0.4\nnoise = "{arguments.noise}"\n'
    training += f'room_share = 0.1\nrooms = "{arguments.rooms}"\n' if arguments.rooms else ""
    print("noisy")
    tune(corpus(training=training), scratch / "noisy")
    models_served = {"tuned": Served(tuned_model, scratch), "noisy": Served(scratch / "noisy", scratch)}
    held_out = recordings.list_recordings(arguments.noise, "noise")[1]
    result = dict[str, float]()
    for decibels in (None, *DECIBELS):
        generators = [np.random.default_rng([1, index]) for index in range(len(swedish))]
        noisy_clips = [
            replace(
                clip,
                sound=acoustics.add_noise(clip.sound, held_out.random_excerpt(len(clip.sound), random), decibels),
            )
            if decibels is not None else clip
            for clip, random in zip(swedish, generators, strict=True)
        ]  # fmt: skip
        errors = {name: served.errors(noisy_clips, "sv", "trimmed") for name, served in models_served.items()}
        name = "clean" if decibels is None else f"{decibels} dB"
        wers = ", ".join(f"{model} {format_wer(model_errors, noisy_clips)}" for model, model_errors in errors.items())
        print(f"{name:9s} {wers}; noisy against tuned {compare(errors['noisy'], errors['tuned'], noisy_clips)}")
        tuned_wer, noisy_wer = (rates.wer(errors[model]) for model in ("tuned", "noisy"))
        if decibels is None:
            result["clean_lost"] = round(noisy_wer - tuned_wer, 2)
        elif decibels == 10:
            result["fewer_errors_at_10_db"] = round(1 - noisy_wer / tuned_wer, 3)
    return result


if __name__ == "__main__":
    main()
