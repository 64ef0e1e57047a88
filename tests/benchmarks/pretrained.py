"""What fine-tuning does to a pretrained Whisper, on what it was trained on and on what it was not.

    python tests/benchmarks/pretrained.py --base FOLDER --english FOLDER [--noise FOLDER] [--rooms FOLDER]
        [--steps 300] [--clips 100]

`--base` is a multilingual Whisper in Hugging Face's format, `--english` a corpus as `source = "folder"` wants it. The
base is tuned on the sample's Swedish as a profile with a base is: one trial at 2e-5, the one of the two usual learning
rates that wins on validation, with timestamps_share 0.2 and silence_share 0.02. The models, each heard through the
engine that serves, in 8-bit integers:

    base      untouched
    tuned     the winner of the trial
    retained  the winner of one in which every fifth draw is of the English training clips, averaged with the base as a
              release is, by the WERs on Swedish and English validation
    noisy     with --noise, as `tuned`, two fifths of its draws in noise of that folder and a tenth in --rooms

and what they hear: the sample's Swedish test clips at their own length and at 30 s, with 1 and 5 beams, in floats at 30
s; the English test clips at the length that the model is served at (the base's: 30 s); sounds without speech; and
sentences that espeak-ng's library says, which tells when each word begins. Beams and floats are of `base` and
`retained` alone, which the bars are about. With --noise the Swedish clips are heard at 20 to 0 dB too, in recordings
that no training heard.

Differences are of the same clips, with a 95 % interval and the p of a paired permutation test. Left out: other seeds,
long recordings (`long.py`), people who speak Swedish, a larger base. Synthetic voices are easy to learn: that the WER
falls says that learning works, not how far it falls on people.
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
from asr import acoustics, compute, settings  # noqa: E402
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
WEIGHT = 0.4  # of each English clip: of nine hundred, a fifth of all draws
SENTENCES = 40  # that espeak-ng says
VOICES = ("sv", "sv+f2", "sv+m3", "sv+f4")
DECIBELS = (20, 10, 5, 0)
LENGTHS = (0, 2, 2.5, 3, 30)  # seconds


@dataclass(frozen=True)
class Clip:
    """A sound, what is said in it, and by whom."""

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


def clips(split: Any, most: int) -> list[Clip]:
    """At most so many clips of a split, evenly spread."""
    sounds = ClipDataset(split)
    return [Clip(sounds.sound(at), sounds.texts[at], sounds.speakers[at]) for at in evenly_spaced(len(sounds), most)]


class Served:
    """A model as a release of it is served."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source, self.folder = source, Path(tempfile.mkdtemp(dir=scratch))
        folder.build_release(self.folder, source, "sv")

    def engine(self, language: str, context: str, beam: int = 1) -> Transcriber:
        folder.write_json(self.folder / folder.RECORD, {"format": 2, "language": language, "context": context})
        engine = Transcriber(self.folder, threads=compute.cores())
        engine.beam = beam
        return engine

    def errors(self, clips: Sequence[Clip], language: str, context: str, beam: int = 1) -> list[rates.ErrorCounts]:
        """What it gets wrong in each clip."""
        heard = self.engine(language, context, beam).transcribe_batch([clip.sound for clip in clips])
        return rates.count_errors([clip.text for clip in clips], heard, "lenient", language)

    def exactly(self, clips: Sequence[Clip], language: str) -> list[rates.ErrorCounts]:
        """The same by transformers in floats at 30 s."""
        model, processor = models.load(self.source)
        models.set_language(model, processor, language)
        heard = decoding.transcribe_sounds(
            model.eval(), processor, [clip.sound for clip in clips], models.WINDOW_FRAMES
        )
        return rates.count_errors([clip.text for clip in clips], heard, "lenient", language)

    def invented(self, context: str) -> float:
        """Words a minute where nobody speaks."""
        probes = diagnostics.non_speech_probes()
        heard = self.engine("sv", context).transcribe_batch(probes)
        return diagnostics.hallucinated_words_per_minute(heard, sum(map(len, probes)) / espeak.RATE)

    def off(self, spoken: Sequence[espeak.Spoken], context: str) -> list[float]:
        """Seconds by which each word's true beginning lies from the nearest that was told."""
        engine, found = self.engine("sv", context), list[float]()
        for one in spoken:
            told = [word.start for segment in engine.transcribe(one.sound).segments for word in segment.words]
            if told:
                found += [float(np.abs(np.array(told) - start).min()) for start in one.begins.values()]
        return found


def tune(corpus: Corpus, target: Path) -> float:
    """Train one trial and write its model to `target`; the seconds that took."""
    torch.set_num_threads(compute.cores())
    began = time.monotonic()
    _, model, processor = trial.fine_tune(POINT, corpus.settings, corpus.speech, lambda line: print(f"  {line}"))
    models.save(target, model, processor)
    return time.monotonic() - began


def average(corpus: Corpus, tuned: Path, target: Path) -> tuple[Path, float]:
    """The model that a release would be made of, and how much of the base is in it."""
    found, told = averaging.choose_average(
        tuned, corpus.settings, corpus.speech, target, lambda line: print(f"  {line}")
    )
    return found, told["base_share"]


def counts(errors: Sequence[rates.ErrorCounts]) -> list[int]:
    return [one.word_errors for one in errors]


def against(first: Sequence[rates.ErrorCounts], second: Sequence[rates.ErrorCounts], heard: Sequence[Clip]) -> str:
    """The first's WER less the second's, with interval and p."""
    words, who = [one.words for one in first], [clip.speaker for clip in heard]
    found = intervals.compare_models(counts(first), counts(second), words, who)
    return f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f}), p {found.p:.3f}"


def shown(errors: Sequence[rates.ErrorCounts], heard: Sequence[Clip]) -> str:
    """A WER with its interval."""
    words, who = [one.words for one in errors], [clip.speaker for clip in heard]
    found = intervals.confidence_interval(counts(errors), words, who)
    return f"{rates.wer(errors):.1f} ({found.low:.1f} to {found.high:.1f})"


def by_length(heard: Sequence[Clip], errors: Mapping[tuple[str, int], Sequence[rates.ErrorCounts]]) -> str:
    """The WERs at both contexts of clips of like length."""
    told = []
    for low, high in pairwise(LENGTHS):
        some = [at for at, clip in enumerate(heard) if low <= len(clip.sound) / espeak.RATE < high]
        wers = (rates.wer([errors[context, 1][at] for at in some]) for context in ("trimmed", "full"))
        told.append(f"{low} to {high} ({len(some)} clips) " + " and ".join(f"{wer:.1f}" for wer in wers))
    return ", ".join(told)


@dataclass(frozen=True)
class Figures:
    """What one model came to."""

    swedish: dict[tuple[str, int], list[rates.ErrorCounts]]  # by context and beam
    floats: list[rates.ErrorCounts]  # at 30 s; empty where it was not heard so
    english: list[rates.ErrorCounts]
    invented: float  # words a minute
    off: float  # seconds, the median

    @classmethod
    def of(
        cls, served: Served, context: str, swedish: Sequence[Clip], english: Sequence[Clip],
        spoken: Sequence[espeak.Spoken], thorough: bool,
    ) -> Figures:  # fmt: skip
        ways = [(at, beam) for at in ("trimmed", "full") for beam in ((1, 5) if thorough else (1,))]
        return cls(
            {(at, beam): served.errors(swedish, "sv", at, beam) for at, beam in ways},
            served.exactly(swedish, "sv") if thorough else [],
            served.errors(english, "en", context),
            served.invented(context),
            statistics.median(served.off(spoken, context)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="What fine-tuning does to a pretrained Whisper.")
    parser.add_argument("--base", required=True)
    parser.add_argument("--english", required=True)
    parser.add_argument("--noise", default="")
    parser.add_argument("--rooms", default="")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clips", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(asked, Path(scratch))


def measure(asked: argparse.Namespace, scratch: Path) -> None:
    def corpus(sources: str = "", training: str = "") -> Corpus:
        given = {"base": asked.base, "steps": asked.steps, "sources": sources, "training": training}
        return Corpus(PROFILE.format(**given), scratch)

    plain = corpus()
    english = corpus(ENGLISH.format(path=asked.english, weight=WEIGHT))
    folders = {"tuned": scratch / "tuned", "retained": scratch / "retained"}
    print("tuned")
    took = tune(plain, folders["tuned"])
    print("retained")
    tune(english, folders["retained"])
    averaged, share = average(english, folders["retained"], scratch / "averaged")
    models_of = {"base": Path(asked.base), "tuned": folders["tuned"], "retained": averaged}

    swedish = clips(plain.speech.split("test"), asked.clips)
    foreign = clips(english.speech.retained("test")["en"], 2 * asked.clips)
    voice, texts = espeak.Synthesizer(), plain.speech.split("test")["text"]
    spoken = [voice.say(texts[at], VOICES[at % len(VOICES)]) for at in range(SENTENCES)]
    found = {}
    for name, source in models_of.items():
        context = "full" if name == "base" else "trimmed"
        found[name] = one = Figures.of(
            Served(source, scratch), context, swedish, foreign, spoken, name in ("base", "retained")
        )
        wers = ", ".join(f"{at} beam {beam} {shown(errors, swedish)}" for (at, beam), errors in one.swedish.items())
        wers += f", in floats at 30 s {shown(one.floats, swedish)}" if one.floats else ""
        print(f"{name:9s} Swedish {wers}")
        print(f"{'':9s} English {shown(one.english, foreign)}, invented {one.invented:.1f}, words off {one.off:.3f} s")
    print(f"the base's share of retained {share:.0%}; training {took:.0f} s")

    base, best = found["base"], found["retained"]
    served, exact = best.swedish["trimmed", 1], best.floats
    print(f"English, retained against base       {against(best.english, base.english, foreign)}")
    print(f"English, tuned against base          {against(found['tuned'].english, base.english, foreign)}")
    for name, one in found.items():
        print(f"by seconds, trimmed and 30 s: {name:9s} {by_length(swedish, one.swedish)}")
    print(f"30 s against trimmed, retained       {against(best.swedish['full', 1], served, swedish)}")
    print(f"served against floats at 30 s        {against(served, exact, swedish)}")
    told = {
        "train_s": round(took),
        "wer_ratio": round(rates.wer(served) / rates.wer(base.swedish["full", 1]), 3),
        "english_lost": round(rates.wer(best.english) - rates.wer(base.english), 2),
        "english_lost_tuned": round(rates.wer(found["tuned"].english) - rates.wer(base.english), 2),
        "invented": round(best.invented, 2),
        "invented_base": round(base.invented, 2),
        "times_ratio": round(best.off / base.off, 3),
        "full_over_trimmed": round(rates.wer(best.swedish["full", 1]) - rates.wer(served), 2),
        "served_over_float": round(rates.wer(served) - rates.wer(exact), 2),
        "served_over_float_base": round(rates.wer(base.swedish["trimmed", 1]) - rates.wer(base.floats), 2),
    }
    if asked.noise:
        told |= noise(asked, corpus, folders["tuned"], swedish, scratch)
    machine.print_result(told)


def noise(
    asked: argparse.Namespace, corpus: Callable[..., Corpus], quiet: Path, swedish: Sequence[Clip], scratch: Path
) -> dict[str, float]:
    """The Swedish clips in noise, heard by the tuned model and by one that was trained in noise; what that gains."""
    training = f'noise_share = 0.4\nnoise = "{asked.noise}"\n'
    training += f'room_share = 0.1\nrooms = "{asked.rooms}"\n' if asked.rooms else ""
    print("noisy")
    tune(corpus(training=training), scratch / "noisy")
    pair = {"tuned": Served(quiet, scratch), "noisy": Served(scratch / "noisy", scratch)}
    held_out = recordings.list_recordings(asked.noise, "noise")[1]
    told = dict[str, float]()
    for decibels in (None, *DECIBELS):
        drawn = [np.random.default_rng([1, at]) for at in range(len(swedish))]
        loud = [
            replace(
                clip,
                sound=acoustics.add_noise(clip.sound, held_out.random_excerpt(len(clip.sound), random), decibels),
            )
            if decibels is not None else clip
            for clip, random in zip(swedish, drawn, strict=True)
        ]  # fmt: skip
        errors = {name: served.errors(loud, "sv", "trimmed") for name, served in pair.items()}
        name = "clean" if decibels is None else f"{decibels} dB"
        print(f"{name:9s} " + ", ".join(f"{which} {shown(one, loud)}" for which, one in errors.items())
              + f"; noisy against tuned {against(errors['noisy'], errors['tuned'], loud)}")  # fmt: skip
        without, trained = (rates.wer(errors[which]) for which in ("tuned", "noisy"))
        if decibels is None:
            told["clean_lost"] = round(trained - without, 2)
        elif decibels == 10:
            told["fewer_errors_at_10_db"] = round(1 - trained / without, 3)
    return told


if __name__ == "__main__":
    main()
