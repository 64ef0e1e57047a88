"""The datastore: what is stored can be read again, and damaged data is never used."""

import pytest


def test_a_blob_comes_back_as_a_file_named_by_its_key(store, tmp_path):
    keys = [store.put(blob) for blob in (b"one", b"two", b"one")]
    assert keys[0] == keys[2] != keys[1]
    folder = store.fetch(keys, tmp_path / "fetched")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {keys[0]: b"one", keys[1]: b"two"}


def test_has_tells_whether_a_blob_is_stored(store, tmp_path):
    key = store.put(b"one")
    assert store.has(key)
    assert not store.has(key[::-1])
    next((tmp_path / "store").rglob(key)).unlink()
    assert not store.has(key)


def test_a_stored_object_is_read_by_its_key(store):
    assert store.get_object(store.put_object({"å": (1, None)}), "start") == {"å": (1, None)}


def test_a_record_of_one_run_can_be_read_and_replaced_by_another(store):
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


def test_a_truncated_record_is_ignored(store, record):
    content = record.read_bytes()
    for length in range(len(content)):
        record.write_bytes(content[:length])
        assert store.recall("corpus") is None, length


@pytest.mark.parametrize("content", [b"\0" * 50, b"noise" * 9, b"c__main__\nGone\n."])
def test_an_unreadable_record_is_ignored(store, record, content):
    record.write_bytes(content)
    assert store.recall("corpus") is None


def test_a_folder_is_restored_and_its_key_depends_on_its_files_alone(store, tmp_path):
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


READERS = {
    "fetch": lambda store, key, folder: store.fetch([key], folder),
    "fetch_folder": lambda store, key, folder: store.fetch_folder(key, folder, "train"),
    "get_object": lambda store, key, folder: store.get_object(key, "start"),
}


@pytest.fixture
def weights(store, tmp_path):
    """The key of a folder of weights, and the file of its blob."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    key = store.put_folder(tmp_path / "model")
    return key, next(path for path in (tmp_path / "store").rglob(key))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("damage", ["flipped bits", "truncated", "too long"])
def test_a_damaged_blob_is_named_in_one_line_and_never_used(store, weights, tmp_path, refusal, read, damage):
    key, file = weights
    content = bytearray(file.read_bytes())
    if damage == "flipped bits":
        for at in range(1000, 101_000, 100):
            content[at] ^= 1
    file.write_bytes({"flipped bits": content, "truncated": content[:-1], "too long": content + b"x"}[damage])
    line = refusal(READERS[read], store, key, tmp_path / "here")
    assert str(file) in line
    assert "is damaged" in line
    assert "`resume" in line
    assert not any(path.is_file() for path in (tmp_path / "here").rglob("*"))


def test_a_missing_blob_is_named_with_the_step_that_makes_it_again(store, weights, tmp_path, refusal):
    key, file = weights
    file.unlink()
    line = refusal(READERS["fetch_folder"], store, key, tmp_path / "here")
    assert line == f"{file} is gone: `resume train` makes it again"


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_storing_again_replaces_a_missing_or_truncated_blob(store, weights, tmp_path, damage):
    key, file = weights
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:-1])
    assert store.put_folder(tmp_path / "model") == key
    assert (store.fetch_folder(key, tmp_path / "again", "train") / "model.safetensors").is_file()


def test_a_record_with_one_flipped_bit_is_ignored(store, record):
    content = record.read_bytes()
    for at in range(len(content)):
        record.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert store.recall("corpus") is None, at
