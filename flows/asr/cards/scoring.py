"""The card of `evaluate`: error rates, diagnostics and the worst clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from asr.cards.charts import format_duration, interval_chart, render_svg
from asr.cards.page import audio_player, card_part, escape, html_table, join_facts, panel, panel_columns, stat_tiles
from asr.cards.training import format_interval
from asr.corpus.text import RATES, rate_unit
from asr.scoring import rates
from asr.scoring.intervals import SIGNIFICANCE
from asr.terminal import format_p

if TYPE_CHECKING:
    from asr.scoring.report import Evaluation
    from asr.settings import Settings

MAX_GROUPS = 8  # speakers and sources that are listed
MIN_GROUP_CLIPS = 10  # in a group that is shown: with fewer the interval is too wide
MAX_CONFUSIONS = 10  # pairs of words that are listed


@card_part
def evaluate(evaluation: Evaluation, settings: Settings) -> str:
    """The evaluation: error rates of the models, diagnostics, errors by group, and the worst clips."""
    table, report, counted = evaluation.scores, evaluation.report, evaluation.report["unit"]
    name = RATES[counted]
    speakers, base = report["speakers"], report["baseline_wer_ci"]
    head = [
        (f"Test {name}", format_percent(report["test_wer"]), format_interval(*report["test_wer_ci"])),
        ("As served", format_percent(report["served_wer"]), format_interval(*report["served_wer_ci"])),
        *([("Base model", format_percent(report["baseline_wer"]), format_interval(*base))] if base else []),
        *(
            [("CER", format_percent(report["test_cer"]), format_interval(*report["test_cer_ci"]))]
            if name == "WER"
            else []
        ),
        ("Test clips", f"{report['clips']:,}", f"of {speakers:,} speakers" if speakers else "speakers unknown"),
    ]
    models, robustness = _model_rates(report), _robustness_rates(report)
    parts = _group_rates(evaluation.breakdown, name)
    tallest = max(float(rates["high"].max()) for rates in (models, robustness, *parts.values()))
    axis_end = min(max(1.0, tallest), 100.0)  # a base in a loop may have several hundred percent
    panels = [
        panel(f"{counted.title()} error rate", render_svg(interval_chart(models, axis_end)), *conclusions(report)),
        panel(f"Kinds of {counted} errors", _error_kinds(report)),
        *retained_panel(report),
        *averages_panel(report),
        panel("Behaviour as served", diagnostics_table(report)),
        panel(
            f"{name} with noise and in a room", render_svg(interval_chart(robustness, axis_end)), _noise_note(report)
        ),
        *(
            panel(title, render_svg(interval_chart(part.head(MAX_GROUPS), axis_end)), _truncation_note(part))
            for title, part in parts.items()
        ),
        _confusions_panel(table, settings),
    ]
    return stat_tiles("Test", head) + panel_columns(panels) + worst_clips(table, evaluation.sounds, settings)


def conclusions(report: Mapping[str, Any]) -> list[str]:
    """Whether the model is better than its base, and whether the intervals hold for new speakers."""
    sentences = [] if report["against_baseline"] else ["There is no base model to compare with."]
    if report["against_baseline"]:
        comparison = report["against_baseline"]
        direction = "better" if comparison["difference"] < 0 else "worse"
        finding = f"The model is {direction} than its base (p {format_p(comparison['p'])})."
        sentences.append(
            finding if comparison["p"] < SIGNIFICANCE else "No difference between the model and its base can be shown."
        )
    population = (
        "speakers" if report["test_wer_ci_unit"] == "speaker" else "clips of these speakers, not for new speakers"
    )
    sentences.append(f"The 95\u00a0% intervals hold for new {population}.")
    if crossing := report.get("speakers_crossing"):
        sentences.append(f"{crossing:,} speakers are in more than one split.")
    return [f"<p>{' '.join(sentences)}</p>"]


def _model_rates(report: Mapping[str, Any]) -> pd.DataFrame:
    models = [
        ("this model", "test", "test_wer"),
        ("as served (8-bit)", "test", "served_wer"),
        ("base model", "", "baseline_wer"),
    ]
    table = [(name, split, report[key], *report[f"{key}_ci"]) for name, split, key in models if report[key] is not None]
    return pd.DataFrame(table, columns=["name", "split", "wer", "low", "high"])


def _error_kinds(report: Mapping[str, Any]) -> str:
    kinds = [(name, format_percent(report[name])) for name in ("substitutions", "deletions", "insertions")]
    written = (f"{RATES[report['unit']]} with capitals and punctuation", format_percent(report["orthographic_wer"]))
    return html_table(("", f"of\u00a0{report['unit']}s"), [*kinds, written])


def diagnostics_table(report: Mapping[str, Any]) -> str:
    """What a WER does not show, as a table."""
    factor, seconds, name = report["real_time_factor"], report["timestamp_error"], RATES[report["unit"]]
    table = [
        ("words hallucinated on noise", f"{report['invented_words_per_minute']:.1f} per minute"),
        ("clips with repeated text", format_percent(report["loops"])),
        ("clips in another language", format_percent(report["wrong_language"])),
        ("median error of word times", "unknown" if seconds is None else f"{seconds:.2f} s"),
        (f"{name} without padding, {report['context_clips']:,} clips", format_percent(report["trimmed_context_wer"])),
        (f"{name} padded to 30 s, same clips", format_percent(report["full_context_wer"])),
        *((f"{name} by whisper.cpp, {kind}, {report['ggml_clips']:,} clips", format_percent(wer))
          for kind, wer in report.get("ggml_wer", {}).items()),
        (f"time for an hour of speech, {report['threads']} cores", format_duration(3600 * factor)),
    ]  # fmt: skip
    return html_table(("", ""), table)


def retained_panel(report: Mapping[str, Any]) -> list[str]:
    """A panel about retained languages, if there are any."""
    table, notes = [], []
    for language, wer in report.get("retained_wer", {}).items():
        comparison, clips = report["against_retained_baseline"][language], report["retained_clips"][language]
        before, name = report["retained_baseline_wer"][language], RATES[rate_unit(language)]
        table.append((f"{name} in {language}", format_percent(wer), format_percent(before)))
        sure = f"{format_interval(comparison['low'], comparison['high'])}, p {format_p(comparison['p'])}"
        notes.append(f"<p>{clips:,} clips in {language}: {comparison['difference']:+.1f} points ({sure}).</p>")
    return [panel("Retained languages", html_table(("", "this model", "base model"), table), *notes)] if table else []


def averages_panel(report: Mapping[str, Any]) -> list[str]:
    """A panel about the averages of the winner with its base, if any were evaluated."""
    averages, name = report.get("averages", []), RATES[report["unit"]]
    if not averages:
        return []
    table = []
    for average in averages:
        share = f"{100 * average['base_share']:.0f}\u00a0% of the base"
        share += ", released" * (average["base_share"] == report["base_share"])
        table.append((share, *map(format_percent, (average["wer"], *average["retained"].values()))))
    heads = ("", f"validation {name}", *(f"in {language}" for language in averages[0]["retained"]))
    return [panel("Averages with the base model", html_table(heads, table, "records"))]


def _robustness_rates(report: Mapping[str, Any]) -> pd.DataFrame:
    """The rates of the same clips with noise and in a room, as served."""
    noisy, bounds = report["noisy_wer"], report["noisy_wer_ci"]
    table = [
        ("as recorded", report["noisy_clean_wer"], *report["noisy_clean_wer_ci"]),
        *((_noise_level(int(decibels)), wer, *bounds[decibels]) for decibels, wer in noisy.items()),
        ("in a room", report["room_wer"], *report["room_wer_ci"]),
    ]
    return pd.DataFrame(table, columns=["name", "wer", "low", "high"]).assign(split="test")


def _noise_level(decibels: int) -> str:
    return f"noise {decibels} dB below speech" if decibels else "noise as loud as speech"


def _noise_note(report: Mapping[str, Any]) -> str:
    noise = "held-out recordings" if report["noise_heard"] == "recordings" else "generated, white to brown"
    rooms = "held-out recordings" if report["room_heard"] == "recordings" else "simulated"
    return f"<p>The same {report['noisy_clips']:,} clips each time, as served. Noise: {noise}. Rooms: {rooms}.</p>"


def _group_rates(breakdown: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """The error rates by group, by title; groupings with a single group are left out."""
    titles = {"length": "clip length", "noise": "signal-to-noise ratio", "source": "source", "speaker": "speaker"}
    tables = {}
    for by, title in titles.items():
        part = breakdown[(breakdown["by"] == by) & (breakdown["clips"] >= MIN_GROUP_CLIPS)]
        if len(part) > 1:
            counted = [f"{name}, {clips:,} clips" for name, clips in zip(part["name"], part["clips"], strict=True)]
            tables[f"{name} by {title}"] = part.assign(name=counted, split="test")
    return tables


def _truncation_note(part: pd.DataFrame) -> str:
    return f"<p>The worst {MAX_GROUPS} of {len(part):,}.</p>" if len(part) > MAX_GROUPS else ""


def _confusions_panel(table: pd.DataFrame, settings: Settings) -> str:
    rule, language = settings.text.scoring, settings.corpus.language
    confusions = rates.count_confusions(table["reference"].tolist(), table["hypothesis"].tolist(), rule, language).head(
        MAX_CONFUSIONS
    )
    if confusions.empty:
        return panel("Confusions", f"<p>None: every {rate_unit(language)} was recognised correctly.</p>")
    nothing = "<i>nothing</i>"
    pairs = (
        (escape(reference) or nothing, escape(hypothesis) or nothing, f"{times:,}")
        for reference, hypothesis, times in confusions.to_numpy()
    )
    return panel("Confusions", html_table(("reference", "hypothesis", "times"), pairs, "words"))


def worst_clips(table: pd.DataFrame, sounds: Mapping[str, bytes], settings: Settings) -> str:
    """The worst clips with audio, and reference and hypothesis side by side."""
    with_errors = table[table["clip"].isin(list(sounds)) & (table["word_errors"] > 0)].set_index("clip")
    panels, rule, language = list[str](), settings.text.scoring, settings.corpus.language
    counted = rate_unit(language)
    joint = " " if counted == "word" else ""
    for clip in (clip for clip in sounds if clip in with_errors.index):
        row: Any = with_errors.loc[clip]
        notes = [row["speaker"] or "", f"{row['seconds']:.1f} s", clip]
        title = f"{row['word_errors']:,} of {row['words']:,} {counted}s wrong"
        quote = word_diff(rates.align_words(row["reference"], row["hypothesis"], rule, language), joint)
        panels.append(
            panel(title, f"<blockquote>{quote}</blockquote>", audio_player(sounds[clip]), f"<p>{join_facts(notes)}</p>")
        )
    if not panels:
        return ""
    key = "<p class=key><del>reference</del> <ins>hypothesis</ins></p>"
    return f"<h2>The worst clips</h2>{key}<div class=clips>{''.join(panels)}</div>"


def word_diff(pairs: list[rates.WordPair], joint: str) -> str:
    """Aligned words as HTML: reference words that differ are struck out, hypothesis words underlined.

    >>> word_diff([("hej", "hej"), ("du", "nu"), ("", "då")], " ")
    'hej <del>du</del> <ins>nu</ins> <ins>då</ins>'
    """
    words = []
    for reference, hypothesis in pairs:
        if reference == hypothesis:
            words.append(escape(reference))
            continue
        words += [f"<del>{escape(reference)}</del>"] * bool(reference)
        words += [f"<ins>{escape(hypothesis)}</ins>"] * bool(hypothesis)
    return joint.join(words)


def format_percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}\u00a0%"
