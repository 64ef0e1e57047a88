"""A full disk or a read-only folder is reported in one line that names it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from asr import InputError, disk

FULL_DEVICE, READ_ONLY_FOLDER = Path("/dev/full"), Path("/sys")  # on Linux; read-only to root too


def error_of(call):
    with pytest.raises(Exception) as error:
        call()
    return error.value


def wrapped(cause):
    """A library's error that is caused by one of the system."""
    error = RuntimeError("could not be generated")
    error.__cause__ = cause
    return error


@pytest.mark.skipif(not FULL_DEVICE.is_char_device(), reason="no /dev/full here")
def test_a_write_to_a_full_disk_names_the_folder_that_was_written_to(tmp_path):
    line = disk.explain(error_of(lambda: FULL_DEVICE.write_text("x" * 9)), tmp_path)
    assert line == f"the disk that holds {tmp_path} is full: make room there"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError([("from", "to", "[Errno 28] No space left on device")]),  # as shutil collects them
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # as safetensors
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # as torch
        wrapped(OSError(errno.ENOSPC, "No space")),  # as datasets
    ],
)
def test_a_full_disk_is_recognized_in_the_errors_of_libraries(tmp_path, error):
    assert disk.explain(error, tmp_path) == f"the disk that holds {tmp_path} is full: make room there"


def test_the_disk_is_named_by_the_file_that_did_not_fit(tmp_path):
    error = OSError(errno.ENOSPC, "No space", str(tmp_path / "b" / "tmp1234"))
    assert str(tmp_path / "b") in disk.explain(error, tmp_path / "a", tmp_path / "b")
    assert "/elsewhere/file" in disk.explain(OSError(errno.ENOSPC, "No space", "/elsewhere/file"), tmp_path)


def test_the_first_folder_of_a_disk_is_named_though_others_write_to_it_meanwhile(tmp_path, monkeypatch):
    free = iter(range(1000, 0, -1))
    monkeypatch.setattr(disk, "_free_bytes", lambda folder: next(free))
    assert str(tmp_path / "a") in disk.explain(OSError(errno.ENOSPC, "No space"), tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOENT, "gone", "/x"), InputError("full: No space left")]
)
def test_other_errors_are_not_blamed_on_the_disk(tmp_path, error):
    assert disk.explain(error, tmp_path) == ""
    with pytest.raises(type(error)), disk.explained(tmp_path):
        raise error


@pytest.mark.skipif(not READ_ONLY_FOLDER.is_dir(), reason="no /sys here")
def test_a_folder_that_cannot_be_written_is_refused_with_its_key(refusal):
    line = refusal(disk.check, READ_ONLY_FOLDER / "new" / "released", "[release] folder")
    assert line.startswith("[release] folder: /sys/new/released cannot be written: ")


def test_a_file_instead_of_a_folder_is_refused(tmp_path, refusal):
    (tmp_path / "released").write_text("")
    assert "Not a directory" in refusal(disk.check, tmp_path / "released" / "mine", "[release] folder")


def test_the_check_leaves_nothing_behind(tmp_path):
    disk.check(tmp_path / "new" / "released", "[release] folder")
    assert list(tmp_path.iterdir()) == []
