"""Evaluate any model on any corpus as the flow does:

    python -m asr.scoring MODEL [MODEL ...] --profile FILE

MODEL is a release folder, a Whisper folder or a Hub id. FILE is a profile as for the flow; its test clips are used.
Each model is evaluated in float weights and as it would be served; the others are compared with the first. With --out
each writes its table of clips, its report and an HTML page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from asr import InputError, disk, extras, memory, settings, terminal

if TYPE_CHECKING:
    from datasets import Dataset

    from asr.scoring.report import Evaluation
    from asr.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the models; returns the exit status."""
    parser = argparse.ArgumentParser("python -m asr.scoring", description="The flow's scores for any model.")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a release or a Whisper: a folder, or an id on the Hub"
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="its test clips are used; default: the sample's")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write scores, report and page")
    options = parser.parse_args(arguments)
    terminal.silence_libraries()
    memory.skip_last_collections()
    from asr.corpus import recordings

    try:
        if options.out:
            disk.check(options.out, "--out")
        profile = _load_profile(options.profile)
        extras.check(profile)
        recordings.check_recordings(profile.training)
        for model in options.models:
            check_model(model)
        with memory.no_collections():
            import asr.release.evaluation  # noqa: F401  takes seconds
        with tempfile.TemporaryDirectory() as scratch:
            clips = load_test_clips(profile, Path(scratch))
            evaluations = [(model, evaluate_model(model, profile, clips)) for model in options.models]
    except InputError as mistake:
        print(mistake, file=sys.stderr)
        return 1
    print(format_table(evaluations))
    if options.out:
        for number, (_, evaluation) in enumerate(evaluations):
            folder = options.out / str(number) if len(evaluations) > 1 else options.out
            write_evaluation(evaluation, profile, folder)
        print(f"\nclips, report and page: {options.out}")
    return 0


def _load_profile(file: Path | None) -> Settings:
    try:
        return settings.load(file.read_text(encoding="utf-8") if file else "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--profile: {file} cannot be read: {error}") from None


def check_model(model: str) -> None:
    """Raises `InputError` if there is no such model."""
    from asr.training import models

    try:
        models.base_config(model)
    except InputError as mistake:
        raise InputError(str(mistake).replace("[model] base:", "MODEL")) from None


def load_test_clips(profile: Settings, scratch: Path) -> Dataset:
    """The corpus' test clips, validated as in the flow. Raises `InputError` if there are none."""
    from asr.corpus import manifest, shards, sources
    from asr.store import Store

    store, parts = Store.in_folder(scratch / "store"), sources.list_parts(profile.corpus, splits=("test",))
    own_parts = [part for part in parts if part.source not in profile.corpus.retained]
    packed = [shards.build_part(part, profile, store)[0] for part in own_parts]
    joined = manifest.merge_parts(packed, profile.corpus)
    accepted = joined.summary["clips"].get("test", 0)
    rejected = int((joined.rejected["split"] == "test").sum())  # a file on the Hub may hold other splits' clips too
    print(f"{accepted:,} test clips, {rejected:,} rejected", flush=True)
    if not accepted:
        raise InputError("[corpus]: no usable test clip")
    return shards.SpeechDataset(joined.shards, scratch / "shards", store.fetch).split("test")


def evaluate_model(model: str, profile: Settings, clips: Dataset) -> Evaluation:
    """Build a release from the model, and evaluate it on the clips."""
    from asr.release import engine, evaluation

    print(model, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        return evaluation.evaluate_model(Path(scratch), profile, model, clips, engine.capture_space())


def format_table(evaluations: Sequence[tuple[str, Evaluation]]) -> str:
    """The models' metrics, a row each."""
    import pandas as pd

    from asr.corpus.text import RATES
    from asr.scoring import intervals

    _, first = evaluations[0]
    rows, name = [], RATES[first.report["unit"]]
    for model, evaluation in evaluations:
        report, scores = evaluation.report, evaluation.scores
        errors = scores["word_errors"].tolist(), first.scores["word_errors"].tolist()
        comparison = intervals.compare_models(*errors, first.scores["words"].tolist(), first.scores["speaker"].tolist())
        rows.append({
            "model": model, name: _format_rate(report, "test_wer"), "as served": _format_rate(report, "served_wer"),
            **({"CER": _format_rate(report, "test_cer")} if name == "WER" else {}),
            "invented a minute": f"{report['invented_words_per_minute']:.1f}",
            "p": "" if evaluation is first else f"{comparison.p:.3f}",
        })  # fmt: skip
    unit, count = first.report["test_wer_ci_unit"], first.report["clips"]
    note = f"{'WER and ' * (name == 'WER')}CER in percent, with 95 % intervals by {unit}; {count:,} clips"
    comparison_note = "; p: of the difference to the first model" if len(rows) > 1 else ""
    return f"\n{pd.DataFrame(rows).to_string(index=False)}\n\n{note}{comparison_note}"


def _format_rate(report: dict, name: str) -> str:
    low, high = report[f"{name}_ci"]
    return f"{report[name]:.2f} ({low:.2f} to {high:.2f})"


def write_evaluation(evaluation: Evaluation, profile: Settings, folder: Path) -> None:
    """Write the table of clips, the breakdown, the report and an HTML page."""
    from asr import cards
    from asr.cards.page import render_page
    from asr.release.folder import write_json

    folder.mkdir(parents=True, exist_ok=True)
    evaluation.scores.to_csv(folder / "scores.csv", index=False)
    evaluation.breakdown.to_csv(folder / "breakdown.csv", index=False)
    write_json(folder / "report.json", evaluation.report)
    run = cards.Run(profile.name, datetime.now(UTC).isoformat(timespec="seconds"))
    content = cards.evaluate(run, evaluation, profile).content
    (folder / "page.html").write_text(render_page(folder.name, content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
