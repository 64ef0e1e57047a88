"""What fine-tuning does to a pretrained Whisper, on what it was trained on and on what it was not.

    python tests/benchmarks/pretrained.py --base FOLDER [--english FOLDER] [--noise FOLDER] [--rooms FOLDER] [--steps N]

`--base` is a multilingual Whisper in Hugging Face's format. It is tuned on the sample's Swedish as a profile with that
base is (one trial at 1e-5, timestamps_share 0.2, silence_share 0.02), and the untouched base, the tuned model and what
a release is made of, its average with the base, are all heard through the engine that serves, in 8-bit integers:

- the sample's Swedish test clips, at the length of the clips and at 30 s, with 1 and 5 beams, and in floats at 30 s;
- the test clips of `--english`, a folder that is laid out as `source = "folder"` wants it, whose training and
  validation clips are the retained speech of a second tuned model;
- sounds without speech (words invented a minute);
- sentences that espeak-ng's library says, which tells when each word begins;
- with `--noise` and `--rooms`, folders of recordings and of impulse responses: the Swedish test clips at 20 to 0 dB, by
  the tuned model and by a third one that was trained with the other recordings of that folder.

Differences are of the same clips, with a 95 % interval and the p of a paired permutation test. Left out: other seeds,
long recordings (`long.py`), real Swedish speech, a base larger than `--base`. Synthetic voices are easy to learn: the
gain says that learning works, not what it will be on people.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "flows"), str(HERE.parents[1] / "space")]
for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(quiet, "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import espeak  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from asr import compute, settings  # noqa: E402
from asr.corpus import joining, shards, sources  # noqa: E402
from asr.release import averaging, folder  # noqa: E402
from asr.scoring import behaviour, intervals, rates  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import hearing, models, trial  # noqa: E402
from asr.training.batches import evenly  # noqa: E402
from asr.training.examples import Clips, Sounds  # noqa: E402
from asr.training.search import Trial  # noqa: E402

from transcriber import Transcriber  # noqa: E402

POINT = Trial(0, 1e-5, 0.01)
PROFILE = """
[text]
scoring = "lenient"
[corpus]
speakers_may_cross = true
[[corpus.sources]]
source = "sample"
{retained}
[model]
base = "{base}"
[training]
steps = {steps}
evaluations = 2
validation_clips = 60
timestamps_share = 0.2
silence_share = 0.02
{more}
"""
RETAINED = """
[[corpus.sources]]
source = "folder"
name = "retained"
path = "{path}"
language = "en"
weight = {weight}
"""


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
        store = Store.at(scratch / "store")
        packed = [shards.make(part, self.settings, store)[0] for part in sources.parts(self.settings.corpus)]
        joined = joining.join(packed, self.settings.corpus)
        self.speech = shards.Speech(joined.shards, scratch / "shards", store.fetch, self.settings.corpus)

    def clips(self, dataset: Any, most: int) -> list[Clip]:
        """At most so many clips of a split, evenly spread."""
        split = Sounds(dataset)
        return [Clip(split.sound(at), split.texts[at], split.speakers[at]) for at in evenly(len(split), most)]


class Served:
    """A model as a release of it is served."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source, self.folder = source, Path(tempfile.mkdtemp(dir=scratch))
        folder.build(self.folder, source, "sv")

    def engine(self, language: str, context: str, beam: int = 1) -> Transcriber:
        folder.write(self.folder / folder.RECORD, {"format": 2, "language": language, "context": context})
        engine = Transcriber(self.folder, threads=compute.cores())
        engine.beam = beam
        return engine

    def errors(self, clips: Sequence[Clip], language: str, context: str, beam: int = 1) -> list[rates.Errors]:
        """What it gets wrong in each clip."""
        heard = self.engine(language, context, beam).transcribe_batch([clip.sound for clip in clips])
        return rates.errors([clip.text for clip in clips], heard, "lenient", language)

    def exactly(self, clips: Sequence[Clip], language: str) -> list[rates.Errors]:
        """The same by transformers in floats at 30 s."""
        model, processor = models.load(self.source)
        models.speak(model, processor, language)
        heard = hearing.texts(model.eval(), processor, [clip.sound for clip in clips], models.WINDOW_FRAMES)
        return rates.errors([clip.text for clip in clips], heard, "lenient", language)

    def invented(self) -> float:
        """Words a minute where nobody speaks."""
        probes = behaviour.probes()
        heard = self.engine("sv", "trimmed").transcribe_batch(probes)
        return behaviour.invented(heard, sum(map(len, probes)) / espeak.RATE)

    def off(self, spoken: Sequence[espeak.Spoken], context: str) -> list[float]:
        """Seconds by which each word's true beginning lies from the nearest that was told."""
        engine, found = self.engine("sv", context), list[float]()
        for one in spoken:
            told = [word.start for segment in engine.transcribe(one.sound).segments for word in segment.words]
            if told:
                found += [float(np.abs(np.array(told) - start).min()) for start in one.starts]
        return found


def tune(corpus: Corpus, target: Path) -> float:
    """Train one trial and write its model to `target`; the seconds that took."""
    torch.set_num_threads(compute.cores())
    began = time.monotonic()
    _, model, processor = trial.fine_tune(POINT, corpus.settings, corpus.speech, lambda line: print(f"  {line}"))
    models.save(target, model, processor)
    return time.monotonic() - began


def mixed(corpus: Corpus, tuned: Path, target: Path) -> averaging.Average:
    """Write the average that a release would be made of to `target`."""
    speech = corpus.speech
    found = averaging.averages(tuned, corpus.settings, speech.split("validation"), speech.retained("validation"))
    chosen = averaging.best(list(found))
    models.save(target, *averaging.average(tuned, corpus.settings.model.base or "", chosen.base_share))
    return chosen


def against(first: Sequence[rates.Errors], second: Sequence[rates.Errors], clips: Sequence[Clip]) -> str:
    """The first's WER less the second's, with interval and p."""
    words, who = [one.words for one in first], [clip.speaker for clip in clips]
    found = intervals.compare([one.word_errors for one in first], [one.word_errors for one in second], words, who)
    return f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f}), p {found.p:.3f}"


def shown(errors: Sequence[rates.Errors], clips: Sequence[Clip]) -> str:
    found = intervals.interval(
        [one.word_errors for one in errors], [one.words for one in errors], [clip.speaker for clip in clips]
    )
    return f"{rates.wer(errors):5.1f} ({found.low:.1f} to {found.high:.1f})"
