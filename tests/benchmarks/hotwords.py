"""Names as hotwords: how many more are recognized with the hint, with and without prompts in training.

    python tests/benchmarks/hotwords.py --base FOLDER [--steps 150] [--share 0.5] [--decibels 5]

`--base` is a multilingual Whisper in Hugging Face's format. It is tuned twice on the sample's Swedish, at 2e-5, with
`prompt_share` 0 and `--share`. Training and validation hold no clip that names one of UNSEEN, four of the sample's
twelve cities: names that the model was not trained on, which is what hotwords are for. Both models and the base
transcribe the same test clips, as many that name a city as do not, with the engine that serves, as they are and
`--decibels` above white noise, without a hint and with all twelve cities as one. Recall is given for the cities in
training and for the others, with the p of a paired permutation test; false alarms are per hundred clips.

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
from asr import terminal  # noqa: E402

terminal.silence_libraries()
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


def write_corpus(target: Path) -> Path:
    """Write the sample without the training and validation clips that name an unseen city."""
    for split in ("train", "validation", "test"):
        source, folder = ROOT / "flows" / "sample" / split, target / split
        folder.mkdir(parents=True)
        with (source / "metadata.csv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        remaining = [row for row in rows if split == "test" or not any(city in row[1] for city in UNSEEN)]
        with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *remaining])
        for name, *_ in remaining:
            shutil.copy(source / name, folder / name)
    return target


def balance(test: Sequence[Clip]) -> list[Clip]:
    """As many clips that name a city as clips that do not."""
    named = [clip for clip in test if any(city in clip.text for city in CITIES)]
    others = [clip for clip in test if not any(city in clip.text for city in CITIES)]
    count = min(len(named), len(others))
    return [*named[:count], *others[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Names as hotwords, with and without prompts in training.")
    parser.add_argument("--base", required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--decibels", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, Path(scratch))


def measure(arguments: argparse.Namespace, scratch: Path) -> None:
    folder, models, result = write_corpus(scratch / "sample"), {"base": Path(arguments.base)}, dict[str, float]()
    for name, share in (("without", 0.0), ("with", arguments.share)):
        print(f"{name} prompts in training")
        profile = PROFILE.format(folder=folder, base=arguments.base, steps=arguments.steps, share=share)
        corpus = Corpus(profile, scratch)
        models[name] = scratch / name
        result[f"train_{name}_s"] = round(tune(corpus, models[name]))
    clean = balance(clips(corpus.speech.split("test"), 10_000))
    noise = [np.random.default_rng([2, at]).normal(size=len(clip.sound)) for at, clip in enumerate(clean)]
    noisy = [
        acoustics.add_noise(clip.sound, sound.astype(np.float32), arguments.decibels)
        for clip, sound in zip(clean, noise, strict=True)
    ]
    print(f"\n{len(clean)} clips, half of which name a city\n")
    print(f"{'model':8s} {'sound':6s} {'cities':7s} {'said':>4s} {'recall':>7s} {'hinted':>7s} {'p':>6s}"
          f" {'alarms':>7s} {'hinted':>7s} {'WER':>6s} {'hinted':>7s}")  # fmt: skip
    for name, source in models.items():
        engine = Served(source, scratch).engine("sv", "full" if name == "base" else "trimmed")
        for condition, sounds in (("clean", [clip.sound for clip in clean]), (f"{arguments.decibels:g} dB", noisy)):
            began = time.monotonic()
            hypotheses = engine.transcribe_batch(sounds)
            seconds = time.monotonic() - began
            hinted = engine.transcribe_batch(sounds, DecodingOptions(hotwords=tuple(CITIES)))
            extra_time = (time.monotonic() - began - seconds) / seconds
            references, speakers = [clip.text for clip in clean], [clip.speaker for clip in clean]
            for kind, words in (("known", set(CITIES) - UNSEEN), ("unseen", UNSEEN), ("all", CITIES)):
                text = corpus.settings.text.model_copy(update={"hotwords": tuple(sorted(words))})
                settings: Settings = corpus.settings.model_copy(update={"text": text})
                scores = hotwords.score_hotwords(references, hypotheses, hinted, speakers, settings)
                wer = rates.wer(rates.count_errors(references, hypotheses, "lenient", "sv"))
                print(f"{name:8s} {condition:6s} {kind:7s} {scores['hotwords_said']:4d}"
                      f" {scores['hotword_recall']:7.1f} {scores['hinted_recall']:7.1f} {scores['hotword_p']:6.3f}"
                      f" {scores['hotword_false_alarms']:7.1f} {scores['hinted_false_alarms']:7.1f}"
                      f" {wer:6.1f} {scores['hinted_wer']:7.1f}", flush=True)  # fmt: skip
                if kind != "known":
                    key = f"{name}_{condition.replace(' ', '_')}_{kind}"
                    result[f"{key}_recall"] = round(scores["hotword_recall"], 1)
                    result[f"{key}_hinted"] = round(scores["hinted_recall"], 1)
                    result[f"{key}_p"] = round(scores["hotword_p"], 4)
            result[f"{name}_{condition.replace(' ', '_')}_wer_cost"] = round(scores["hinted_wer"] - wer, 2)
            result[f"{name}_{condition.replace(' ', '_')}_time"] = round(extra_time, 2)
    machine.print_result(result)


if __name__ == "__main__":
    main()
