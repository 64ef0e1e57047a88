"""Names as hotwords: how many more of them are heard with the hint, with and without prompts in training.

    python tests/benchmarks/hotwords.py --base FOLDER [--steps 150] [--share 0.5] [--decibels 5]

`--base` is a multilingual Whisper in Hugging Face's format. It is tuned twice on the sample's Swedish, at 2e-5, with
`prompt_share` 0 and `--share`. Training and validation hold no clip that names one of UNSEEN, four of the sample's
twelve cities, so that these are what hotwords are for: names that a model was not taught. Both models and the base hear
the same test clips, as many that name a city as do not, through the engine that serves, as they are and so many dB over
white noise, without a hint and with all twelve cities as one. Recall is told for the cities that training knew and for
those that it did not, with the p of a paired permutation test; false alarms are a hundred clips'.

Left out: other seeds, lists of hundreds of words, people.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "flows"), str(ROOT / "space")]
from asr import console  # noqa: E402

console.silence_libraries()
import machine  # noqa: E402
import numpy as np  # noqa: E402
from asr import acoustics  # noqa: E402
from asr.scoring import hotwords, rates  # noqa: E402
from asr.settings import Settings  # noqa: E402
from pretrained import Clip, Corpus, Served, clips, tune  # noqa: E402
from sample.make import CITIES  # noqa: E402
from transcriber import DecodingOptions  # noqa: E402

UNSEEN = frozenset("Umeå Kiruna Visby Gävle".split())
PROFILE = """
[text]
scoring = "lenient"
[corpus]
source = "folder"
path = "{folder}"
speakers_may_cross = true
[model]
base = "{base}"
[training]
steps = {steps}
evaluations = 2
validation_clips = 40
timestamps_share = 0.2
silence_share = 0.02
prompt_share = {share}
"""


def without_names(target: Path) -> Path:
    """The sample, its training and validation without the clips that name an unseen city."""
    for split in ("train", "validation", "test"):
        source, folder = ROOT / "flows" / "sample" / split, target / split
        folder.mkdir(parents=True)
        with (source / "metadata.csv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        kept = [row for row in rows if split == "test" or not any(city in row[1] for city in UNSEEN)]
        with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *kept])
        for name, *_ in kept:
            shutil.copy(source / name, folder / name)
    return target


def halves(test: Sequence[Clip]) -> list[Clip]:
    """As many clips that name a city as clips that do not."""
    named = [clip for clip in test if any(city in clip.text for city in CITIES)]
    others = [clip for clip in test if not any(city in clip.text for city in CITIES)]
    most = min(len(named), len(others))
    return [*named[:most], *others[:most]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Names as hotwords, with and without prompts in training.")
    parser.add_argument("--base", required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--decibels", type=float, default=5.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(asked, Path(scratch))


def measure(asked: argparse.Namespace, scratch: Path) -> None:
    folder, models, told = without_names(scratch / "sample"), {"base": Path(asked.base)}, dict[str, float]()
    for name, share in (("without", 0.0), ("with", asked.share)):
        print(f"{name} prompts in training")
        profile = PROFILE.format(folder=folder, base=asked.base, steps=asked.steps, share=share)
        corpus = Corpus(profile, scratch)
        models[name] = scratch / name
        told[f"train_{name}_s"] = round(tune(corpus, models[name]))
    quiet = halves(clips(corpus.speech.split("test"), 10_000))
    noise = [np.random.default_rng([2, at]).normal(size=len(clip.sound)) for at, clip in enumerate(quiet)]
    loud = [
        acoustics.add_noise(clip.sound, heard.astype(np.float32), asked.decibels)
        for clip, heard in zip(quiet, noise, strict=True)
    ]
    print(f"\n{len(quiet)} clips, half of which name a city\n")
    print(f"{'model':8s} {'sound':6s} {'cities':7s} {'said':>4s} {'recall':>7s} {'hinted':>7s} {'p':>6s}"
          f" {'alarms':>7s} {'hinted':>7s} {'WER':>6s} {'hinted':>7s}")  # fmt: skip
    for name, source in models.items():
        engine = Served(source, scratch).engine("sv", "full" if name == "base" else "trimmed")
        for condition, sounds in (("clean", [clip.sound for clip in quiet]), (f"{asked.decibels:g} dB", loud)):
            began = time.monotonic()
            heard = engine.transcribe_batch(sounds)
            took = time.monotonic() - began
            hinted = engine.transcribe_batch(sounds, DecodingOptions(hotwords=tuple(CITIES)))
            longer = (time.monotonic() - began - took) / took
            said, speakers = [clip.text for clip in quiet], [clip.speaker for clip in quiet]
            for kind, words in (("known", set(CITIES) - UNSEEN), ("unseen", UNSEEN), ("all", CITIES)):
                text = corpus.settings.text.model_copy(update={"hotwords": tuple(sorted(words))})
                settings: Settings = corpus.settings.model_copy(update={"text": text})
                found = hotwords.score_hotwords(said, heard, hinted, speakers, settings)
                wer = rates.wer(rates.count_errors(said, heard, "lenient", "sv"))
                print(f"{name:8s} {condition:6s} {kind:7s} {found['hotwords_said']:4d}"
                      f" {found['hotword_recall']:7.1f} {found['hinted_recall']:7.1f} {found['hotword_p']:6.3f}"
                      f" {found['hotword_false_alarms']:7.1f} {found['hinted_false_alarms']:7.1f}"
                      f" {wer:6.1f} {found['hinted_wer']:7.1f}", flush=True)  # fmt: skip
                if kind != "known":
                    key = f"{name}_{condition.replace(' ', '_')}_{kind}"
                    told[f"{key}_recall"] = round(found["hotword_recall"], 1)
                    told[f"{key}_hinted"] = round(found["hinted_recall"], 1)
                    told[f"{key}_p"] = round(found["hotword_p"], 4)
            told[f"{name}_{condition.replace(' ', '_')}_wer_cost"] = round(found["hinted_wer"] - wer, 2)
            told[f"{name}_{condition.replace(' ', '_')}_time"] = round(longer, 2)
    machine.print_result(told)


if __name__ == "__main__":
    main()
