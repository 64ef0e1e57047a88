"""The same trials side by side and one after another, on the same cores.

    python tests/benchmarks/parallel.py [STEPS] [ROUNDS] [TRIALS]

Each trial is its own process, as in the flow. Side by side each has its share of torch threads; one after another each
has all cores, its best setting. The two ways take turns; the table shows medians of the total wall time, including the
start of the processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOWS = Path(__file__).parents[2] / "flows"
sys.path.insert(0, str(FLOWS))

import machine  # noqa: E402
from asr import hardware, settings  # noqa: E402
from asr.corpus import shards, sources  # noqa: E402
from asr.store import Store  # noqa: E402

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
TRIAL = """
import sys
sys.path.insert(0, {flows!r})
from asr import hardware, settings
hardware.set_threads({threads})
from asr.corpus import manifest, shards, sources
from asr.store import Store
from asr.training import search, trial
from pathlib import Path
import tempfile
profile = settings.load("[training]\\nsteps = {steps}\\nevaluations = 1\\n")
planned = search.plan_trials(profile)[{number}]
store = Store.in_folder(Path({folder!r}))
parts = [shards.build_part(part, profile, store)[0] for part in sources.list_parts(profile.corpus)]  # reused
with tempfile.TemporaryDirectory() as scratch:
    speech = shards.SpeechDataset(manifest.merge_parts(parts, profile.corpus).shards, Path(scratch), store.fetch)
    trial.fine_tune(planned, profile, speech, lambda line: None)
"""


def start(number: int, threads: int, steps: int, folder: Path) -> subprocess.Popen[bytes]:
    code = TRIAL.format(flows=str(FLOWS), threads=threads, steps=steps, number=number, folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **QUIET})


def finish(*trials: subprocess.Popen[bytes]) -> None:
    if any(trial.wait() for trial in trials):
        sys.exit("a trial failed")


def measure(steps: int, rounds: int, trials: int) -> float:
    """The time of trials side by side, divided by their time one after another."""
    times: dict[str, list[float]] = {"side by side": [], "one after another": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder, sample = Path(scratch), settings.Settings()
        store = Store.in_folder(folder)
        for part in sources.list_parts(sample.corpus):
            shards.build_part(part, sample, store)
        for _ in range(rounds):
            began = time.perf_counter()
            finish(*(start(number, hardware.threads_per_trial(trials), steps, folder) for number in range(trials)))
            times["side by side"].append(time.perf_counter() - began)
            began = time.perf_counter()
            for number in range(trials):
                finish(start(number, hardware.threads_per_trial(1), steps, folder))
            times["one after another"].append(time.perf_counter() - began)
    medians = {mode: statistics.median(seconds) for mode, seconds in times.items()}
    print(f"{trials} trials of {steps} steps, {hardware.cores()} cores, median of {rounds} rounds")
    for mode, seconds in medians.items():
        print(f"{mode:20s} {seconds:7.1f} s")
    return medians["side by side"] / medians["one after another"]


def main(steps: int, rounds: int, trials: int) -> None:
    ratio = measure(steps, rounds, trials)
    machine.print_result({"parallel_ratio": round(ratio, 3), "trials": trials, "steps": steps, "rounds": rounds})


if __name__ == "__main__":
    arguments = dict(zip(("steps", "rounds", "trials"), map(int, sys.argv[1:]), strict=False))
    main(**{"steps": 150, "rounds": 3, "trials": 3, **arguments})
