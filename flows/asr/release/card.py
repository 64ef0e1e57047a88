"""The model card: what a stranger reads of a release on the Hugging Face Hub, told from its record alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from asr.corpus.text import MARK_LANGUAGES, OPTIONAL_MARK_LANGUAGES, RATES, rate_unit
from asr.scoring.intervals import MIN_SPEAKERS, SIGNIFICANCE
from asr.training.models import FULL_VOCABULARY

Record = Mapping[str, Any]

CURVE = "training.png"  # in the release's folder
INTERVAL = "95\u00a0% interval"
TASK = "automatic-speech-recognition"
NOTABLE = 1.0  # points of the error rate between the two contexts that are a limit worth telling
# The world's average in 2025, all greenhouse gases over the plants' whole life (Ember, Global Electricity Review 2026).
GRAMS_A_KWH = 458
GRID = "https://ember-energy.org/latest-insights/global-electricity-review-2026/"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+", re.ASCII)
# What Markdown would take for its own, in a line or at its start; an underscore within a word it leaves alone.
MARKUP = re.compile(r"[\\`*\[\]<>|~&$#!]|(?<![^\W_])_|_(?![^\W_])|^[-+=]|^\d+(?=[.)])")
BLUE, INK, QUIET, LINE = "#2563eb", "#16202e", "#556275", "#dfe4ec"  # on white, whatever the page is


def card(record: Record) -> str:
    """README.md of the release: the metadata that the Hub reads, and the page."""
    sections = {
        "How to use it": _use, "How often it is wrong": _rates, "What the figures speak for": _speaks_for,
        "How it behaves": _behaves, "Data": _data, "Training": _training, "Limits": _limits,
        "Hardware and carbon": _carbon, "Where it comes from": _made,
    }  # fmt: skip
    told = [f"## {title}\n\n{section(record)}" for title, section in sections.items()]
    return "\n\n".join([f"---\n{_metadata(record)}\n---", _what(record), *told]) + "\n"


def curve(record: Record) -> bytes:
    """A PNG of the winner's validation WER (or CER) over its steps, 640 pixels wide at twice their density."""
    import altair as alt
    import pandas as pd

    points = pd.DataFrame(record["curve"], columns=["step", "validation_wer", "low", "high"]).astype(float).dropna()
    best = points.sort_values(["validation_wer", "step"]).head(1)
    best = best.assign(told=[_percent(wer) for wer in best["validation_wer"]])
    last = max([1.0, *points["step"]])
    along = alt.Scale(domain=[0, last], nice=False)
    side: Literal["left", "right"] = "left" if (best["step"] < last / 2).any() else "right"
    x = alt.X("step:Q", title="step", scale=along, axis=alt.Axis(format=",d", tickCount=6, tickMinStep=1, grid=False))
    y = alt.Y("validation_wer:Q", title=f"validation {_rate(record)} in %, with its {INTERVAL}")
    on, low, high = alt.Chart(points).encode(x), alt.Y("low:Q"), alt.Y("high:Q")
    chart = alt.layer(
        on.mark_area(color=BLUE, opacity=0.14).encode(low, y2="high:Q"),
        on.mark_rule(color=BLUE, opacity=0.5, strokeWidth=1.5).encode(low, y2="high:Q"),
        on.mark_line(color=BLUE, strokeWidth=2.5).encode(y),
        on.mark_point(color=BLUE, filled=True, opacity=1, size=60, stroke="white").encode(y),
        alt.Chart(best).mark_text(color=INK, fontSize=14, dy=-11, align=side).encode(x, high, text="told:N"),
        width=640, height=300, autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )  # fmt: skip
    quiet = {"labelColor": QUIET, "titleColor": QUIET, "titleFontWeight": "normal", "domain": False, "ticks": False}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titlePadding": 10}
    # vl-convert brings the font along: the same picture wherever it is drawn.
    chart = chart.configure(background="white", padding=12, view={"stroke": None}, font="Liberation Sans")
    chart = chart.configure_axis(gridColor=LINE, **quiet, **sizes)
    file = io.BytesIO()
    chart.save(file, format="png", scale_factor=2)
    return file.getvalue()


def _metadata(record: Record) -> str:
    """The front matter, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    name, [kwh, grams] = _line(record["name"]), _footprint(record)
    sets = [source for source in record["sources"] if HUB_ID.fullmatch(source)]
    of: dict[str, Any] = {
        "task_type": TASK, "task_name": "Automatic Speech Recognition", "dataset_name": name, "dataset_split": "test",
        "dataset_type": sets[0] if len(sets) == len(record["sources"]) == 1 else name, "verified": False,
    }  # fmt: skip
    rate = _rate(record)
    figures = [(rate, rate, "test_wer"), (f"{rate} as served, 8-bit", rate, "served_wer")]
    figures += [("CER", "CER", "test_cer")] * (rate == "WER")
    results = [EvalResult(metric_name=told, metric_type=kind.lower(), metric_value=round(record[key], 2), **of)
               for told, kind, key in figures]  # fmt: skip
    metrics = ["wer", "cer"] if rate == "WER" else ["cer"]
    carbon = {
        "emissions": float(grams.replace(",", "")),
        "source": f"estimated: {kwh} kWh at {GRAMS_A_KWH} g/kWh, the world's average in 2025 ({GRID})",
        "training_type": "fine-tuning" if record["base"] else "pre-training",
        "hardware_used": _line(record["hardware"]),
    }
    return ModelCardData(
        language=record["language"], license=record["license"], library_name="transformers", pipeline_tag=TASK,
        tags=["whisper", "whisper-flow", TASK], datasets=sets or None, metrics=metrics, model_name=name,
        base_model=None if record["base_is_local"] else record["base"], eval_results=results, co2_eq_emissions=carbon,
    ).to_yaml()  # fmt: skip


def _what(record: Record) -> str:
    base = _safe(record["base"] or "")
    origin = f"fine-tuned from {_linked(record['base'])}" if base else "trained from nothing"
    if record["base_is_local"]:
        origin = f"fine-tuned from {base}, an earlier model of its maker's,"
    warning = "".join(f"\n> - {_safe(fault)}" for fault in record["forced"])
    if warning:
        warning = f"> **It did not pass the checks of a release, and was pushed by hand all the same:**\n>{warning}\n\n"
    return f"""# {_safe(record["name"])}

{warning}A Whisper of {_number(record["parameters"] / 1e6)} million parameters that writes down {_language(record)}
speech, {origin} on {_hours(record["split_hours"]["train"])} of it by whisper-flow. Of the {_unit(record)}s in
{record["clips"]:,} test clips {_percent(record["test_wer"])} were wrong ({INTERVAL}
{_between(record["test_wer_ci"])}). Its licence is {_safe(record["license"])}."""


def _use(record: Record) -> str:
    model, fetch, served = "FOLDER", "", '"FOLDER/ct2-int8"'
    if record["repo_id"]:
        model, fetch = record["repo_id"], "from huggingface_hub import snapshot_download\n"
        served = f'snapshot_download("{model}", allow_patterns="ct2-int8/*") + "/ct2-int8"'
    transformers = f"""python
from transformers import pipeline

print(pipeline("{TASK}", model="{model}")("speech.wav")["text"])"""
    alone = "With faster-whisper"
    how = f"""python
from faster_whisper import WhisperModel
{fetch}
model = WhisperModel({served})
print(*(part.text for part in model.transcribe("speech.wav", language="{record["language"]}")[0]))"""
    if (tokens := record["vocabulary"]) < FULL_VOCABULARY:
        alone = f"The Space's engine alone (faster-whisper takes a model of {tokens:,} tokens for an English one)"
        how = f"sh\nMODEL_ID={model} python space/transcriber.py speech.wav"
    cpp = {}
    if "ggml" in record.get("formats", ()):
        at, get = "FOLDER", ""
        if record["repo_id"]:
            at, get = ".", f"hf download {model} ggml/model-q5_0.bin --local-dir .\n"
        heard = f"sh\n{get}whisper-cli -m {at}/ggml/model-q5_0.bin -l {record['language']} speech.wav"
        cpp["With whisper.cpp, which reads WAV, MP3, FLAC and Ogg"] = heard
    ways = {
        "With transformers, which needs the program `ffmpeg` to read files": transformers,
        alone: how,
        **cpp,
        "The Space, a page to speak to, in a copy of whisper-flow": f"sh\nMODEL_ID={model} python space/app.py",
    }
    told = [f"{way}:\n\n```{code}\n```" for way, code in ways.items()]
    return "\n\n".join(told if record["repo_id"] else ["`FOLDER` is the folder that holds this page.", *told])


def _rates(record: Record) -> str:
    models = {
        "test_wer": "**this model**",
        "served_wer": "as served: CTranslate2, 8-bit",
        "baseline_wer": f"its base, {_safe(record['base'])}",
        "orthographic_wer": "this model, capitals and punctuation counted",
    }
    known = [key for key in models if record[key] is not None]
    lines = ((models[key], _percent(record[key]), _between(record[f"{key}_ci"])) for key in known)
    base, found = "There is no base to compare with.", record["against_baseline"]
    if found:
        told = "is more than chance would make" if found["p"] < SIGNIFICANCE else "cannot be told from chance"
        base = f"""The difference to the base is {found["difference"]:+.1f} points ({INTERVAL} {found["low"]:+.1f} to
{found["high"]:+.1f}). It {told} (p = {found["p"]:.2g})."""
    scoring, language = record["scoring"], record["language"]
    rule = f"whisper-flow's rule `{scoring}`, so no figure compares with those published elsewhere"
    if scoring in ("basic", "whisper"):
        rule = "Whisper's basic normaliser leaves it: lower case, no punctuation"
    if scoring == "basic" and language in MARK_LANGUAGES | OPTIONAL_MARK_LANGUAGES:
        kept = "kept" if language in MARK_LANGUAGES else "dropped"
        rule += f""". But combining marks are {kept}, where that normaliser makes spaces
of them, so no figure compares with those published under it"""
    name, unit = _rate(record), _unit(record)
    beside = f""" CER, of letters, is
{_percent(record["test_cer"])} ({_between(record["test_cer_ci"])})."""
    if unit == "character":
        beside = f"""
It stands for a WER, since {_language(record)} puts no spaces between words."""
    return f"""{_table(("", name, INTERVAL), lines)}

{base}{_retained(record)}

{name} is the share of {unit}s that are wrong: {_percent(record["substitutions"])} replaced,
{_percent(record["deletions"])} left out, {_percent(record["insertions"])} added.{beside} Text is compared as {rule}."""


def _retained(record: Record) -> str:
    """What it hears in the languages that it was not to forget, where there are such."""
    lines = []
    for language, wer in record.get("retained_wer", {}).items():
        found, clips = record["against_retained_baseline"][language], record["retained_clips"][language]
        gap = f"{found['difference']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f}), p = {found['p']:.2g}"
        name = f"{RATES[rate_unit(language)]} in {_named(language)}, {_count(clips, 'clip')}"
        lines.append((name, _percent(wer), _percent(record["retained_baseline_wer"][language]), gap))
    if not lines:
        return ""
    heads = ("", "this model", "its base", f"difference ({INTERVAL})")
    return f"\n\nWhat it was not to forget, heard in 8 bits where there was no GPU:\n\n{_table(heads, lines)}"


def _speaks_for(record: Record) -> str:
    crossing, count = record["speakers_crossing"] if record["corpus_speakers"] else None, record["speakers"]
    who = f"the {_count(count, 'speaker')} of the test set" if count else "the speakers of the test set"
    whom = f"The intervals speak for new clips of {who}, not for new speakers."
    if record["test_wer_ci_unit"] == "speaker" and crossing == 0:
        whom = f"The intervals speak for new speakers: they are drawn from {who}."
    across = f"{_count(crossing or 0, 'speaker')} of the corpus can be heard in several splits."
    if not crossing:
        across = "Whether a speaker can be heard in several splits is not known."
        across = across if crossing is None else "No speaker can be heard in two splits."
    return f"""{whom} {across} The test clips took no part in training, nor in the choice of the winner."""


def _behaves(record: Record) -> str:
    strange, off, full = record["wrong_language"], record["timestamp_error"], record["context"] == "full"
    trimmed, at_full, rate = record["trimmed_context_wer"], record["full_context_wer"], _rate(record)
    lines = (
        ("words it invents where nobody speaks", f"{record['invented_words_per_minute']:.1f} a minute"),
        ("clips in which it repeats a phrase over and over", _percent(record["loops"])),
        ("clips it writes in another language", "not measured" if strange is None else _percent(strange)),
        ("how far its times are off, in the median", "not measured" if off is None else f"{off:.2f} s"),
        (f"{rate} at the clips' own length{', as the Space hears them' * (not full)}", _percent(trimmed)),
        (f"{rate} at 30 s, as transformers and faster-whisper{' and the Space' * full} hear them", _percent(at_full)),
        *(
            (f"{rate} of {_count(record['ggml_clips'], 'test clip')} by whisper.cpp, {kind}, at 30 s", _percent(wer))
            for kind, wer in record.get("ggml_wer", {}).items()
        ),
        ("speech it writes in a second", f"{_number(1 / record['real_time_factor'])} s"),
    )
    return f"""{_table(("as served", ""), lines)}

Invention was tried on three minutes of noise, hum and music, both lengths on the same
{_count(record["context_clips"], "validation clip")}, the speed on many clips at once with
{_count(record["threads"], "CPU thread")}.{_conditions(record)}"""


def _conditions(record: Record) -> str:
    """What noise and a room cost; nothing of a release that is too old to tell."""
    if "noisy_wer" not in record:
        return ""
    reach, held_out = record["noisy_wer_ci"], "recorded, and kept from training"
    noise = held_out if record["noise_heard"] == "recordings" else "made, white to brown"
    rooms = held_out if record["room_heard"] == "recordings" else "simulated"
    lines = (
        ("as they are", record["noisy_clean_wer"], record["noisy_clean_wer_ci"]),
        *((f"speech {decibels} dB over noise", wer, reach[decibels]) for decibels, wer in record["noisy_wer"].items()),
        ("in a room", record["room_wer"], record["room_wer_ci"]),
    )
    table = _table(
        (f"{_count(record['noisy_clips'], 'test clip')}, as served", _rate(record), INTERVAL),
        ((name, _percent(wer), _between(bounds)) for name, wer, bounds in lines),
    )
    return f"\n\n{table}\n\nThe noise is {noise}; the rooms are {rooms}.{_hotwords(record)}"


def _hotwords(record: Record) -> str:
    """How the words that matter are heard, where the profile names some."""
    if not record.get("hotwords"):
        return ""
    table = _table(
        (f"{_count(record['hotwords'], 'hotword')}, said {record['hotwords_said']} times", "heard", INTERVAL,
         "heard, not said, in 100 clips"),
        (
            (how, _percent(record[f"{name}_recall"]), _between(record[f"{name}_recall_ci"]),
             _number(record[f"{name}_false_alarms"]))
            for how, name in (("as they are", "hotword"), ("with the list as a hint", "hinted"))
        ),
    )  # fmt: skip
    return f"\n\n{table}\n\nWith the hint its {_rate(record)} is {_percent(record['hinted_wer'])}."


def _data(record: Record) -> str:
    wers = {source: _percent(wer) for source, wer in record["wer_by_source"].items()}
    retained = {name: _named(language) for name, language in record.get("retained_sources", {}).items()}
    wers |= {name: f"in {language}, not to be forgotten" for name, language in retained.items()}
    lines = (
        (_linked(name, "datasets/"), _hours(hours), wers.get(name, "not tested"), _safe(record["licences"][name]))
        for name, hours in record["sources"].items()
    )
    splits = (f"{split} {_count(record['clips_of'][split], 'clip')}, {_hours(hours)}"
              for split, hours in record["split_hours"].items())  # fmt: skip
    of, among = record["corpus_speakers"], f" of {_language(record)}" if retained else ""
    who = _count(of, "speaker") if of else "unknown speakers"
    return f"""{_table(("source", "hours", f"test {_rate(record)}", "licence"), lines)}

{_hours(record["hours"])}{among} in all, by {who}: {"; ".join(splits)}. The
corpus has the fingerprint `{_line(record["fingerprint"])}`."""


def _training(record: Record) -> str:
    rate = _rate(record)
    others = ("trial", "validation_wer", "steps", "seconds", "stopped", "low", "high", "p")
    names = [name for name in record["leaderboard"][0] if name not in others]
    lines = []
    for row in record["leaderboard"]:
        wer = ("none", "")
        if row["validation_wer"] is not None:
            wer = (_percent(row["validation_wer"]), _between((row["low"], row["high"])))
        given = (_number(row[name]) for name in names)
        lines.append((f"{row['trial']}", *given, *wer, f"{row['steps']:,}", row["stopped"]))
    heads = ("trial", *(name.replace("_", " ") for name in names), f"validation {rate}", INTERVAL, "steps", "ended")
    used = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in record["hyperparameters"].items())
    best = _percent(record["leaderboard"][0]["validation_wer"])
    averaged = ""
    if share := record.get("base_share"):
        averaged = f"""

What is released is an average: {share:.0%} of each weight is the base's and the rest the winner's, which keeps more of
what the base knew."""
    return f"""The winner of {_count(record["trials"], "trial")}, by its {rate} on validation, was trained for
{record["steps"]:,} steps with {used}. The whole search, the winner first:

{_table(heads, lines)}{averaged}

![Validation {rate} over the winner's steps, with its {INTERVAL}: {best} at best]({CURVE})"""


def _limits(record: Record) -> str:
    full, trimmed, strange = (record[key] for key in ("full_context_wer", "trimmed_context_wer", "wrong_language"))
    words, few, rate = record["invented_words_per_minute"], _count(record["speakers"], "speaker"), _rate(record)
    limits = (
        (set(record["sources"]) == {"sample"},
         "It heard nothing but synthetic speech, by espeak-ng: its figures say nothing of people."),
        (record["base"] is None,
         f"It knows no more {_language(record)} than it was taught in {_hours(record['split_hours']['train'])}."),
        (not record["speakers"], "Who speaks is not known, so its figures say nothing of new speakers."),
        (0 < record["speakers"] < MIN_SPEAKERS, f"It was tested on {few}, too few to speak for others."),
        (record["speakers_crossing"], "It may have learnt from people that it was tested on."),
        (words >= 0.05, f"It writes words where nobody speaks, {words:.1f} a minute."),
        (record["loops"] > 0, f"It repeats a phrase over and over in {_percent(record['loops'])} of the clips."),
        (strange, f"It writes another language in {_percent(strange or 0)} of the clips."),
        (abs(full - trimmed) >= NOTABLE,
         f"Its {rate} depends on the context: {_percent(trimmed)} at the clips' own length, {_percent(full)} at 30 s."),
        (record["timestamp_error"] is None, "How exact its times are was never measured."),
        (True, "Dialects, noises and subjects that are not in the test clips were not measured."),
    )  # fmt: skip
    return "\n".join(f"- {limit}" for holds, limit in limits if holds)


def _carbon(record: Record) -> str:
    kwh, grams = _footprint(record)
    return f"""The trials together took {_number(record["training_seconds"] / 3600)} h on {_safe(record["hardware"])}.
At {record["watts"]:,} W for all of that time it is {kwh} kWh; at {GRAMS_A_KWH} g a kWh, the world's average in 2025
([Ember]({GRID})), it is {grams} g of CO2 equivalents. The power and the place are assumed, not measured. Trials that
shared a machine are each counted as if alone, and what came before and after training is left out."""


def _footprint(record: Record) -> tuple[str, str]:
    """kWh of all trials together, and the grams of CO2 equivalents that they come to."""
    kwh = record["training_seconds"] / 3600 * record["watts"] / 1000
    return _number(kwh), _number(kwh * GRAMS_A_KWH)


def _made(record: Record) -> str:
    when = record["created"][:16].replace("T", " ")
    return f"""Run {_safe(record["run_id"])} of {_safe(record["program"])}, {when} UTC. `release.json` holds the figures
of this page, in format {record["format"]}."""


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _safe(text: object) -> str:
    """Any text as a line of Markdown that shows it.

    >>> _safe("common_voice"), _safe("a | <b>")
    ('common_voice', 'a &#124; &#60;b&#62;')
    """
    return MARKUP.sub(lambda found: "".join(f"&#{ord(sign)};" for sign in found[0]), _line(text))


def _linked(name: str, kind: str = "") -> str:
    """A model or, of the kind "datasets/", a data set, with a link where it is on the Hub."""
    return f"[{_safe(name)}](https://huggingface.co/{kind}{name})" if HUB_ID.fullmatch(name) else _safe(name)


def _unit(record: Record) -> str:
    return str(record.get("unit", "word"))  # a release that does not say was scored when all counted words


def _rate(record: Record) -> str:
    return RATES[_unit(record)]


def _language(record: Record) -> str:
    return _named(record["language"])


def _named(language: str) -> str:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return str(LANGUAGES.get(language, language)).title()


def _percent(value: float) -> str:
    return f"{value:.1f}\u00a0%"


def _between(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.1f}\u00a0to\u00a0{bounds[1]:.1f}"


def _count(number: int, of: str) -> str:
    return f"{number:,} {of}{'s' * (number != 1)}"


def _hours(hours: float) -> str:
    return f"{hours:,.{2 if hours < 10 else 0}f}\u00a0h"


def _number(value: float) -> str:
    """As it is, or to three digits where it is no whole number.

    >>> _number(1024), _number(0.0123456), _number(3219.4)
    ('1,024', '0.0123', '3,220')
    """
    return f"{value:,}" if isinstance(value, int) else f"{float(f'{value:.3g}'):,g}"
