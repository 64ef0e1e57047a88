"""A disk that is full, or a folder that is closed, is told in one line that names it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from asr import InputError, disk

FULL, CLOSED = Path("/dev/full"), Path("/sys")  # on Linux; closed to root too


def raised(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def over(cause):
    """An error of a library's own over the system's."""
    error = RuntimeError("could not be generated")
    error.__cause__ = cause
    return error


@pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full here")
def test_a_write_to_a_full_disk_names_the_folder_that_was_written_to(tmp_path):
    line = disk.explain(raised(lambda: FULL.write_text("x" * 9)), tmp_path)
    assert line == f"the disk that holds {tmp_path} is full: make room there"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError([("from", "to", "[Errno 28] No space left on device")]),  # as shutil collects them
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # as safetensors
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # as torch
        over(OSError(errno.ENOSPC, "No space")),  # as datasets
    ],
)
def test_a_full_disk_is_known_by_whatever_a_library_makes_of_it(tmp_path, error):
    assert disk.explain(error, tmp_path) == f"the disk that holds {tmp_path} is full: make room there"


def test_the_disk_is_named_by_the_file_that_did_not_fit(tmp_path):
    error = OSError(errno.ENOSPC, "No space", str(tmp_path / "b" / "tmp1234"))
    assert str(tmp_path / "b") in disk.explain(error, tmp_path / "a", tmp_path / "b")
    assert "/elsewhere/file" in disk.explain(OSError(errno.ENOSPC, "No space", "/elsewhere/file"), tmp_path)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOENT, "gone", "/x"), InputError("full: No space left")]
)
def test_what_is_no_disks_fault_is_not_blamed_on_one(tmp_path, error):
    assert disk.explain(error, tmp_path) == ""
    with pytest.raises(type(error)), disk.explained(tmp_path):
        raise error


@pytest.mark.skipif(not CLOSED.is_dir(), reason="no /sys here")
def test_a_folder_where_nothing_can_be_made_is_refused_with_its_key(refusal):
    line = refusal(disk.check, CLOSED / "new" / "released", "[release] folder")
    assert line.startswith("[release] folder: /sys/new/released cannot be written: ")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path, refusal):
    (tmp_path / "released").write_text("")
    assert "Not a directory" in refusal(disk.check, tmp_path / "released" / "mine", "[release] folder")


def test_asking_leaves_nothing_behind(tmp_path):
    disk.check(tmp_path / "new" / "released", "[release] folder")
    assert list(tmp_path.iterdir()) == []
