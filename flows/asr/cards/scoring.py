"""What the test came to: the card of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asr.cards.drawing import amount, draw, reaches
from asr.cards.page import audio, facts, panel, rows, safe, shown, stack, tiles
from asr.cards.training import between
from asr.corpus.text import RATES, rate_unit
from asr.scoring import rates
from asr.scoring.intervals import SIGNIFICANCE
from asr.story import chance

if TYPE_CHECKING:
    import pandas as pd

    from asr.scoring.report import Evaluation
    from asr.settings import Settings

NAMED = 8  # speakers and sources, by name
FEWEST = 10  # clips of a group that is shown: the interval of fewer says nothing
CONFUSED = 10  # pairs of words


@shown
def evaluate(exam: Evaluation, settings: Settings) -> str:
    """The three figures side by side, how the release behaves, where the errors lie, and the worst clips to hear."""
    table, report, counted = exam.scores, exam.report, exam.report["unit"]
    name = RATES[counted]
    speakers, base = report["speakers"], report["baseline_wer_ci"]
    head = [
        (f"Test {name}", percent(report["test_wer"]), between(*report["test_wer_ci"])),
        ("As served", percent(report["served_wer"]), between(*report["served_wer_ci"])),
        *([("Base model", percent(report["baseline_wer"]), between(*base))] if base else []),
        *([("CER", percent(report["test_cer"]), between(*report["test_cer_ci"]))] if name == "WER" else []),
        ("Test clips", f"{report['clips']:,}", f"of {speakers:,} speakers" if speakers else "speakers unknown"),
    ]
    models, noisy = _models(report), _conditions(report)
    parts = _parts(exam.breakdown, name)
    tallest = max(float(rates["high"].max()) for rates in (models, noisy, *parts.values()))
    most = min(max(1.0, tallest), 100.0)  # a base that loops may have a multiple of it
    panels = [
        panel(f"{counted.title()} error rate", draw(reaches(models, most)), *verdict(report)),
        panel(f"Kinds of {counted} errors", _kinds(report)),
        *retained(report),
        *averages(report),
        panel("Behaviour as served", behaviour(report)),
        panel(f"{name} with noise and in a room", draw(reaches(noisy, most)), _noise(report)),
        *(panel(title, draw(reaches(part.head(NAMED), most)), _rest(part)) for title, part in parts.items()),
        _confusions(table, settings),
    ]
    return tiles("Test", head) + stack(panels) + worst(table, exam.sounds, settings)


def verdict(report: Mapping[str, Any]) -> list[str]:
    """What the figures show, and for whom."""
    said = [] if report["against_baseline"] else ["There is no base model to compare with."]
    if report["against_baseline"]:
        found = report["against_baseline"]
        better = "better" if found["difference"] < 0 else "worse"
        sure = f"The model is {better} than its base (p {chance(found['p'])})."
        said.append(sure if found["p"] < SIGNIFICANCE else "No difference between the model and its base can be shown.")
    who = "speakers" if report["test_wer_ci_unit"] == "speaker" else "clips of these speakers, not for new speakers"
    said.append(f"The 95\u00a0% intervals hold for new {who}.")
    if crossing := report.get("speakers_crossing"):
        said.append(f"{crossing:,} speakers are in more than one split.")
    return [f"<p>{' '.join(said)}</p>"]


def _models(report: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    of = [
        ("this model", "test", "test_wer"),
        ("as served (8-bit)", "test", "served_wer"),
        ("base model", "", "baseline_wer"),
    ]
    table = [(name, split, report[key], *report[f"{key}_ci"]) for name, split, key in of if report[key] is not None]
    return pd.DataFrame(table, columns=["name", "split", "wer", "low", "high"])


def _kinds(report: Mapping[str, Any]) -> str:
    kinds = [(name, percent(report[name])) for name in ("substitutions", "deletions", "insertions")]
    written = (f"{RATES[report['unit']]} with capitals and punctuation", percent(report["orthographic_wer"]))
    return rows(("", f"of\u00a0{report['unit']}s"), [*kinds, written])


def behaviour(report: Mapping[str, Any]) -> str:
    """What a WER does not tell, as a table."""
    took, seconds, name = report["real_time_factor"], report["timestamp_error"], RATES[report["unit"]]
    table = [
        ("words made up on noise", f"{report['invented_words_per_minute']:.1f} per minute"),
        ("clips with repeated text", percent(report["loops"])),
        ("clips in another language", percent(report["wrong_language"])),
        ("median error of word times", "unknown" if seconds is None else f"{seconds:.2f} s"),
        (f"{name} without padding, {report['context_clips']:,} clips", percent(report["trimmed_context_wer"])),
        (f"{name} padded to 30 s, same clips", percent(report["full_context_wer"])),
        *((f"{name} by whisper.cpp, {kind}, {report['ggml_clips']:,} clips", percent(wer))
          for kind, wer in report.get("ggml_wer", {}).items()),
        (f"time for an hour of speech, {report['threads']} cores", amount(3600 * took)),
    ]  # fmt: skip
    return rows(("", ""), table)


def retained(report: Mapping[str, Any]) -> list[str]:
    """A panel on the languages that the model was to keep, where there are such."""
    table, told = [], []
    for language, wer in report.get("retained_wer", {}).items():
        found, clips = report["against_retained_baseline"][language], report["retained_clips"][language]
        before, name = report["retained_baseline_wer"][language], RATES[rate_unit(language)]
        table.append((f"{name} in {language}", percent(wer), percent(before)))
        sure = f"{between(found['low'], found['high'])}, p {chance(found['p'])}"
        told.append(f"<p>{clips:,} clips in {language}: {found['difference']:+.1f} points ({sure}).</p>")
    return [panel("Retained languages", rows(("", "this model", "base model"), table), *told)] if table else []


def averages(report: Mapping[str, Any]) -> list[str]:
    """A panel on the averages of the winner with its base that were tried, where there were such."""
    tried, name = report.get("averages", []), RATES[report["unit"]]
    if not tried:
        return []
    table = []
    for one in tried:
        share = f"{100 * one['base_share']:.0f}\u00a0% of the base"
        share += ", released" * (one["base_share"] == report["base_share"])
        table.append((share, *map(percent, (one["wer"], *one["retained"].values()))))
    heads = ("", f"validation {name}", *(f"in {language}" for language in tried[0]["retained"]))
    return [panel("Averages with the base model", rows(heads, table, "records"))]


def _conditions(report: Mapping[str, Any]) -> pd.DataFrame:
    """What noise and a room cost: the same clips in each, as served."""
    import pandas as pd

    noisy, reach = report["noisy_wer"], report["noisy_wer_ci"]
    table = [
        ("as recorded", report["noisy_clean_wer"], *report["noisy_clean_wer_ci"]),
        *((_noisy(int(decibels)), wer, *reach[decibels]) for decibels, wer in noisy.items()),
        ("in a room", report["room_wer"], *report["room_wer_ci"]),
    ]
    return pd.DataFrame(table, columns=["name", "wer", "low", "high"]).assign(split="test")


def _noisy(decibels: int) -> str:
    return f"noise {decibels} dB below speech" if decibels else "noise as loud as speech"


def _noise(report: Mapping[str, Any]) -> str:
    noise = "held-out recordings" if report["noise_heard"] == "recordings" else "generated, white to brown"
    rooms = "held-out recordings" if report["room_heard"] == "recordings" else "simulated"
    return f"<p>The same {report['noisy_clips']:,} clips each time, as served. Noise: {noise}. Rooms: {rooms}.</p>"


def _parts(breakdown: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """Under its title, each way to part the clips that parts them."""
    titles = {"length": "clip length", "noise": "signal-to-noise ratio", "source": "source", "speaker": "speaker"}
    made = {}
    for by, title in titles.items():
        part = breakdown[(breakdown["by"] == by) & (breakdown["clips"] >= FEWEST)]
        if len(part) > 1:
            counted = [f"{name}, {clips:,} clips" for name, clips in zip(part["name"], part["clips"], strict=True)]
            made[f"{name} by {title}"] = part.assign(name=counted, split="test")
    return made


def _rest(part: pd.DataFrame) -> str:
    return f"<p>The worst {NAMED} of {len(part):,}.</p>" if len(part) > NAMED else ""


def _confusions(table: pd.DataFrame, settings: Settings) -> str:
    rule, language = settings.text.scoring, settings.corpus.language
    found = rates.count_confusions(table["reference"].tolist(), table["heard"].tolist(), rule, language).head(CONFUSED)
    if found.empty:
        return panel("Confusions", f"<p>None: every {rate_unit(language)} was heard correctly.</p>")
    nothing = "<i>nothing</i>"
    pairs = ((safe(said) or nothing, safe(heard) or nothing, f"{times:,}") for said, heard, times in found.to_numpy())
    return panel("Confusions", rows(("said", "heard as", "times"), pairs, "words"))


def worst(table: pd.DataFrame, sounds: Mapping[str, bytes], settings: Settings) -> str:
    """The worst clips, to hear, with what was said and heard side by side."""
    found = table[table["clip"].isin(list(sounds)) & (table["word_errors"] > 0)].set_index("clip")
    made, rule, language = [], settings.text.scoring, settings.corpus.language
    counted = rate_unit(language)
    joint = " " if counted == "word" else ""
    for clip in (clip for clip in sounds if clip in found.index):
        row: Any = found.loc[clip]
        told = [row["speaker"] or "", f"{row['seconds']:.1f} s", clip]
        title = f"{row['word_errors']:,} of {row['words']:,} {counted}s wrong"
        quote = difference(rates.align_words(row["reference"], row["heard"], rule, language), joint)
        made.append(panel(title, f"<blockquote>{quote}</blockquote>", audio(sounds[clip]), f"<p>{facts(told)}</p>"))
    if not made:
        return ""
    key = "<p class=key><del>said</del> <ins>heard</ins></p>"
    return f"<h2>The worst clips</h2>{key}<div class=clips>{''.join(made)}</div>"


def difference(pairs: list[rates.WordPair], joint: str) -> str:
    """Aligned words as HTML: what was said and not heard is struck out, what was heard in its stead underlined.

    >>> difference([("hej", "hej"), ("du", "nu"), ("", "då")], " ")
    'hej <del>du</del> <ins>nu</ins> <ins>då</ins>'
    """
    words = []
    for said, heard in pairs:
        if said == heard:
            words.append(safe(said))
            continue
        words += [f"<del>{safe(said)}</del>"] * bool(said) + [f"<ins>{safe(heard)}</ins>"] * bool(heard)
    return joint.join(words)


def percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}\u00a0%"
