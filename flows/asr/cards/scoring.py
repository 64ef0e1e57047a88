"""What the test came to: the card of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asr.cards.drawing import amount, draw, reaches
from asr.cards.page import audio, facts, panel, rows, safe, shown, stack, tiles
from asr.cards.training import between
from asr.corpus.text import RATES, unit
from asr.scoring import rates
from asr.scoring.intervals import CHANCE
from asr.story import chance

if TYPE_CHECKING:
    import pandas as pd

    from asr.scoring.report import Exam
    from asr.settings import Settings

NAMED = 8  # speakers and sources, by name
FEWEST = 10  # clips of a group that is shown: the interval of fewer says nothing
CONFUSED = 10  # pairs of words


@shown
def evaluate(exam: Exam, settings: Settings) -> str:
    """The three figures side by side, how the release behaves, where the errors lie, and the worst clips to hear."""
    table, report, counted = exam.scores, exam.report, exam.report["unit"]
    name = RATES[counted]
    clips, speakers = f"{report['clips']:,} clips", report["speakers"]
    base = report["baseline_wer_ci"]
    head = [
        (f"Test {name}", percent(report["test_wer"]), between(*report["test_wer_ci"])),
        ("As served", percent(report["served_wer"]), between(*report["served_wer_ci"])),
        *([("Its base", percent(report["baseline_wer"]), between(*base))] if base else []),
        *([("CER", percent(report["test_cer"]), between(*report["test_cer_ci"]))] if name == "WER" else []),
        ("Heard", clips, f"of {speakers:,} speakers" if speakers else "the corpus names no speakers"),
    ]
    panels = [
        panel(f"{counted.title()} error rate", draw(reaches(_models(report))), *verdict(report)),
        panel(f"{counted.title()}s that went wrong", _kinds(report)),
        *retained(report),
        *averages(report),
        panel("Behaviour as served", behaviour(report)),
        panel(f"{name} under noise and in a room", *conditions(report)),
        *_breakdown(exam.breakdown, name),
        _confusions(table, settings),
    ]
    return tiles("Test", head) + stack(panels) + worst(table, exam.sounds, settings)


def verdict(report: Mapping[str, Any]) -> list[str]:
    """What the figures allow to say, and for whom."""
    said = []
    if report["against_baseline"]:
        found = report["against_baseline"]
        better = "better" if found["difference"] < 0 else "worse"
        sure = f"The model is {better} than its base (p {chance(found['p'])})."
        said.append(sure if found["p"] < CHANCE else "The model cannot be told from its base.")
    who = "speakers" if report["test_wer_ci_unit"] == "speaker" else "clips of these speakers, not for new ones"
    said.append(f"The intervals are 95\u00a0% and speak for new {who}.")
    if crossing := report.get("speakers_crossing"):
        said.append(f"{crossing:,} speakers stand in several splits.")
    return [f"<p>{' '.join(said)}</p>"]


def _models(report: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    of = [
        ("this model", "test", "test_wer"),
        ("as served, 8-bit", "test", "served_wer"),
        ("its base", "", "baseline_wer"),
    ]
    table = [(name, split, report[key], *report[f"{key}_ci"]) for name, split, key in of if report[key] is not None]
    return pd.DataFrame(table, columns=["name", "split", "wer", "low", "high"])


def _kinds(report: Mapping[str, Any]) -> str:
    kinds = [(name, percent(report[name])) for name in ("substitutions", "deletions", "insertions")]
    written = (f"{RATES[report['unit']]} with capitals and punctuation", percent(report["orthographic_wer"]))
    return rows(("", f"of the {report['unit']}s"), [*kinds, written])


def behaviour(report: Mapping[str, Any]) -> str:
    """What a WER does not tell, as a table."""
    took, seconds, name = report["real_time_factor"], report["timestamp_error"], RATES[report["unit"]]
    table = [
        ("words invented on noise", f"{report['invented_words_per_minute']:.1f} a minute"),
        ("clips with a loop", percent(report["loops"])),
        ("clips in another language", percent(report["wrong_language"])),
        ("times off by, in the median", "times unknown" if seconds is None else f"{seconds:.2f} s"),
        (f"{name} of {report['context_clips']:,} clips, cut to length", percent(report["trimmed_context_wer"])),
        ("the same, padded to 30 s", percent(report["full_context_wer"])),
        *((f"{name} of {report['ggml_clips']:,} test clips by whisper.cpp, {kind}", percent(wer))
          for kind, wer in report.get("ggml_wer", {}).items()),
        (f"an hour of speech, on {report['threads']} cores", amount(3600 * took)),
    ]  # fmt: skip
    return rows(("", ""), table)


def retained(report: Mapping[str, Any]) -> list[str]:
    """A panel on the languages that were not to be forgotten, where there are such."""
    table, told = [], []
    for language, wer in report.get("retained_wer", {}).items():
        found, clips = report["against_retained_baseline"][language], report["retained_clips"][language]
        before, name = report["retained_baseline_wer"][language], RATES[unit(language)]
        table.append((f"{name} in {language}", percent(wer), percent(before)))
        change = f"{found['difference']:+.1f} points ({between(found['low'], found['high'])}), p {chance(found['p'])}"
        told.append(f"<p>On {clips:,} clips in {language} the difference is {change}.</p>")
    return [panel("Not to be forgotten", rows(("", "this model", "its base"), table), *told)] if table else []


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
    return [panel("Averaged with its base", rows(heads, table))]


def conditions(report: Mapping[str, Any]) -> list[str]:
    """What noise and a room cost: the same clips in each, as served."""
    import pandas as pd

    noisy, reach = report["noisy_wer"], report["noisy_wer_ci"]
    table = [
        ("as they are", report["noisy_clean_wer"], *report["noisy_clean_wer_ci"]),
        *((f"speech {decibels} dB over noise", wer, *reach[decibels]) for decibels, wer in noisy.items()),
        ("in a room", report["room_wer"], *report["room_wer_ci"]),
    ]
    drawn = pd.DataFrame(table, columns=["name", "wer", "low", "high"]).assign(split="test")
    noise = "held-out recordings" if report["noise_heard"] == "recordings" else "made, white to brown"
    rooms = "held-out recordings" if report["room_heard"] == "recordings" else "simulated"
    told = f"The same {report['noisy_clips']:,} clips, as served. Noise: {noise}. Rooms: {rooms}."
    return [draw(reaches(drawn)), f"<p>{told}</p>"]


def _breakdown(breakdown: pd.DataFrame, name: str) -> list[str]:
    """A panel for each way to part the clips that parts them."""
    titles = {"length": "by length", "noise": "by speech over noise", "source": "by source", "speaker": "by speaker"}
    made = []
    for by, title in titles.items():
        part = breakdown[(breakdown["by"] == by) & (breakdown["clips"] >= FEWEST)]
        if len(part) < 2:
            continue
        named = part.head(NAMED).assign(split="test")
        named["name"] += [f", {clips:,} clip{'s' * (clips != 1)}" for clips in named["clips"]]
        rest = f"<p>The {NAMED} worst of {len(part):,}.</p>" if len(part) > NAMED else ""
        made.append(panel(f"{name} {title}", draw(reaches(named)), rest))
    return made


def _confusions(table: pd.DataFrame, settings: Settings) -> str:
    rule, language = settings.text.scoring, settings.corpus.language
    found = rates.confusions(table["reference"].tolist(), table["heard"].tolist(), rule, language).head(CONFUSED)
    if found.empty:
        return panel("Confusions", f"<p>Every {unit(language)} was heard as it was said.</p>")
    nothing = "<i>nothing</i>"
    pairs = ((safe(said) or nothing, safe(heard) or nothing, f"{times:,}") for said, heard, times in found.to_numpy())
    return panel("Confusions", rows(("said", "heard as", "times"), pairs, "words"))


def worst(table: pd.DataFrame, sounds: Mapping[str, bytes], settings: Settings) -> str:
    """The worst clips, to hear, with what was said and heard side by side."""
    found = table[table["clip"].isin(list(sounds)) & (table["word_errors"] > 0)].set_index("clip")
    made, rule, language = [], settings.text.scoring, settings.corpus.language
    counted = unit(language)
    joint = " " if counted == "word" else ""
    for clip in (clip for clip in sounds if clip in found.index):
        row: Any = found.loc[clip]
        told = [row["speaker"] or "", f"{row['seconds']:.1f} s", clip]
        title = f"{row['word_errors']:,} of {row['words']:,} {counted}s wrong"
        quote = difference(rates.aligned(row["reference"], row["heard"], rule, language), joint)
        made.append(panel(title, f"<blockquote>{quote}</blockquote>", audio(sounds[clip]), f"<p>{facts(told)}</p>"))
    if not made:
        return ""
    key = "<p class=key><del>said</del> <ins>heard</ins></p>"
    return f"<h2>The worst clips</h2>{key}<div class=clips>{''.join(made)}</div>"


def difference(pairs: list[rates.Pair], joint: str) -> str:
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
