"""Blobs in the flow's datastore, local or cloud: shards, checkpoints, models and releases.

Metaflow pickles and gzips artifacts, which is slow for data that does not compress; blobs are stored as they are
(200 MB in 0.65 s). A blob's key is its SHA-1, and its path is that of Metaflow's own content store: the same content is
stored once, and a damaged blob is detected before it is used.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import InputError

if TYPE_CHECKING:
    from asr.metaflow_internals import Location

RAW_BLOB = {"cas_raw": True, "cas_version": 1}  # Metaflow's metadata of a blob that is not gzipped


class Store:
    """Blobs by their content, and a few objects and files by name.

    A spun step reads the blobs of the original run and writes to the spin's location. Names have a prefix in a spin, so
    that it neither reads nor leaves what another run would find.
    """

    def __init__(self, location: Location, original: Location | None = None, prefix: str = "") -> None:
        self._files, self._folder, self.spinning = location.files, location.folder, original is not None
        self._locations = (location, original) if original else (location,)
        self._names = f"{location.folder}/named/{prefix}".rstrip("/")

    @classmethod
    def of_task(cls) -> Store:
        """The store of the running step."""
        from metaflow import current

        from asr import metaflow_internals

        location, original = metaflow_internals.current_location()
        return cls(location, original, f"spin-{current.run_id}" if original else "")

    @classmethod
    def of_client(cls, task: Any) -> Store:
        """The store that a task of the Metaflow Client wrote to."""
        from asr.metaflow_internals import Location

        metadata = task.metadata_dict
        return cls(Location.at(task.pathspec.split("/")[0], metadata["ds-type"], metadata["ds-root"]))

    @classmethod
    def in_folder(cls, folder: Path) -> Store:
        """A store in a folder, for a notebook or a benchmark."""
        from asr.metaflow_internals import Location

        return cls(Location.at("Store", "local", str(folder)))

    def put(self, blob: bytes) -> str:
        """Store the blob and return its key."""
        key = hashlib.sha1(blob).hexdigest()
        if self._files.size_file(path := _path(self._folder, key)) != len(blob):  # missing or truncated
            self._files.save_bytes([(path, (io.BytesIO(blob), RAW_BLOB))], overwrite=True)
        return key

    def fetch(self, keys: Iterable[str], folder: Path, made_by: str = "preprocess") -> Path:
        """Write the blobs as files named by their keys into the folder, and return it.

        Raises `InputError` for a blob that is gone or damaged; `made_by` is the step that wrote it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for key, file in self._checked_blobs(set(keys), made_by):
            shutil.copyfile(file, folder / key)
        return folder

    def has(self, key: str) -> bool:
        """Whether the blob is stored."""
        return bool(self._files.is_file([_path(self._folder, key)])[0])

    def _checked_blobs(self, keys: set[str], made_by: str) -> Iterator[tuple[str, Path]]:
        """Yield each key with a file of its blob, which is removed after the iteration."""
        for location in self._locations:
            last = location is self._locations[-1]
            keys_by_path = {_path(location.folder, key): key for key in keys if last or self.has(key)}
            keys = keys - set(keys_by_path.values())
            with location.files.load_bytes(list(keys_by_path)) as loaded:
                for path, file, _ in loaded:
                    if fault := _fault(file, keys_by_path[path]):
                        raise InputError(
                            f"{location.files.full_uri(path)} is {fault} `resume {made_by}` makes it again"
                        )
                    yield keys_by_path[path], Path(file)

    def put_object(self, value: Any) -> str:
        """Store a pickled Python object and return its key."""
        return self.put(pickle.dumps(value))

    def get_object(self, key: str, made_by: str) -> Any:
        """The object with the key; `made_by` is the step that stored it."""
        ((_, value),) = [(key, pickle.loads(file.read_bytes())) for key, file in self._checked_blobs({key}, made_by)]
        return value

    def remember(self, name: str, value: Any) -> None:
        """Store an object under a name, for later runs too."""
        self._files.save_bytes([(self._named(name), io.BytesIO(_seal(pickle.dumps(value))))], overwrite=True)

    def recall(self, name: str) -> Any:
        """The object that a run stored under the name; None where there is none or it is damaged."""
        return self.recall_all([name]).get(name)

    def recall_all(self, names: Sequence[str]) -> dict[str, Any]:
        """The objects by name, read together; names without a readable object are left out."""
        objects = {}
        with self._files.load_bytes([self._named(name) for name in names]) as loaded:
            for path, file, _ in loaded:
                with suppress(Exception):  # a missing file, or a pickle of another library's version
                    objects[path] = pickle.loads(_unseal(Path(file).read_bytes()))
        return {name: objects[self._named(name)] for name in names if self._named(name) in objects}

    def save_files(self, files: Mapping[str, Path]) -> None:
        """Store files under names, replacing older files; a bucket takes several in parallel."""
        with ExitStack() as open_files:
            contents = [(self._named(name), open_files.enter_context(file.open("rb"))) for name, file in files.items()]
            self._files.save_bytes(contents, overwrite=True)

    def load_file(self, name: str, file: Path) -> bool:
        """Copy the file stored under the name to `file`, and return whether it exists."""
        with self._files.load_bytes([self._named(name)]) as loaded:
            for _, path, _ in loaded:
                if path is None:
                    return False
                shutil.copyfile(path, file)
        return True

    def _named(self, name: str) -> str:
        return f"{self._names}/{name}"

    def put_folder(self, folder: Path) -> str:
        """Store a folder as one blob that depends on file names and contents only, and return its key."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        return self.put(file.getvalue())

    def fetch_folder(self, key: str, folder: Path, made_by: str) -> Path:
        """Extract a stored folder into `folder`, and return that."""
        for _, file in self._checked_blobs({key}, made_by):
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        return folder


def _path(folder: str, key: str) -> str:
    return f"{folder}/{key[:2]}/{key}"


def _fault(file: str | None, key: str) -> str:
    """What is wrong with a blob; empty where it matches its key."""
    if file is None:
        return "gone:"
    with open(file, "rb") as blob:
        matches = hashlib.file_digest(blob, "sha1").hexdigest() == key
    return "" if matches else "damaged, its content is not what was stored: delete it, and"


def _seal(content: bytes) -> bytes:
    """The content after its SHA-256."""
    return hashlib.sha256(content).digest() + content


def _unseal(sealed: bytes) -> bytes:
    """The content of `_seal`. Raises `ValueError` where it was changed."""
    digest, content = sealed[:32], sealed[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("damaged")
    return content
