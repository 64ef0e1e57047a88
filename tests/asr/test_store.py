"""The datastore: what is kept is found again, and what is damaged is made anew."""

import pytest


def test_a_blob_comes_back_as_a_file_named_by_its_key(store, tmp_path):
    keys = [store.put(blob) for blob in (b"one", b"two", b"one")]
    assert keys[0] == keys[2] != keys[1]
    folder = store.fetch(keys, tmp_path / "fetched")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {keys[0]: b"one", keys[1]: b"two"}


def test_it_knows_which_blobs_it_has(store, tmp_path):
    key = store.put(b"one")
    assert store.has(key)
    assert not store.has(key[::-1])
    next((tmp_path / "store").rglob(key)).unlink()
    assert not store.has(key)


def test_an_object_kept_by_its_key_comes_back(store):
    assert store.get_object(store.put_object({"å": (1, None)}), "start") == {"å": (1, None)}


def test_what_one_run_remembers_another_recalls_and_may_replace(store):
    assert store.recall("corpus") is None
    for value in ([1], [2, 3]):
        store.remember("corpus", value)
        assert store.recall("corpus") == value
    assert store.recall("other") is None


@pytest.fixture
def record(store, tmp_path):
    """The file of a record."""
    store.remember("corpus", {"clips": [1.5] * 20, "made": ("å", None)})
    return next(path for path in (tmp_path / "store").rglob("corpus") if path.is_file())


def test_a_record_cut_short_anywhere_is_none(store, record):
    whole = record.read_bytes()
    for length in range(len(whole)):
        record.write_bytes(whole[:length])
        assert store.recall("corpus") is None, length


@pytest.mark.parametrize("content", [b"\0" * 50, b"noise" * 9, b"c__main__\nGone\n."])
def test_a_record_that_nobody_can_read_is_none(store, record, content):
    record.write_bytes(content)
    assert store.recall("corpus") is None


def test_a_folder_comes_back_file_by_file_and_its_key_depends_on_nothing_else(store, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "åäö.bin").write_bytes(b"weights")
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "b" / "config.json").chmod(0o600)
    keys = {store.put_folder(tmp_path / name) for name in ("a", "b")}
    assert len(keys) == 1
    folder = store.fetch_folder(keys.pop(), tmp_path / "again", "train")
    assert (folder / "deep" / "åäö.bin").read_bytes() == b"weights"
    (tmp_path / "b" / "config.json").write_text("[]")
    assert store.put_folder(tmp_path / "b") != store.put_folder(tmp_path / "a")


READ = {
    "fetch": lambda store, key, folder: store.fetch([key], folder),
    "fetch_folder": lambda store, key, folder: store.fetch_folder(key, folder, "train"),
    "get_object": lambda store, key, folder: store.get_object(key, "start"),
}


@pytest.fixture
def weights(store, tmp_path):
    """The key of a folder of weights, and the file that keeps it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    key = store.put_folder(tmp_path / "model")
    return key, next(path for path in (tmp_path / "store").rglob(key))


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("harm", ["flipped", "cut", "longer"])
def test_a_damaged_blob_is_named_in_one_line_and_never_used(store, weights, tmp_path, refusal, read, harm):
    key, file = weights
    whole = bytearray(file.read_bytes())
    if harm == "flipped":
        for at in range(1000, 101_000, 100):
            whole[at] ^= 1
    file.write_bytes({"flipped": whole, "cut": whole[:-1], "longer": whole + b"x"}[harm])
    line = refusal(READ[read], store, key, tmp_path / "here")
    assert str(file) in line
    assert "is damaged" in line
    assert "`resume" in line
    assert not any(path.is_file() for path in (tmp_path / "here").rglob("*"))


def test_a_blob_that_is_gone_is_named_and_who_makes_it_again(store, weights, tmp_path, refusal):
    key, file = weights
    file.unlink()
    line = refusal(READ["fetch_folder"], store, key, tmp_path / "here")
    assert line == f"{file} is gone: `resume train` makes it again"


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_what_is_kept_again_takes_the_place_of_what_is_gone_or_cut(store, weights, tmp_path, harm):
    key, file = weights
    file.unlink() if harm == "gone" else file.write_bytes(file.read_bytes()[:-1])
    assert store.put_folder(tmp_path / "model") == key
    assert (store.fetch_folder(key, tmp_path / "again", "train") / "model.safetensors").is_file()


def test_a_record_with_one_flipped_bit_is_none(store, record):
    whole = record.read_bytes()
    for at in range(len(whole)):
        record.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert store.recall("corpus") is None, at
