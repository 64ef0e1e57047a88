"""The flow's scores for any model on any corpus:

    python -m asr.scoring MODEL [MODEL ...] --profile FILE

MODEL is a release's folder, a Whisper's folder or its id on the Hub; FILE says which corpus, as for the flow: its test
clips are heard. Each model is scored as its float weights and as it would be served; the others are compared with the
first. With --out each leaves its table of clips, its report and a page to look at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from asr import InputError, console, disk, extras, settings

if TYPE_CHECKING:
    from datasets import Dataset

    from asr.scoring.report import Exam
    from asr.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the models; the exit status."""
    parser = argparse.ArgumentParser("python -m asr.scoring", description="The flow's scores for any model.")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a release or a Whisper: a folder, or an id on the Hub"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="whose test clips are heard; default: the sample's"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where scores, report and page of each model go")
    given = parser.parse_args(arguments)
    console.silence_libraries()
    from asr.corpus import recordings

    try:
        if given.out:
            disk.check(given.out, "--out")
        profile = _profile(given.profile)
        extras.check(profile)
        recordings.check(profile.training)
        for model in given.models:
            known(model)
        with tempfile.TemporaryDirectory() as scratch:
            speech = test_clips(profile, Path(scratch))
            exams = [(model, examine(model, profile, speech)) for model in given.models]
    except InputError as mistake:
        print(mistake, file=sys.stderr)
        return 1
    print(table(exams))
    if given.out:
        for number, (_, exam) in enumerate(exams):
            keep(exam, profile, given.out / str(number) if len(exams) > 1 else given.out)
        print(f"\nclips, report and page: {given.out}")
    return 0


def _profile(file: Path | None) -> Settings:
    try:
        return settings.load(file.read_text(encoding="utf-8") if file else "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--profile: {file} cannot be read: {error}") from None


def known(model: str) -> None:
    """Raises `InputError` where there is no such model."""
    from asr.training import models

    try:
        models.base_config(model)
    except InputError as mistake:
        raise InputError(str(mistake).replace("[model] base:", "MODEL")) from None


def test_clips(profile: Settings, scratch: Path) -> Dataset:
    """The corpus's test clips, judged as the flow judges them. Raises `InputError` where there are none."""
    from asr.corpus import joining, shards, sources
    from asr.store import Store

    store, parts = Store.in_folder(scratch / "store"), sources.parts(profile.corpus, splits=("test",))
    own = [part for part in parts if part.source not in profile.corpus.retained]
    packed = [shards.make(part, profile, store)[0] for part in own]
    joined = joining.join(packed, profile.corpus)
    kept = joined.summary["clips"].get("test", 0)
    gone = int((joined.rejected["split"] == "test").sum())  # a stretch of the Hub may hold other splits' clips as well
    print(f"{kept:,} test clips, {gone:,} set aside", flush=True)
    if not kept:
        raise InputError("[corpus]: no test clip is fit to use")
    return shards.Speech(joined.shards, scratch / "shards", store.fetch).split("test")


def examine(model: str, profile: Settings, speech: Dataset) -> Exam:
    """The model's exam on the clips, made a release for it first."""
    from asr.release import candidate, engine

    print(model, flush=True)
    with tempfile.TemporaryDirectory() as ready:
        return candidate.examine(Path(ready), profile, model, speech, engine.capture())


def table(exams: Sequence[tuple[str, Exam]]) -> str:
    """The models' figures, one below the other."""
    import pandas as pd

    from asr.corpus.text import RATES
    from asr.scoring import intervals

    first, rows, name = exams[0][1].scores, [], RATES[exams[0][1].report["unit"]]
    for model, exam in exams:
        report, scores = exam.report, exam.scores
        wrong, others = scores["word_errors"].tolist(), first["word_errors"].tolist()
        compared = intervals.compare(wrong, others, first["words"].tolist(), first["speaker"].tolist())
        rows.append({
            "model": model, name: _rate(report, "test_wer"), "as served": _rate(report, "served_wer"),
            **({"CER": _rate(report, "test_cer")} if name == "WER" else {}),
            "invented a minute": f"{report['invented_words_per_minute']:.1f}",
            "p": "" if scores is first else f"{compared.p:.3f}",
        })  # fmt: skip
    unit, clips = exams[0][1].report["test_wer_ci_unit"], exams[0][1].report["clips"]
    note = f"{'WER and ' * (name == 'WER')}CER in percent, with 95 % intervals by {unit}; {clips:,} clips"
    against = "; p: of the difference to the first model" if len(rows) > 1 else ""
    return f"\n{pd.DataFrame(rows).to_string(index=False)}\n\n{note}{against}"


def _rate(report: dict, name: str) -> str:
    low, high = report[f"{name}_ci"]
    return f"{report[name]:.2f} ({low:.2f} to {high:.2f})"


def keep(exam: Exam, profile: Settings, folder: Path) -> None:
    """Write the clips' table, the report and a page to look at."""
    from asr import cards
    from asr.cards.page import page
    from asr.release.folder import write

    folder.mkdir(parents=True, exist_ok=True)
    exam.scores.to_csv(folder / "scores.csv", index=False)
    exam.breakdown.to_csv(folder / "breakdown.csv", index=False)
    write(folder / "report.json", exam.report)
    run = cards.Run(profile.name, datetime.now(UTC).isoformat(timespec="seconds"))
    (folder / "page.html").write_text(page(folder.name, cards.evaluate(run, exam, profile).content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
