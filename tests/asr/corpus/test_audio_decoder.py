"""A file that crashes its decoder loses one clip, and the caller continues."""

import io
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from asr.corpus import audio, audio_decoder, clips
from asr.corpus.clips import Clip
from asr.corpus.rows import Row
from asr.settings import Settings


@pytest.fixture
def process_count(tmp_path, monkeypatch):
    """A function that counts the decoder processes so far. Some files make them fail. They end with the test."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "bad_files" / "faulty_decoder"))
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    monkeypatch.setattr(audio_decoder, "_idle", [])
    monkeypatch.setattr(audio_decoder, "CPU_SECONDS", 2.0)
    (tmp_path / "started").touch()
    yield lambda: len((tmp_path / "started").read_text())
    for process in audio_decoder._idle:
        process.close()


@pytest.fixture
def good(tone):
    return clips.encode_flac(clips.to_pcm16(tone(1.0)))


def outcomes(*contents):
    rows = [Row(f"{at}", "train", "hej", None, content) for at, content in enumerate(contents)]
    return ["kept" if isinstance(result, Clip) else result.reason for result in clips.validate_clips(rows, Settings())]


def test_a_clip_that_crashes_its_decoder_is_rejected_and_the_others_accepted(process_count, good):
    assert outcomes(good, b"CRASH" + good, good, b"HANGS", good) == [
        "kept", "decoder crashed", "kept", "decoder hung", "kept",
    ]  # fmt: skip


def test_the_memory_of_a_decoder_is_limited(process_count, good):
    assert outcomes(b"LARGE", good) == ["unreadable audio", "kept"]
    assert process_count() == 1


def test_one_process_decodes_file_after_file(process_count, good):
    assert outcomes(*[good] * 20, b"no sound", b"") == ["kept"] * 20 + ["unreadable audio"] * 2
    assert process_count() == 1


def test_an_idle_process_that_dies_loses_no_clip(process_count, good):
    assert outcomes(good) == ["kept"]
    (process,) = audio_decoder._idle
    process._process.kill()
    assert outcomes(good, good) == ["kept", "kept"]
    assert process_count() == 2


@pytest.mark.parametrize("kind", ["path", "bytes", "small file", "large file", "large in memory"])
def test_the_audio_is_the_same_as_in_this_process(kind, tone, tmp_path):
    """Also after a long file that was read only in part."""
    content = clips.encode_flac(clips.to_pcm16(np.concatenate([tone(50.0), *[0 * tone(1.0)] * 50])))
    (tmp_path / "a").write_bytes(content if "large" not in kind else content + bytes(audio_decoder.MAX_CONTENT))
    inputs = {"path": tmp_path / "a", "bytes": content, "small file": io.BytesIO(content)}
    inputs["large in memory"] = io.BytesIO((tmp_path / "a").read_bytes())
    with (tmp_path / "a").open("rb") as file:
        in_process, isolated = audio.Recording(tmp_path / "a"), audio_decoder.Recording(inputs.get(kind, file))
        for _ in range(2):
            next(iter(isolated))
            sound, fault, has_video = isolated.sound()
            expected = in_process.sound()
            assert (sound == expected.samples).all()
            assert (fault, has_video) == expected[1:]
            assert (isolated.seconds, isolated.work, isolated.faults) == (
                in_process.seconds,
                in_process.work,
                in_process.faults,
            )


def test_errors_of_the_system_are_raised_as_in_this_process(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        audio_decoder.Recording(tmp_path / "åäö").sound()
    assert error.value.filename == str(tmp_path / "åäö")
    with pytest.raises(IsADirectoryError):
        audio_decoder.Recording(tmp_path).sound()


def test_no_process_outlives_its_parent(tmp_path, good):
    (tmp_path / "a.flac").write_bytes(good)
    code = """
import sys, time
sys.path.insert(0, sys.argv[1])
from asr.corpus import audio_decoder
audio_decoder.Recording(sys.argv[2]).sound()
print(audio_decoder._idle[0]._process.pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(Path(clips.__file__).parents[2]), str(tmp_path / "a.flac")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with suppress(psutil.NoSuchProcess):
        process, deadline = psutil.Process(pid), time.monotonic() + 20
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
