"""Which files are accepted, and what is decoded from them."""

import audio_files
import numpy as np
import pytest
import soundfile
import upload_limits

RATE = 16_000


def test_the_length_limit_does_not_trust_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr(upload_limits, "MAX_MINUTES", 0.1)
    long_file = tmp_path / "long.wav"
    soundfile.write(long_file, np.full(10 * RATE, 0.1), RATE)
    wav = bytearray(long_file.read_bytes())
    wav[40:44] = (1000).to_bytes(4, "little")  # the header claims a short data chunk
    for name, content in (
        ("honest.wav", long_file.read_bytes()),
        ("stream.wav", bytes(wav[:40]) + b"\xff" * 4 + bytes(wav[44:])),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(audio_files.AudioFileError, match="too_long"):
            audio_files.read_upload(tmp_path / name)


def test_the_readable_part_of_a_damaged_recording_is_decoded(tmp_path, speech):
    file = tmp_path / "speech.flac"
    soundfile.write(file, speech[0], RATE)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    file.write_bytes(content[: len(content) - 500])
    audio = audio_files.read_upload(file)
    assert RATE < len(audio.samples) <= len(speech[0]) + 8000
    assert audio.fault
