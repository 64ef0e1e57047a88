"""The files below a local folder: no name and no link leads out of it."""

import pytest
from asr.corpus import files
from asr.corpus.rows import Row


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "corpus"
    (root / "train" / "åäö").mkdir(parents=True)
    (root / "train" / "a.wav").write_bytes(b"sound")
    (root / "b.wav").write_bytes(b"other")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    return files.open_folder(root)


def test_files_are_listed_and_read_by_their_names(folder):
    assert folder.list_names() == ["b.wav", "train"]
    assert folder.list_names("train") == ["a.wav", "åäö"]
    assert folder.list_names("b.wav") == folder.list_names("nowhere") == []
    assert folder.read("train/a.wav") == b"sound"
    assert folder.locate("train/a.wav") == folder.root / "train" / "a.wav"


@pytest.mark.parametrize("name", ["nowhere.wav", "train", "", "a\0b", "x" * 300, "x/" * 3000, "b.wav/c", "\udce5"])
def test_a_missing_file_does_not_exist_and_raises_no_error(folder, name):
    assert not folder.exists(name)


@pytest.mark.parametrize(
    "target", ["../secret.wav", "/etc/passwd", "../../nowhere", "..", "train/../../secret.wav", "way"]
)
def test_a_link_that_leads_out_has_no_path(folder, tmp_path, target):
    (folder.root / "way").symlink_to(tmp_path)  # also through another link
    (folder.root / "link").symlink_to(target)
    assert folder.locate("link") is None
    assert folder.locate("way/secret.wav") is None


def test_a_link_to_another_file_of_the_folder_is_followed(folder):
    (folder.root / "train" / "link.wav").symlink_to("../b.wav")
    assert folder.exists("train/link.wav")
    assert folder.locate("train/link.wav").read_bytes() == b"other"


def test_a_link_to_itself_is_no_file(folder):
    (folder.root / "loop.wav").symlink_to("loop.wav")
    assert not folder.exists("loop.wav")
    folder.locate("loop.wav")


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder.root)
    assert files.open_folder(tmp_path / "link").locate("b.wav") == tmp_path / "link" / "b.wav"


@pytest.mark.parametrize("name", ["nowhere", "secret.wav"])
def test_a_path_that_is_not_a_folder_is_refused(folder, tmp_path, refusal, name):
    assert refusal(files.open_folder, tmp_path / name) == f"[corpus] path: there is no folder {tmp_path / name}"


def test_local_files_are_not_downloaded(folder):
    rows = [Row("b.wav", "train", "hej", None, audio) for audio in (folder.locate("b.wav"), b"bytes", None)]
    assert list(files.download_audio(rows)) == rows
