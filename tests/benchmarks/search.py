"""Nine trials of the sample to their end, and the same nine where losers stop early.

    python tests/benchmarks/search.py [--steps N] [--at-once N]

The grid is three learning rates by three weight decays, from too small to good. Each trial is its own process, four in
parallel as in the flow; the whole grid runs first, then the one that stops losers. `cost_share` is the trials' seconds
in the second divided by those in the first; `winner_wer` and `grid_wer` are the test WERs of their winners, chosen on
validation, and `grid_wer_ci` is the 95 % interval of the grid's. 600 steps take some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "flows"))
for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(quiet, "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import machine  # noqa: E402
from asr import hardware, settings  # noqa: E402
from asr.corpus import manifest, shards, sources  # noqa: E402
from asr.scoring import intervals, rates  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402
from asr.training import search  # noqa: E402
from asr.training.halving import SuccessiveHalving  # noqa: E402
from asr.training.search import Outcome  # noqa: E402

GRID = """
[training]
steps = {steps}
[search]
trials = 9
learning_rate = [1e-3, 2e-3, 4e-3]
weight_decay = [0.01, 0.1, 0.3]
stop_losers = {stop}
"""

Trained = tuple[Outcome, list[rates.ErrorCounts]]


def corpus(profile: Settings, store: Store) -> tuple[shards.Shard, ...]:
    packed = [shards.build_part(part, profile, store)[0] for part in sources.list_parts(profile.corpus)]
    return tuple(manifest.merge_parts(packed, profile.corpus).shards)


def train(number: int, profile: Settings, folder: Path, threads: int) -> Trained:
    """Train one trial; returns its outcome and its errors in each test clip."""
    hardware.set_threads(threads)
    from asr.training import decoding, trial
    from asr.training.dataset import FeatureDataset

    store, trials = Store.in_folder(folder), search.plan_trials(profile)
    siblings = SuccessiveHalving(store, "search", number, len(trials)) if profile.search.stop_losers else None
    with tempfile.TemporaryDirectory() as scratch:
        speech = shards.SpeechDataset(corpus(profile, store), Path(scratch), store.fetch)
        outcome, model, processor = trial.fine_tune(
            trials[number], profile, speech, lambda line: None, siblings=siblings
        )
        test = FeatureDataset(speech.split("test"), processor)
        hypotheses = decoding.transcribe_clips(model, processor, test, range(len(test)))
    return outcome, rates.count_errors(test.texts, hypotheses, profile.text.scoring, profile.corpus.language)


def run_search(profile: Settings, folder: Path, at_once: int) -> list[Trained]:
    """Train all trials, `at_once` at a time, and print their leaderboard."""
    count, threads = len(search.plan_trials(profile)), max(1, hardware.cores() // at_once)
    train_trial = partial(train, profile=profile, folder=folder, threads=threads)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as processes:
        results = list(processes.map(train_trial, range(count)))
    print(search.leaderboard([outcome for outcome, _ in results]).round(4).to_string(index=False), "\n", flush=True)
    return results


def winner_errors(results: list[Trained]) -> list[rates.ErrorCounts]:
    best = search.leaderboard([outcome for outcome, _ in results]).iloc[0]["trial"]
    return next(errors for outcome, errors in results if outcome.trial.number == best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--at-once", type=int, default=hardware.max_workers())
    arguments = parser.parse_args()
    whole, stopping = (settings.load(GRID.format(steps=arguments.steps, stop=stop)) for stop in ("false", "true"))
    with tempfile.TemporaryDirectory() as scratch:
        corpus(whole, Store.in_folder(Path(scratch)))  # once, so that no trial waits for it
        grid, stopped = (run_search(profile, Path(scratch), arguments.at_once) for profile in (whole, stopping))
    costs = [sum(outcome.seconds for outcome, _ in results) for results in (grid, stopped)]
    steps = [sum(outcome.steps for outcome, _ in results) for results in (grid, stopped)]
    stopped_errors, grid_errors = winner_errors(stopped), winner_errors(grid)
    errors, words = [clip.word_errors for clip in grid_errors], [clip.words for clip in grid_errors]
    interval = intervals.confidence_interval(errors, words, [None] * len(grid_errors))
    print(f"{'':18s} {'whole':>10s} {'stopping':>10s}")
    print(f"{'seconds of trials':18s} {costs[0]:10.0f} {costs[1]:10.0f}")
    print(f"{'steps':18s} {steps[0]:10d} {steps[1]:10d}")
    print(f"{'winner, test WER':18s} {rates.wer(grid_errors):8.2f} % {rates.wer(stopped_errors):8.2f} %")
    machine.print_result({
        "cost_share": round(costs[1] / costs[0], 3),
        "step_share": round(steps[1] / steps[0], 3),
        "winner_wer": round(rates.wer(stopped_errors), 2),
        "grid_wer": round(rates.wer(grid_errors), 2),
        "grid_wer_ci": [round(interval.low, 2), round(interval.high, 2)],
        "steps": arguments.steps,
        "at_once": arguments.at_once,
    })  # fmt: skip


if __name__ == "__main__":
    main()
