"""One real trial at whisper-small's geometry on the GPU at hand, in the precision that it trains in.

    python tests/benchmarks/gpu.py [--steps N] [--batch N] [--gpus N] [--tiny]

The settings are those of `flows/profiles/swedish-small-t4.toml`, the speech is the sample's, the weights are random, so
that its WER means nothing. It trains, hears validation clips and keeps checkpoints as a step of the flow does. Without
a GPU it says so and measures nothing; `--tiny` runs whisper-tiny's geometry on whatever there is, to try this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(Path(__file__).parent)]

from asr import compute, story  # noqa: E402

story.quiet()
import geometry  # noqa: E402
import torch  # noqa: E402
from asr.corpus import joining, shards, sources  # noqa: E402
from asr.settings import Settings, load  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import models, trial  # noqa: E402
from asr.training.checkpoints import Checkpoints  # noqa: E402
from asr.training.search import Trial  # noqa: E402

PROFILE = ROOT / "flows" / "profiles" / "swedish-small-t4.toml"


def settings(base: Path, steps: int, batch: int, gpus: int) -> Settings:
    """The profile's, on the sample."""
    told = load(PROFILE.read_text(encoding="utf-8"))
    training = {"steps": steps, "batch_size": batch, "evaluations": 2, "validation_clips": 60, "accumulate": gpus}
    return told.model_copy(
        update={
            "corpus": load("").corpus,
            "model": told.model.model_copy(update={"base": str(base)}),
            "training": told.training.model_copy(update=training),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    if not (on_gpu or given.tiny):
        print("skipped: there is no GPU here")
        print(json.dumps({"gpu": None}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        place, store = Path(scratch), Store.at(Path(scratch, "store"))
        shape = geometry.TINY if given.tiny else geometry.SMALL
        base = models.save(place / "base", *geometry.build(shape, ["Klockan är halv åtta.", "Det är sju grader."] * 20))
        asked = settings(base, given.steps, given.batch, given.gpus)
        packed = [shards.make(part, asked, store)[0] for part in sources.parts(asked.corpus)]
        joined = joining.join(packed, asked.corpus)
        speech = shards.Speech(joined.shards, place / "shards", store.fetch)
        point, keeper = Trial(0, learning_rate=1e-5, weight_decay=0.01), Checkpoints(store, "trial", asked.training)
        began = time.monotonic()
        outcome, _, _ = trial.fine_tune(point, asked, speech, print, keeper, gpus=given.gpus)
        took = time.monotonic() - began
    fast = sorted(look.clips_per_second for look in outcome.history)[len(outcome.history) // 2]
    wide = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    told = {
        "gpu": compute.hardware()[0],
        "precision": "bfloat16" if wide else "float16" if on_gpu else "float32",
        "steps": outcome.steps,
        "clips_per_second": round(fast * given.gpus, 1),
        "seconds": round(took, 1),
        "gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if on_gpu else None,
    }
    for name, value in told.items():
        print(f"{name:20s} {value}")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
