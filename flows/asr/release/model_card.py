"""The model card of a release, written from its record alone for readers on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asr.corpus.text import MARK_LANGUAGES, OPTIONAL_MARK_LANGUAGES, RATES, rate_unit
from asr.release import markdown
from asr.release.markdown import HUB_ID, escape, interval, link, one_line, percent, table
from asr.release.training_curve import CURVE_FILE, INTERVAL
from asr.scoring.intervals import MIN_SPEAKERS, SIGNIFICANCE
from asr.training.models import FULL_VOCABULARY

Record = Mapping[str, Any]

TASK = "automatic-speech-recognition"
NOTABLE_DIFFERENCE = 1.0  # points of the error rate between the two contexts that are listed as a limitation
# The world's average in 2025, all greenhouse gases over the plants' whole life (Ember, Global Electricity Review 2026).
GRAMS_PER_KWH = 458
GRID_SOURCE = "https://ember-energy.org/latest-insights/global-electricity-review-2026/"


def render_card(record: Record) -> str:
    """README.md of the release: the metadata that the Hub reads, and the page."""
    sections = {
        "Usage": _usage, "Error rates": _error_rates, "Validity": _validity, "Behaviour": _behaviour, "Data": _data,
        "Training": _training, "Limitations": _limitations, "Environmental impact": _carbon,
        "Provenance": _provenance,
    }  # fmt: skip
    parts = [f"## {title}\n\n{section(record)}" for title, section in sections.items()]
    return "\n\n".join([f"---\n{_metadata(record)}\n---", _introduction(record), *parts]) + "\n"


def _metadata(record: Record) -> str:
    """The front matter, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    name, rate, [kwh, grams] = one_line(record["name"]), _rate_name(record), _footprint(record)
    datasets = [source for source in record["sources"] if HUB_ID.fullmatch(source)]
    is_one_dataset = len(datasets) == len(record["sources"]) == 1
    shared: dict[str, Any] = {
        "task_type": TASK, "task_name": "Automatic Speech Recognition", "dataset_name": name, "dataset_split": "test",
        "dataset_type": datasets[0] if is_one_dataset else name, "verified": False,
    }  # fmt: skip
    scores = [(rate, rate, "test_wer"), (f"{rate} as served, 8-bit", rate, "served_wer")]
    scores += [("CER", "CER", "test_cer")] * (rate == "WER")
    results = [
        EvalResult(metric_name=title, metric_type=kind.lower(), metric_value=round(record[key], 2), **shared)
        for title, kind, key in scores
    ]
    carbon = {
        "emissions": float(grams.replace(",", "")),
        "source": f"estimated: {kwh} kWh at {GRAMS_PER_KWH} g/kWh, the world's average in 2025 ({GRID_SOURCE})",
        "training_type": "fine-tuning" if record["base"] else "pre-training",
        "hardware_used": one_line(record["hardware"]),
    }
    return ModelCardData(
        language=record["language"], license=record["license"], library_name="transformers", pipeline_tag=TASK,
        tags=["whisper", "whisper-flow", TASK], datasets=datasets or None,
        metrics=["wer", "cer"] if rate == "WER" else ["cer"], model_name=name,
        base_model=None if record["base_is_local"] else record["base"], eval_results=results, co2_eq_emissions=carbon,
    ).to_yaml()  # fmt: skip


def _introduction(record: Record) -> str:
    origin = "trained from scratch"
    if record["base_is_local"]:
        origin = f"fine-tuned from {escape(record['base'])}, an earlier model of the same author,"
    elif record["base"]:
        origin = f"fine-tuned from {link(record['base'])}"
    warning = "".join(f"\n> - {escape(fault)}" for fault in record["forced"])
    if warning:
        warning = f"> **This model failed its release checks and was pushed manually:**\n>{warning}\n\n"
    return f"""# {escape(record["name"])}

{warning}A Whisper model with {markdown.number(record["parameters"] / 1e6)} million parameters that transcribes
{_language_name(record)} speech, {origin} on {markdown.hours(record["split_hours"]["train"])} of it with whisper-flow.
On {record["clips"]:,} test clips its {_rate_name(record)} is {percent(record["test_wer"])} ({INTERVAL}
{interval(record["test_wer_ci"])}). The licence is {escape(record["license"])}."""


def _usage(record: Record) -> str:
    model, imports, served = "FOLDER", "", '"FOLDER/ct2-int8"'
    if record["repo_id"]:
        model, imports = record["repo_id"], "from huggingface_hub import snapshot_download\n"
        served = f'snapshot_download("{model}", allow_patterns="ct2-int8/*") + "/ct2-int8"'
    transformers = f"""python
from transformers import pipeline

print(pipeline("{TASK}", model="{model}")("speech.wav")["text"])"""
    engine = "With faster-whisper"
    engine_code = f"""python
from faster_whisper import WhisperModel
{imports}
model = WhisperModel({served})
print(*(part.text for part in model.transcribe("speech.wav", language="{record["language"]}")[0]))"""
    if (tokens := record["vocabulary"]) < FULL_VOCABULARY:
        engine = f"With the Space's engine (faster-whisper treats a model of {tokens:,} tokens as English-only)"
        engine_code = f"sh\nMODEL_ID={model} python space/transcriber.py speech.wav"
    whisper_cpp = {}
    if "ggml" in record.get("formats", ()):
        folder, download = "FOLDER", ""
        if record["repo_id"]:
            folder, download = ".", f"hf download {model} ggml/model-q5_0.bin --local-dir .\n"
        command = f"whisper-cli -m {folder}/ggml/model-q5_0.bin -l {record['language']} speech.wav"
        whisper_cpp["With whisper.cpp, which reads WAV, MP3, FLAC and Ogg"] = f"sh\n{download}{command}"
    examples = {
        "With transformers, which needs the program `ffmpeg` to read files": transformers,
        engine: engine_code,
        **whisper_cpp,
        "In the Space, a web page, from a copy of whisper-flow": f"sh\nMODEL_ID={model} python space/app.py",
    }
    parts = [f"{title}:\n\n```{code}\n```" for title, code in examples.items()]
    return "\n\n".join(parts if record["repo_id"] else ["`FOLDER` is the folder of this page.", *parts])


def _error_rates(record: Record) -> str:
    models = {
        "test_wer": "**this model**",
        "served_wer": "as served: CTranslate2, 8-bit",
        "baseline_wer": f"its base, {escape(record['base'])}",
        "orthographic_wer": "this model, with capitals and punctuation",
    }
    measured = [key for key in models if record[key] is not None]
    rows = ((models[key], percent(record[key]), interval(record[f"{key}_ci"])) for key in measured)
    base = "There is no base model to compare with."
    if comparison := record["against_baseline"]:
        is_significant = comparison["p"] < SIGNIFICANCE
        base = f"""The difference to the base is {comparison["difference"]:+.1f} points ({INTERVAL}
{comparison["low"]:+.1f} to {comparison["high"]:+.1f}). It is {"" if is_significant else "not "}statistically
significant (p = {comparison["p"]:.2g})."""
    scoring, language = record["scoring"], record["language"]
    rule = f"by whisper-flow's rule `{scoring}`, so these rates do not compare with those published elsewhere"
    if scoring in ("basic", "whisper"):
        rule = "after Whisper's basic normaliser: lower case, no punctuation"
    if scoring == "basic" and language in MARK_LANGUAGES | OPTIONAL_MARK_LANGUAGES:
        kept = "kept" if language in MARK_LANGUAGES else "dropped"
        rule += f""". But combining marks are {kept}, where that normaliser replaces
them by spaces, so these rates do not compare with those published under it"""
    name, unit = _rate_name(record), _rate_unit(record)
    cer = f""" The CER, of letters, is
{percent(record["test_cer"])} ({interval(record["test_cer_ci"])})."""
    if unit == "character":
        cer = f"""
It is used instead of a WER, since {_language_name(record)} has no spaces between words."""
    return f"""{table(("", name, INTERVAL), rows)}

{base}{_retained(record)}

The {name} is the share of wrong {unit}s: {percent(record["substitutions"])} substitutions,
{percent(record["deletions"])} deletions, {percent(record["insertions"])} insertions.{cer} Text is compared {rule}."""


def _retained(record: Record) -> str:
    """The error rates in retained languages, if there are any."""
    rows = []
    for language, wer in record.get("retained_wer", {}).items():
        comparison, clips = record["against_retained_baseline"][language], record["retained_clips"][language]
        bounds = f"{comparison['low']:+.1f} to {comparison['high']:+.1f}"
        difference = f"{comparison['difference']:+.1f} ({bounds}), p = {comparison['p']:.2g}"
        name = f"{RATES[rate_unit(language)]} in {_name_language(language)}, {markdown.count(clips, 'clip')}"
        rows.append((name, percent(wer), percent(record["retained_baseline_wer"][language]), difference))
    if not rows:
        return ""
    heads = ("", "this model", "its base", f"difference ({INTERVAL})")
    return f"\n\nLanguages that the model was to retain, in 8 bits on machines without a GPU:\n\n{table(heads, rows)}"


def _validity(record: Record) -> str:
    crossing, speakers = record["speakers_crossing"] if record["corpus_speakers"] else None, record["speakers"]
    of_speakers = markdown.count(speakers, "speaker") if speakers else "speakers"
    sample = f"the {of_speakers} of the test set"
    scope = f"The intervals hold for new clips of {sample}, not for new speakers."
    if record["test_wer_ci_unit"] == "speaker" and crossing == 0:
        scope = f"The intervals hold for new speakers: they are estimated from {sample}."
    verb = "is" if crossing == 1 else "are"
    splits = f"{markdown.count(crossing or 0, 'speaker')} of the corpus {verb} in several splits."
    if crossing == 0:
        splits = "No speaker is in two splits."
    elif crossing is None:
        splits = "Whether a speaker is in several splits is unknown."
    return f"""{scope} {splits} The test clips were not used for training, nor to choose the winner."""


def _behaviour(record: Record) -> str:
    language_share, timestamp_error = record["wrong_language"], record["timestamp_error"]
    trimmed, full, rate = record["trimmed_context_wer"], record["full_context_wer"], _rate_name(record)
    is_full = record["context"] == "full"
    rows = (
        ("words hallucinated in audio without speech", f"{record['invented_words_per_minute']:.1f} per minute"),
        ("clips with a repetition loop", percent(record["loops"])),
        ("clips in the wrong language", "not measured" if language_share is None else percent(language_share)),
        ("median timestamp error", "not measured" if timestamp_error is None else f"{timestamp_error:.2f} s"),
        (f"{rate} without padding{', as in the Space' * (not is_full)}", percent(trimmed)),
        (f"{rate} padded to 30 s, as in transformers and faster-whisper{' and the Space' * is_full}", percent(full)),
        *(
            (f"{rate} of {markdown.count(record['ggml_clips'], 'test clip')} in whisper.cpp, {kind}, padded to 30 s",
             percent(wer))
            for kind, wer in record.get("ggml_wer", {}).items()
        ),
        ("speed, times real time", markdown.number(1 / record["real_time_factor"])),
    )  # fmt: skip
    return f"""{table(("as served", ""), rows)}

Hallucinations were measured on three minutes of noise, hum and music, the effect of padding on the same
{markdown.count(record["context_clips"], "validation clip")}, and the speed on many clips at once with
{markdown.count(record["threads"], "CPU thread")}.{_robustness(record)}"""


def _robustness(record: Record) -> str:
    """Error rates with noise and reverberation; empty for a release too old to have them."""
    if "noisy_wer" not in record:
        return ""
    bounds, held_out = record["noisy_wer_ci"], "recorded, and held out of training"
    noise = held_out if record["noise_heard"] == "recordings" else "synthetic, white to brown"
    rooms = held_out if record["room_heard"] == "recordings" else "simulated"
    results = (
        ("as recorded", record["noisy_clean_wer"], record["noisy_clean_wer_ci"]),
        *((f"speech {decibels} dB over noise", wer, bounds[decibels]) for decibels, wer in record["noisy_wer"].items()),
        ("in a room", record["room_wer"], record["room_wer_ci"]),
    )
    heads = (f"{markdown.count(record['noisy_clips'], 'test clip')}, as served", _rate_name(record), INTERVAL)
    rows = ((name, percent(wer), interval(wer_bounds)) for name, wer, wer_bounds in results)
    return f"\n\n{table(heads, rows)}\n\nThe noise is {noise}; the rooms are {rooms}.{_hotwords(record)}"


def _hotwords(record: Record) -> str:
    """How well hotwords are recognised, if the profile lists some."""
    if not record.get("hotwords"):
        return ""
    heads = (
        f"{markdown.count(record['hotwords'], 'hotword')}, {record['hotwords_said']} occurrences", "recall", INTERVAL,
        "false alarms in 100 clips",
    )  # fmt: skip
    rows = (
        (title, percent(record[f"{name}_recall"]), interval(record[f"{name}_recall_ci"]),
         markdown.number(record[f"{name}_false_alarms"]))
        for title, name in (("without a hint", "hotword"), ("with the list as a hint", "hinted"))
    )  # fmt: skip
    return f"\n\n{table(heads, rows)}\n\nWith the hint its {_rate_name(record)} is {percent(record['hinted_wer'])}."


def _data(record: Record) -> str:
    wers = {source: percent(wer) for source, wer in record["wer_by_source"].items()}
    retained = {name: _name_language(language) for name, language in record.get("retained_sources", {}).items()}
    wers |= {name: f"in {language}, retained" for name, language in retained.items()}
    rows = (
        (link(name, "datasets/"), markdown.hours(hours), wers.get(name, "not tested"), escape(record["licences"][name]))
        for name, hours in record["sources"].items()
    )
    splits = [
        f"{split} {markdown.count(record['clips_of'][split], 'clip')}, {markdown.hours(hours)}"
        for split, hours in record["split_hours"].items()
    ]
    of_language = f" of {_language_name(record)}" if retained else ""
    count = record["corpus_speakers"]
    speakers = markdown.count(count, "speaker") if count else "unknown speakers"
    return f"""{table(("source", "hours", f"test {_rate_name(record)}", "licence"), rows)}

In total {markdown.hours(record["hours"])}{of_language} by {speakers}: {"; ".join(splits)}. The
fingerprint of the corpus is `{one_line(record["fingerprint"])}`."""


def _training(record: Record) -> str:
    rate = _rate_name(record)
    fixed_columns = ("trial", "validation_wer", "steps", "seconds", "stopped", "low", "high", "p")
    names = [name for name in record["leaderboard"][0] if name not in fixed_columns]
    rows = []
    for trial in record["leaderboard"]:
        wer = ("none", "")
        if trial["validation_wer"] is not None:
            wer = (percent(trial["validation_wer"]), interval((trial["low"], trial["high"])))
        values = (markdown.number(trial[name]) for name in names)
        rows.append((f"{trial['trial']}", *values, *wer, f"{trial['steps']:,}", trial["stopped"]))
    titles = (name.replace("_", " ") for name in names)
    heads = ("trial", *titles, f"validation {rate}", INTERVAL, "steps", "ended")
    hyperparameters = ", ".join(
        f"{name.replace('_', ' ')} {markdown.number(value)}" for name, value in record["hyperparameters"].items()
    )
    best = percent(record["leaderboard"][0]["validation_wer"])
    averaged = ""
    if share := record.get("base_share"):
        averaged = f"""

The released weights are an average: {share:.0%} base model and the rest winner, which retains more of the base's
knowledge."""
    return f"""The winner of {markdown.count(record["trials"], "trial")}, by its {rate} on validation, was trained for
{record["steps"]:,} steps with {hyperparameters}. All trials, the winner first:

{table(heads, rows)}{averaged}

![Validation {rate} over the winner's steps, with its {INTERVAL}: {best} at best]({CURVE_FILE})"""


def _limitations(record: Record) -> str:
    full, trimmed, language_share = (
        record[key] for key in ("full_context_wer", "trimmed_context_wer", "wrong_language")
    )
    hallucinated, rate = record["invented_words_per_minute"], _rate_name(record)
    language, train_hours = _language_name(record), markdown.hours(record["split_hours"]["train"])
    limitations = (
        (set(record["sources"]) == {"sample"},
         "It was trained on synthetic speech by espeak-ng only: its error rates do not apply to human speech."),
        (record["base"] is None, f"It was trained from scratch on only {train_hours} of {language}."),
        (not record["speakers"], "The speakers are unknown, so its error rates do not apply to new speakers."),
        (0 < record["speakers"] < MIN_SPEAKERS,
         f"It was tested on {markdown.count(record['speakers'], 'speaker')}, too few to generalise to others."),
        (record["speakers_crossing"], "Some speakers may be in both the training and the test set."),
        (hallucinated >= 0.05, f"It hallucinates {hallucinated:.1f} words per minute in audio without speech."),
        (record["loops"] > 0, f"It repeats a phrase in a loop in {percent(record['loops'])} of the clips."),
        (language_share, f"It writes the wrong language in {percent(language_share or 0)} of the clips."),
        (abs(full - trimmed) >= NOTABLE_DIFFERENCE,
         f"Its {rate} depends on padding: {percent(trimmed)} without, {percent(full)} padded to 30 s."),
        (record["timestamp_error"] is None, "The accuracy of its timestamps was not measured."),
        (True, "Dialects, noises and topics that are not in the test clips were not measured."),
    )  # fmt: skip
    return "\n".join(f"- {text}" for applies, text in limitations if applies)


def _carbon(record: Record) -> str:
    kwh, grams = _footprint(record)
    trial_hours = markdown.number(record["training_seconds"] / 3600)
    return f"""All trials together took {trial_hours} h on {escape(record["hardware"])}.
At a constant {record["watts"]:,} W that is {kwh} kWh; at {GRAMS_PER_KWH} g per kWh, the world's average in 2025
([Ember]({GRID_SOURCE})), it is {grams} g of CO2 equivalents. The power and the place are assumed, not measured. Trials
that shared a machine are each counted as if alone; steps other than training are not included."""


def _footprint(record: Record) -> tuple[str, str]:
    """The energy of all trials in kWh, and their emissions in grams of CO2 equivalents."""
    kwh = record["training_seconds"] / 3600 * record["watts"] / 1000
    return markdown.number(kwh), markdown.number(kwh * GRAMS_PER_KWH)


def _provenance(record: Record) -> str:
    created = record["created"][:16].replace("T", " ")
    return f"""Run {escape(record["run_id"])} of {escape(record["program"])}, {created} UTC. `release.json` has the
numbers of this page, in format {record["format"]}."""


def _rate_unit(record: Record) -> str:
    return str(record.get("unit", "word"))  # older releases have no unit, and counted words


def _rate_name(record: Record) -> str:
    return RATES[_rate_unit(record)]


def _language_name(record: Record) -> str:
    return _name_language(record["language"])


def _name_language(language: str) -> str:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return str(LANGUAGES.get(language, language)).title()
