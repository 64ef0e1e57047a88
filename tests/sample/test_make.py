"""The embedded sample: small, honest in its splits, and made anew by its script."""

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
VERSION = "1.51"  # of espeak-ng: it made the committed files
SPLITS = ("train", "validation", "test")


def espeak():
    """Why the sample cannot be made anew here, or nothing."""
    if not shutil.which("espeak-ng"):
        return "espeak-ng is not installed"
    told = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True).stdout
    return "" if f": {VERSION} " in told else f"espeak-ng {VERSION} made the sample; here is {told.strip()}"


@pytest.fixture(scope="module")
def rows():
    """Every row of the metadata as a dict, with its split."""
    found = []
    for split in SPLITS:
        with (SAMPLE / split / "metadata.csv").open(encoding="utf-8", newline="") as file:
            found += [{**row, "split": split} for row in csv.DictReader(file)]
    return found


def words(text):
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ")


def by_split(rows, value):
    return {split: {value(row) for row in rows if row["split"] == split} for split in SPLITS}


def test_no_two_splits_share_a_sentence(rows):
    said = by_split(rows, lambda row: words(row["transcription"]))
    assert [one & other for one, other in combinations(said.values(), 2)] == [set()] * 3


def test_no_two_splits_share_a_voice(rows):
    voices = by_split(rows, lambda row: row["speaker_id"].lower())
    assert [one & other for one, other in combinations(voices.values(), 2)] == [set()] * 3


def test_there_are_voices_enough_on_every_side(rows):
    voices = by_split(rows, lambda row: row["speaker_id"])
    assert len(set.union(*voices.values())) >= 40
    assert min(len(voices["validation"]), len(voices["test"])) >= 3


def test_every_voice_says_about_as_much_as_the_others(rows):
    for split in SPLITS:
        counts = Counter(row["speaker_id"] for row in rows if row["split"] == split)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_clips_are_as_many_and_as_long_as_promised(rows):
    assert 1_300 <= len(rows) <= 2_000
    lengths = {}
    for row in rows:
        about = soundfile.info(SAMPLE / row["split"] / row["file_name"])
        assert (about.format, about.channels) == ("OGG", 1)
        lengths[row["file_name"]] = about.frames / about.samplerate
    assert {name: seconds for name, seconds in lengths.items() if not 1.5 <= seconds <= 5} == {}


def test_metadata_and_sound_files_are_the_same_clips(rows):
    for split in SPLITS:
        listed = [row["file_name"] for row in rows if row["split"] == split]
        assert sorted(listed) == sorted(path.name for path in (SAMPLE / split).glob("*.ogg"))


def test_the_sample_is_small_enough_to_commit():
    size = sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert size <= 8 * 1024**2


def test_sentences_are_swedish_and_everyday(rows):
    said = [row["transcription"] for row in rows]
    for letter in "åäö":
        assert sum(letter in text.lower() for text in said) > len(said) / 10
    assert {text[-1] for text in said} == {".", "?"}
    assert not any(figure in text for text in said for figure in "0123456789")
    assert all(text[0].isupper() and 3 <= len(text.split()) <= 12 for text in said)


def test_the_licence_of_the_sample_stands_beside_it():
    beside = [path.name for path in SAMPLE.iterdir() if path.is_file()]
    assert [name for name in beside if name.upper().startswith("LICEN")] != []


def test_the_script_writes_the_committed_sentences(rows):
    written = [(line.split, line.file_name, line.text, line.voice) for line in make.script()]
    assert written == [(row["split"], row["file_name"], row["transcription"], row["speaker_id"]) for row in rows]


@pytest.mark.skipif(bool(espeak()), reason=espeak() or "espeak-ng is here")
def test_the_script_makes_the_committed_sound():
    lines = list(make.script())
    for line in lines[:: len(lines) // 5][:5]:
        made = make.encode(make.speak(line))
        committed = (SAMPLE / line.split / line.file_name).read_bytes()
        if made == committed:
            continue
        ours, theirs = (soundfile.read(io.BytesIO(blob), dtype="float32")[0] for blob in (made, committed))
        assert len(ours) == pytest.approx(len(theirs), abs=160), line.file_name
        shortest = min(len(ours), len(theirs))
        assert np.corrcoef(ours[:shortest], theirs[:shortest])[0, 1] > 0.99, line.file_name


@pytest.mark.parametrize(("figure", "word"), [(0, "noll"), (19, "nitton"), (20, "tjugo"), (21, "tjugoett")])
def test_numbers_are_written_as_they_are_said(figure, word):
    assert make.number(figure) == word


def test_all_numbers_below_a_hundred_differ():
    assert len({make.number(figure) for figure in range(100)}) == 100


def test_the_sample_profile_points_at_the_sample():
    profile = tomllib.loads((SAMPLE.parent / "profiles" / "sample.toml").read_text(encoding="utf-8"))
    assert (profile["name"], profile["corpus"]["source"], profile["corpus"]["language"]) == ("sample", "sample", "sv")
