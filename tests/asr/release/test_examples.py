"""A release has example clips only with an open licence."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from asr.release import examples


def clips(speakers):
    """Clips of 1 s, 2 s, ... by these speakers, as in a `ClipDataset`."""
    rows = []
    for seconds in range(1, len(speakers) + 1):
        file = io.BytesIO()
        soundfile.write(file, np.zeros(16_000 * seconds, np.int16), 16_000, format="FLAC")
        rows.append({"audio": {"bytes": file.getvalue()}})
    return Clips(
        dataset=rows, texts=[f"text {at}" for at in range(len(rows))], seconds=list(range(1, len(rows) + 1)),
        speakers=speakers,
    )  # fmt: skip


class Clips(SimpleNamespace):
    def __len__(self):
        return len(self.texts)


def test_three_clips_of_different_lengths_and_speakers_are_in_the_release(tmp_path):
    test = clips(["a", "a", "a", "a", "a", "b", "b", "c"])
    records = examples.write_examples(tmp_path, test, ["CC0-1.0"] * 8)
    assert [record["text"] for record in records] == ["text 2", "text 5", "text 7"]
    lengths = [soundfile.info(tmp_path / record["file"]).duration for record in records]
    assert lengths == [3, 6, 8]
    assert {record["licence"] for record in records} == {"CC0-1.0"}


@pytest.mark.parametrize("licence", ["not stated", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "proprietary", "cc", ""])
def test_no_voice_without_an_open_licence_is_published(tmp_path, licence):
    assert examples.write_examples(tmp_path, clips(["a", "b"]), [licence] * 2) == []
    assert not list(tmp_path.iterdir())


def test_of_mixed_sources_only_those_with_an_open_licence_are_used(tmp_path):
    licences = ["not stated", "CC-BY-4.0", "not stated", "cc-by-sa-3.0", "Public domain"]
    records = examples.write_examples(tmp_path, clips(["a"] * 5), licences)
    assert [record["licence"] for record in records] == ["CC-BY-4.0", "cc-by-sa-3.0", "Public domain"]


def test_a_single_clip_is_used_once(tmp_path):
    assert len(examples.write_examples(tmp_path, clips(["a"]), ["CC0-1.0"])) == 1
    assert examples.write_examples(tmp_path, clips([]), []) == []
