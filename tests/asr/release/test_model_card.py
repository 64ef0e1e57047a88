"""The model card: its metadata and its text, with any names."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from asr.release import model_card, training_curve
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image


def trial(number, wer, stopped="finished", steps=1000, **hyperparameters):
    """A row of the leaderboard; the WER of a diverged trial is None."""
    low, high = (None, None) if wer is None else (0.8 * wer, 1.2 * wer)
    row = {"trial": number, "learning_rate": 0.004, "weight_decay": 0.1, **hyperparameters, "validation_wer": wer}
    return {**row, "steps": steps, "seconds": 216.0, "stopped": stopped, "low": low, "high": high, "p": None}


def point(step, wer):
    return {
        "step": step,
        "loss": 0.4,
        "validation_loss": 0.5,
        "validation_wer": wer,
        "low": 0.8 * wer,
        "high": 1.2 * wer,
    }


# Trained from scratch, on the sample.
RECORD = {
    "name": "svenska", "run_id": "1795587941339144", "created": "2026-11-22T18:20:00+00:00",
    "program": "whisper-flow 0.1.0+abc", "format": 2, "language": "sv", "scoring": "basic", "context": "trimmed",
    "base": None, "base_is_local": False, "license": "apache-2.0", "repo_id": None, "parameters": 1_234_567,
    "vocabulary": 2_008, "hours": 1.09, "clips_of": {"train": 1404, "validation": 120, "test": 216},
    "split_hours": {"train": 0.88, "validation": 0.07, "test": 0.14}, "corpus_speakers": 73,
    "sources": {"sample": 1.09}, "licences": {"sample": "CC0-1.0"}, "fingerprint": "0123456789abcdef",
    "speakers_crossing": 0, "trials": 2, "steps": 1000,
    "hyperparameters": {"learning_rate": 0.004, "weight_decay": 0.1}, "leaderboard": [trial(1, 2.8), trial(0, 6.7)],
    "curve": [point(333, 38.2), point(667, 9.4), point(1000, 2.8)], "hardware": "2 CPU cores", "watts": 20,
    "training_seconds": 900.0, "forced": [], "test_wer": 8.236, "test_wer_ci": [6.9, 9.8], "test_wer_ci_unit": "clip",
    "test_cer": 3.141, "test_cer_ci": [2.2, 4.1], "served_wer": 8.4, "served_wer_ci": [7.0, 9.9], "baseline_wer": None,
    "baseline_wer_ci": None, "against_baseline": None, "orthographic_wer": 11.5, "orthographic_wer_ci": [9.7, 13.2],
    "substitutions": 5.0, "deletions": 2.1, "insertions": 1.1, "wer_by_source": {"sample": 8.236}, "loops": 0.5,
    "wrong_language": 0.0, "invented_words_per_minute": 22.4, "timestamp_error": None, "trimmed_context_wer": 8.1,
    "full_context_wer": 21.9, "context_clips": 100, "real_time_factor": 0.0125, "threads": 2, "clips": 216,
    "speakers": 9,
}  # fmt: skip
# Fine-tuned from a base of the Hub, for the Hub, tested by many speakers, without limitations.
FINE_TUNED = {
    **RECORD, "base": "KBLab/kb-whisper-tiny", "baseline_wer": 13.21, "baseline_wer_ci": [12.0, 14.5],
    "against_baseline": {"difference": -4.97, "low": -5.6, "high": -4.2, "p": 0.0005}, "repo_id": "asa/svenska",
    "vocabulary": 51_865, "speakers": 212, "test_wer_ci_unit": "speaker", "sources": {"KBLab/rixvox-v2": 300.0},
    "licences": {"KBLab/rixvox-v2": "CC-BY-4.0"}, "wer_by_source": {"KBLab/rixvox-v2": 8.236}, "loops": 0.0,
    "invented_words_per_minute": 0.0, "timestamp_error": 0.14, "full_context_wer": 8.0,
}  # fmt: skip
NOISY = {
    "noisy_clips": 100, "noisy_clean_wer": 8.1, "noisy_clean_wer_ci": [6.0, 10.4], "noise_heard": "recordings",
    "noisy_wer": {"20": 9.2, "10": 15.3, "5": 28.0, "0": 61.3},
    "noisy_wer_ci": {"20": [7.0, 11.4], "10": [12.0, 18.0], "5": [24.0, 32.0], "0": [55.0, 68.2]},
    "room_wer": 12.8, "room_wer_ci": [9.7, 16.4], "room_heard": "simulated",
}  # fmt: skip
HEADINGS = [
    "svenska", "Usage", "Error rates", "Validity", "Behaviour", "Data", "Training", "Limitations",
    "Environmental impact", "Provenance",
]  # fmt: skip
HOSTILE_NAMES = [
    "a | b", "two\nlines\n\n# and a heading", "key: value", "--- # no comment", "<script>alert(1)</script>",
    "<!-- hidden", "`code", "[link](http://example.com)", "*bold* _slanted_ ~gone~", "back\\slash\\", "&amp; &lt;",
    "1. one", "- item", "> quote", "{'yaml': [1, *a]}", "'single' \"double\"", "åäö 🎙", "%TAG ! x", "\x1b[31mred",
]  # fmt: skip


def metadata(text):
    """The metadata as the Hub reads them."""
    return ModelCard(text).data


def page_tokens(text):
    """The Markdown tokens of the page; none of them is HTML."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text.split("\n---\n", 1)[1])
    assert not [token for token in walk(tokens) if token.type.startswith("html")]
    return tokens


def walk(tokens):
    for token in tokens:
        yield token
        yield from token.children or ()


def plain_text(token):
    """The text of a line, without markup."""
    return "".join("\n" if child.type == "softbreak" else child.content for child in token.children)


def headings(text):
    tokens = page_tokens(text)
    return [plain_text(tokens[at + 1]) for at, token in enumerate(tokens) if token.type == "heading_open"]


def section(text, heading):
    """The tokens below a heading."""
    tokens = page_tokens(text)
    starts = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        if plain_text(tokens[start + 1]) == heading:
            return tokens[start + 3 : end]
    raise AssertionError(f"no {heading}")


def section_text(text, heading):
    """The text below a heading, on one line."""
    lines = " ".join(plain_text(token) for token in section(text, heading) if token.type == "inline")
    return re.sub(r"\s+", " ", lines)


def rows(text, heading):
    """The rows of the table below a heading, with the header first."""
    lines = []
    for token in section(text, heading):
        if token.type == "tr_open":
            lines.append([])
        elif token.type == "inline" and token.level == 4 and lines:
            lines[-1].append(plain_text(token).replace("\u00a0", " "))
    return lines


def test_the_hub_reads_every_score_from_the_card(tmp_path):
    (tmp_path / "README.md").write_text(model_card.render_card(RECORD), encoding="utf-8")
    results = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert [(result.metric_type, result.metric_name, result.metric_value) for result in results] == [
        ("wer", "WER", 8.24), ("wer", "WER as served, 8-bit", 8.4), ("cer", "CER", 3.14),
    ]  # fmt: skip
    assert {(result.task_type, result.dataset_name, result.dataset_split, result.verified) for result in results} == {
        ("automatic-speech-recognition", "svenska", "test", False)
    }


def test_the_card_of_a_language_without_spaces_reports_a_cer():
    text = model_card.render_card(
        {**FINE_TUNED, "language": "ja", "unit": "character", "test_cer": FINE_TUNED["test_wer"]}
    )
    data = metadata(text)
    assert [(result.metric_type, result.metric_name, result.metric_value) for result in data.eval_results] == [
        ("cer", "CER", 8.24), ("cer", "CER as served, 8-bit", 8.4),
    ]  # fmt: skip
    assert data.metrics == ["cer"]
    assert "On 216 test clips its CER is 8.2" in section_text(text, "svenska").replace("\u00a0", " ")
    assert "Japanese has no spaces between words" in section_text(text, "Error rates")
    assert not re.findall(r"\bWER\b", text.replace("instead of a WER", ""))


def test_the_hub_reads_what_the_model_is():
    data = metadata(model_card.render_card({**RECORD, "license": "cc-by-4.0"}))
    assert (data.language, data.license, data.model_name) == ("sv", "cc-by-4.0", "svenska")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "automatic-speech-recognition")
    assert {"whisper", "whisper-flow", "automatic-speech-recognition"} <= set(data.tags)
    assert data.metrics == ["wer", "cer"]


def test_a_base_and_a_dataset_of_the_hub_are_metadata_and_links():
    text = model_card.render_card({**FINE_TUNED, "sources": {"KBLab/rixvox-v2": 300.0, "our-own": 2.0},
                      "licences": {"KBLab/rixvox-v2": "CC-BY-4.0", "our-own": "not stated"}})  # fmt: skip
    data = metadata(text)
    assert (data.base_model, data.datasets) == ("KBLab/kb-whisper-tiny", ["KBLab/rixvox-v2"])
    links = {token.attrs["href"] for token in walk(page_tokens(text)) if token.type == "link_open"}
    assert {"https://huggingface.co/KBLab/kb-whisper-tiny", "https://huggingface.co/datasets/KBLab/rixvox-v2"} < links


def test_the_scores_name_the_dataset_if_there_is_only_one():
    assert {result.dataset_type for result in metadata(model_card.render_card(FINE_TUNED)).eval_results} == {
        "KBLab/rixvox-v2"
    }
    assert {result.dataset_type for result in metadata(model_card.render_card(RECORD)).eval_results} == {"svenska"}


def test_a_local_base_or_dataset_is_not_in_the_metadata():
    text = model_card.render_card({**FINE_TUNED, "base": "sample-17", "base_is_local": True, "sources": {"sample": 1.0},
                      "licences": {"sample": "CC0-1.0"}})  # fmt: skip
    data = metadata(text)
    assert (data.base_model, data.datasets) == (None, None)
    assert "sample-17" in section_text(text, "svenska")
    assert "huggingface.co/sample" not in text


def test_an_average_with_the_base_is_called_one():
    assert "are an average" not in model_card.render_card({**FINE_TUNED, "base_share": 0.0})
    assert "an average: 20% base model" in model_card.render_card({**FINE_TUNED, "base_share": 0.2})


def test_the_card_has_all_sections_in_order():
    assert headings(model_card.render_card(RECORD)) == HEADINGS
    assert headings(model_card.render_card(FINE_TUNED)) == HEADINGS


def test_the_card_is_the_same_from_the_record_in_json():
    assert model_card.render_card(json.loads(json.dumps(FINE_TUNED))) == model_card.render_card(FINE_TUNED)


@pytest.mark.parametrize("hostile", HOSTILE_NAMES)
def test_names_from_outside_break_neither_the_page_nor_the_metadata(hostile):
    record = {
        **FINE_TUNED, "name": hostile, "sources": {hostile: 3.0, "other": 1.0},
        "licences": {hostile: hostile, "other": hostile}, "wer_by_source": {hostile: 9.0}, "base": hostile,
        "base_is_local": True, "program": hostile, "hardware": hostile, "forced": [hostile, "another"],
        "run_id": hostile,
    }  # fmt: skip
    name, text = " ".join(hostile.split()), model_card.render_card(record)
    assert headings(text) == [name, *HEADINGS[1:]]
    assert rows(text, "Data")[1:] == [[name, "3.00 h", "9.0 %", name], ["other", "1.00 h", "not tested", name]]
    assert rows(text, "Error rates")[3] == [f"its base, {name}", "13.2 %", "12.0 to 14.5"]
    assert [len(row) for row in rows(text, "Training")] == [7, 7, 7]
    list_items = [item.type for item in section(text, name)].count("list_item_open")
    assert list_items == 2
    assert all(name in section_text(text, heading) for heading in (name, "Environmental impact", "Provenance"))
    data = metadata(text)
    assert (data.model_name, data.co2_eq_emissions["hardware_used"]) == (name, name)
    assert {item.dataset_name for item in data.eval_results} == {name}


def test_a_model_trained_from_scratch_has_no_base_in_its_table():
    text = model_card.render_card(RECORD)
    assert rows(text, "Error rates") == [
        ["", "WER", "95 % interval"],
        ["this model", "8.2 %", "6.9 to 9.8"],
        ["as served: CTranslate2, 8-bit", "8.4 %", "7.0 to 9.9"],
        ["this model, with capitals and punctuation", "11.5 %", "9.7 to 13.2"],
    ]
    assert "no base model to compare with" in section_text(text, "Error rates")
    assert "trained from scratch on 0.88 h" in section_text(text, "svenska")


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [(-4.97, 0.0005, "It is statistically significant (p = 0.0005)"), (0.2, 0.41, "not statistically significant")],
)
def test_a_base_is_compared_with_the_model_and_its_significance_is_reported(difference, p, expected):
    comparison = {"difference": difference, "low": difference - 1, "high": difference + 1, "p": p}
    text = model_card.render_card({**FINE_TUNED, "against_baseline": comparison})
    assert ["its base, KBLab/kb-whisper-tiny", "13.2 %", "12.0 to 14.5"] in rows(text, "Error rates")
    assert expected in section_text(text, "Error rates")
    assert f"{difference:+.1f} points" in section_text(text, "Error rates")


@pytest.mark.parametrize(
    ("rule", "language", "expected"),
    [
        ("basic", "sv", "basic normaliser: lower case, no punctuation."),
        ("whisper", "hi", "basic normaliser: lower case, no punctuation."),
        (
            "basic",
            "hi",
            "combining marks are kept, where that normaliser replaces them by spaces, so these rates do not compare",
        ),
        ("basic", "ar", "combining marks are dropped"),
        ("lenient", "sv", "these rates do not compare"),
        ("verbatim", "sv", "rule verbatim, so these rates do not compare"),
    ],
)
def test_the_card_says_what_counts_as_the_same_word(rule, language, expected):
    text = model_card.render_card({**RECORD, "scoring": rule, "language": language})
    assert expected in section_text(text, "Error rates")


def test_a_forced_release_begins_with_a_warning():
    faults = ["its WER of 13.5 % is not below its base's 13.2 %", "its times are 0.90 s off"]
    text = model_card.render_card({**FINE_TUNED, "forced": faults})
    tokens = section(text, "svenska")
    assert tokens[0].type == "blockquote_open"
    warning = [
        plain_text(token)
        for token in tokens[: [token.type for token in tokens].index("blockquote_close")]
        if token.children
    ]
    assert "failed its release checks" in warning[0]
    assert "pushed manually" in warning[0]
    assert warning[1:] == faults
    assert section(model_card.render_card(FINE_TUNED), "svenska")[0].type == "paragraph_open"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "hold for new speakers: they are estimated from the 212 speakers"),
        ({}, "No speaker is in two splits"),
        ({"test_wer_ci_unit": "clip", "speakers": 9}, "clips of the 9 speakers of the test set, not for new speakers"),
        ({"speakers_crossing": 1}, "not for new speakers. 1 speaker of the corpus is in several splits"),
        ({"speakers_crossing": None}, "not for new speakers. Whether a speaker is in several splits is unknown"),
        ({"test_wer_ci_unit": "clip", "speakers": 0, "corpus_speakers": 0}, "several splits is unknown"),
    ],
)
def test_the_card_says_which_speakers_the_figures_apply_to(changes, expected):
    assert expected in section_text(model_card.render_card({**FINE_TUNED, **changes}), "Validity")


def test_a_missing_value_is_reported_as_not_measured():
    behaviour = dict(rows(model_card.render_card({**RECORD, "wrong_language": None}), "Behaviour"))
    assert behaviour["clips in the wrong language"] == "not measured"
    assert behaviour["median timestamp error"] == "not measured"
    assert behaviour["words hallucinated in audio without speech"] == "22.4 per minute"
    assert behaviour["WER padded to 30 s, as in transformers and faster-whisper"] == "21.9 %"
    assert behaviour["speed, times real time"] == "80"


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"sources": {"sample": 1.0}, "licences": {"sample": "CC0-1.0"}}, "synthetic speech"),
        ({"base": None, "baseline_wer": None, "against_baseline": None}, "on only 0.88 h of Swedish"),
        ({"speakers": 19}, "tested on 19 speakers, too few"),
        ({"speakers": 0}, "The speakers are unknown"),
        ({"speakers_crossing": 2}, "in both the training and the test set"),
        ({"invented_words_per_minute": 1.6}, "hallucinates 1.6 words per minute"),
        ({"loops": 0.5}, "in a loop in 0.5 %"),
        ({"wrong_language": 1.5}, "wrong language in 1.5 %"),
        ({"full_context_wer": 21.9}, "8.1 % without, 21.9 % padded to 30 s"),
        ({"timestamp_error": None}, "was not measured"),
    ],
)
def test_a_limitation_is_reported_if_the_record_shows_it(changes, limit):
    always = "Dialects, noises and topics that are not in the test clips were not measured."
    assert section_text(model_card.render_card(FINE_TUNED), "Limitations") == always
    tokens = section(model_card.render_card({**FINE_TUNED, **changes}), "Limitations")
    lines = [plain_text(token).replace("\u00a0", " ") for token in tokens if token.type == "inline"]
    assert len(lines) == 2
    assert limit in lines[0]


def test_all_trials_are_in_a_table_with_the_winner_first():
    board = [trial(2, 8.1, batch_size=1024, warmup=0.1), trial(0, 9.0, "plateau", 600, batch_size=16, warmup=0.05)]
    text = model_card.render_card(
        {**RECORD, "leaderboard": board, "hyperparameters": {"learning_rate": 2.3456e-5}, "trials": 2}
    )
    assert rows(text, "Training") == [
        ["trial", "learning rate", "weight decay", "batch size", "warmup", "validation WER", "95 % interval", "steps",
         "ended"],
        ["2", "0.004", "0.1", "1,024", "0.1", "8.1 %", "6.5 to 9.7", "1,000", "finished"],
        ["0", "0.004", "0.1", "16", "0.05", "9.0 %", "7.2 to 10.8", "600", "plateau"],
    ]  # fmt: skip
    assert "1,000 steps with learning rate 2.35e-05" in section_text(text, "Training")


def test_a_trial_that_diverged_has_no_wer_in_the_table():
    text = model_card.render_card({**RECORD, "leaderboard": [trial(1, 2.8), trial(0, None, "diverged", 80)]})
    assert rows(text, "Training")[2] == ["0", "0.004", "0.1", "none", "", "80", "diverged"]


def test_the_picture_of_the_training_is_in_the_card():
    [picture] = [token for token in walk(section(model_card.render_card(RECORD), "Training")) if token.type == "image"]
    assert picture.attrs["src"] == "training.png"
    assert "2.8" in picture.content


def test_emissions_are_computed_from_hours_and_watts():
    """900 s at 20 W are 0.005 kWh; at 458 g a kWh that is 2.29 g."""
    text = model_card.render_card(RECORD)
    assert all(
        figure in section_text(text, "Environmental impact")
        for figure in ("0.25 h", "20 W", "0.005 kWh", "458 g", "2.29 g")
    )
    assert "assumed, not measured" in section_text(text, "Environmental impact")
    carbon = metadata(text).co2_eq_emissions
    assert carbon["emissions"] == 2.29
    assert (carbon["training_type"], carbon["hardware_used"]) == ("pre-training", "2 CPU cores")
    assert "458 g/kWh" in carbon["source"]
    large = metadata(model_card.render_card({**FINE_TUNED, "watts": 4_000, "training_seconds": 3.6e6})).co2_eq_emissions
    assert (large["emissions"], large["training_type"]) == (1_830_000, "fine-tuning")


def code_blocks(text):
    """The code blocks below "Usage": language and content."""
    return [(token.info, token.content) for token in section(text, "Usage") if token.type == "fence"]


def test_a_model_on_the_hub_is_used_by_its_name_in_three_ways():
    (kind, transformers), (_, faster), (shell, space) = code_blocks(model_card.render_card(FINE_TUNED))
    assert (kind, shell, space) == ("python", "sh", "MODEL_ID=asa/svenska python space/app.py\n")
    for code in (transformers, faster):
        compile(code, "card", "exec")
        assert '"asa/svenska"' in code
        assert len(code.split("\n")) <= 6
    assert "ct2-int8" in faster
    assert 'language="sv"' in faster


def test_a_model_with_a_small_vocabulary_is_used_with_the_engine():
    text = model_card.render_card(RECORD)
    assert "faster_whisper" not in text
    assert ("sh", "MODEL_ID=FOLDER python space/transcriber.py speech.wav\n") in code_blocks(text)
    assert "2,008 tokens" in section_text(text, "Usage")
    assert "faster_whisper" in model_card.render_card({**RECORD, "vocabulary": 51_865})


def test_a_release_for_whisper_cpp_gives_its_command_and_its_wer():
    record = {**RECORD, "formats": ["ct2-int8", "ggml"], "ggml_clips": 50, "ggml_wer": {"f16": 8.1, "q5_0": 8.4}}
    text = model_card.render_card(record)
    assert ("sh", "whisper-cli -m FOLDER/ggml/model-q5_0.bin -l sv speech.wav\n") in code_blocks(text)
    assert "WER of 50 test clips in whisper.cpp, q5_0, padded to 30 s | 8.4\u00a0% |" in text
    hub = model_card.render_card({**record, "repo_id": "me/swedish"})
    assert "hf download me/swedish ggml/model-q5_0.bin --local-dir .\nwhisper-cli -m ./ggml/model-q5_0.bin" in hub
    assert "whisper.cpp" not in model_card.render_card(RECORD)


def test_the_code_for_transformers_runs(base, tone, capsys, tmp_path):
    # Random weights generate without end, which takes a minute with five beams.
    short_model = shutil.copytree(base, tmp_path / "brief")
    generation_config = json.loads((short_model / "generation_config.json").read_text(encoding="utf-8"))
    (short_model / "generation_config.json").write_text(
        json.dumps({**generation_config, "max_length": 30}), encoding="utf-8"
    )
    code = code_blocks(model_card.render_card(RECORD))[0][1].replace("FOLDER", str(short_model))
    exec(code.replace('"speech.wav"', "sound"), {"sound": tone(seconds=0.5)})  # reading a file needs ffmpeg
    assert capsys.readouterr().out.endswith("\n")


def test_the_code_for_faster_whisper_calls_it_correctly(monkeypatch, capsys):
    import faster_whisper
    import huggingface_hub

    calls = []

    class Model:
        def __init__(self, folder):
            calls.append(folder)

        def transcribe(self, file, language):
            calls.append((file, language))
            return iter([type("Segment", (), {"text": " hej"})]), None

    monkeypatch.setattr(faster_whisper, "WhisperModel", Model)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: f"/cache/{name}")
    exec(code_blocks(model_card.render_card(FINE_TUNED))[1][1], {})
    exec(code_blocks(model_card.render_card({**FINE_TUNED, "repo_id": None}))[1][1], {})
    transcribe_call = ("speech.wav", "sv")
    assert calls == ["/cache/asa/svenska/ct2-int8", transcribe_call, "FOLDER/ct2-int8", transcribe_call]
    assert capsys.readouterr().out == " hej\n" * 2


def test_the_card_reports_the_provenance_of_the_model():
    text = section_text(model_card.render_card(RECORD), "Provenance")
    assert all(
        part in text for part in ("1795587941339144", "whisper-flow 0.1.0+abc", "2026-11-22 18:20 UTC", "format 2")
    )
    assert "0123456789abcdef" in section_text(model_card.render_card(RECORD), "Data")


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_the_picture_is_readable_on_any_background():
    """Dark text and a blue line on a white background."""
    image = pixels(training_curve.render_curve(RECORD))
    assert image.shape == (600, 1280, 3)
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert Image.open(io.BytesIO(training_curve.render_curve(RECORD))).convert("RGBA").getextrema()[3] == (255, 255)
    assert (image.max(axis=2) < 100).sum() > 50  # the text of the best WER
    assert ((image[..., 2] - image[..., 0]) > 150).sum() > 1_000  # the line


def test_the_picture_shows_the_wer_and_its_interval():
    wide = [{**point(step, 20.0), "low": 1.0, "high": 39.0} for step in (100, 200)]
    tight = [{**point(step, 20.0), "low": 19.0, "high": 39.0} for step in (100, 200)]
    coloured = [
        int((pixels(training_curve.render_curve({**RECORD, "curve": curve})).min(axis=2) < 250).sum())
        for curve in (wide, tight)
    ]
    assert coloured[0] > 1.3 * coloured[1]
    assert training_curve.render_curve({**RECORD, "curve": wide}) != training_curve.render_curve(RECORD)


@pytest.mark.parametrize(
    "points",
    [[], [point(40, 120.0)], [point(20, 50.0), {**point(40, 0.0), "validation_wer": None, "low": None, "high": None}]],
    ids=["none", "one", "one that broke off"],
)
def test_a_short_training_has_a_picture(points):
    assert pixels(training_curve.render_curve({**RECORD, "curve": points})).shape == (600, 1280, 3)


def test_the_picture_and_the_card_are_the_same_in_every_process():
    code = (
        "import hashlib, json, sys; from asr.release import model_card, training_curve; record = json.load(sys.stdin)\n"
        "contents = training_curve.render_curve(record), model_card.render_card(record).encode()\n"
        "print(*(hashlib.sha256(content).hexdigest() for content in contents))"
    )
    flows = Path(model_card.__file__).parents[2]
    hashes = [
        subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(RECORD), capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(flows), "PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]  # fmt: skip
    expected = [
        hashlib.sha256(content).hexdigest()
        for content in (training_curve.render_curve(RECORD), model_card.render_card(RECORD).encode())
    ]
    assert hashes == [expected, expected]


def test_error_rates_in_noise_and_in_a_room_are_reported_if_measured():
    text = model_card.render_card({**RECORD, **NOISY})
    behaviour = {line[0]: line[1:] for line in rows(text, "Behaviour")}
    assert behaviour["100 test clips, as served"] == ["WER", "95 % interval"]
    assert behaviour["as recorded"] == ["8.1 %", "6.0 to 10.4"]
    assert behaviour["speech 5 dB over noise"] == ["28.0 %", "24.0 to 32.0"]
    assert behaviour["in a room"] == ["12.8 %", "9.7 to 16.4"]
    description = section_text(text, "Behaviour")
    assert "The noise is recorded, and held out of training; the rooms are simulated." in description
    assert "over noise" not in section_text(model_card.render_card(RECORD), "Behaviour")
