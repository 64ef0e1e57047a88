"""The embedded sample: small, with separate splits, and reproducible by its script."""

import csv
import io
import shutil
import subprocess
import tomllib
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sample import make

SAMPLE = Path(make.__file__).parent
VERSION = "1.51"  # of espeak-ng, which made the committed files
SPLITS = ("train", "validation", "test")


def reason_to_skip():
    """Why the sample cannot be reproduced here, or an empty text."""
    if not shutil.which("espeak-ng"):
        return "espeak-ng is not installed"
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True).stdout
    return "" if f": {VERSION} " in version else f"made with espeak-ng {VERSION}, here is {version.strip()}"


@pytest.fixture(scope="module")
def rows():
    """Every row of the metadata as a dict, with its split."""
    rows = []
    for split in SPLITS:
        with (SAMPLE / split / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows += [{**row, "split": split} for row in csv.DictReader(file)]
    return rows


def normalize(text):
    return "".join(character for character in text.lower() if character.isalnum() or character == " ")


def values_by_split(rows, value):
    return {split: {value(row) for row in rows if row["split"] == split} for split in SPLITS}


def test_no_two_splits_share_a_sentence(rows):
    sentences = values_by_split(rows, lambda row: normalize(row["transcription"]))
    assert [first & second for first, second in combinations(sentences.values(), 2)] == [set()] * 3


def test_no_two_splits_share_a_voice(rows):
    voices = values_by_split(rows, lambda row: row["speaker_id"].lower())
    assert [first & second for first, second in combinations(voices.values(), 2)] == [set()] * 3


def test_every_split_has_enough_voices(rows):
    voices = values_by_split(rows, lambda row: row["speaker_id"])
    assert len(set.union(*voices.values())) >= 40
    assert min(len(voices["validation"]), len(voices["test"])) >= 3


def test_voices_of_a_split_have_equally_many_clips(rows):
    for split in SPLITS:
        counts = Counter(row["speaker_id"] for row in rows if row["split"] == split)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_the_number_and_duration_of_clips_are_in_range(rows):
    assert 1_300 <= len(rows) <= 2_000
    durations = {}
    for row in rows:
        info = soundfile.info(SAMPLE / row["split"] / row["file_name"])
        assert (info.format, info.channels) == ("OGG", 1)
        durations[row["file_name"]] = info.frames / info.samplerate
    assert {name: seconds for name, seconds in durations.items() if not 1.5 <= seconds <= 5} == {}


def test_the_metadata_lists_exactly_the_sound_files(rows):
    for split in SPLITS:
        listed = [row["file_name"] for row in rows if row["split"] == split]
        assert sorted(listed) == sorted(path.name for path in (SAMPLE / split).glob("*.ogg"))


def test_the_sample_is_small_enough_to_commit():
    size = sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert size <= 8 * 1024**2


def test_sentences_are_swedish_and_everyday(rows):
    texts = [row["transcription"] for row in rows]
    for letter in "åäö":
        assert sum(letter in text.lower() for text in texts) > len(texts) / 10
    assert {text[-1] for text in texts} == {".", "?"}
    assert not any(digit in text for text in texts for digit in "0123456789")
    assert all(text[0].isupper() and 3 <= len(text.split()) <= 12 for text in texts)


def test_the_sample_has_a_licence_file():
    names = [path.name for path in SAMPLE.iterdir() if path.is_file()]
    assert [name for name in names if name.upper().startswith("LICEN")] != []


def test_the_script_writes_the_committed_sentences(rows):
    written = [(line.split, line.file_name, line.text, line.voice) for line in make.script()]
    assert written == [(row["split"], row["file_name"], row["transcription"], row["speaker_id"]) for row in rows]


@pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "not skipped")
def test_the_script_reproduces_the_committed_sound():
    lines = list(make.script())
    for line in lines[:: len(lines) // 5][:5]:
        encoded = make.encode(make.speak(line))
        committed = (SAMPLE / line.split / line.file_name).read_bytes()
        if encoded == committed:
            continue
        new_samples, committed_samples = (
            soundfile.read(io.BytesIO(content), dtype="float32")[0] for content in (encoded, committed)
        )
        assert len(new_samples) == pytest.approx(len(committed_samples), abs=160), line.file_name
        length = min(len(new_samples), len(committed_samples))
        assert np.corrcoef(new_samples[:length], committed_samples[:length])[0, 1] > 0.99, line.file_name


@pytest.mark.parametrize(("number", "word"), [(0, "noll"), (19, "nitton"), (20, "tjugo"), (21, "tjugoett")])
def test_numbers_are_spelled_out(number, word):
    assert make.number(number) == word


def test_all_numbers_below_a_hundred_differ():
    assert len({make.number(number) for number in range(100)}) == 100


def test_the_sample_profile_uses_the_sample():
    profile = tomllib.loads((SAMPLE.parent / "profiles" / "sample.toml").read_text(encoding="utf-8"))
    assert (profile["name"], profile["corpus"]["source"], profile["corpus"]["language"]) == ("sample", "sample", "sv")
