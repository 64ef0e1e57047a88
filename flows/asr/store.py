"""Blobs in the flow's datastore, local or cloud alike: shards, checkpoints, and what trials and releases weigh.

Artifacts are pickled and gzipped, which is slow for what does not compress; here bytes are kept as they are (200 MB in
0.65 s). A blob's key is its SHA-1, and it lies where Metaflow's own content store would look for it: the same content
is kept once, and what came to harm is told before it is used.
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
    from asr.datastore import Place

AS_IT_IS = {"cas_raw": True, "cas_version": 1}  # how Metaflow marks a blob that is not gzipped


class Store:
    """Blobs by their content, and a few objects and files by name.

    A step that is spun finds the blobs of its run, and writes where the spin does; names are its own alone, so it takes
    up nothing and leaves nothing that a run would find.
    """

    def __init__(self, place: Place, spun: Place | None = None, life: str = "") -> None:
        self._files, self._folder, self.spinning = place.files, place.folder, spun is not None
        self._places = (place, spun) if spun else (place,)
        self._names = f"{place.folder}/named/{life}".rstrip("/")

    @classmethod
    def here(cls) -> Store:
        """The store of the running step."""
        from metaflow import current

        from asr import datastore

        place, spun = datastore.here()
        return cls(place, spun, f"spin-{current.run_id}" if spun else "")

    @classmethod
    def behind(cls, task: Any) -> Store:
        """The store that a task of the Client wrote to, from anywhere."""
        from asr.datastore import Place

        told = task.metadata_dict
        return cls(Place.at(task.pathspec.split("/")[0], told["ds-type"], told["ds-root"]))

    @classmethod
    def at(cls, folder: Path) -> Store:
        """A store of its own in a folder, for a notebook or a benchmark."""
        from asr.datastore import Place

        return cls(Place.at("Store", "local", str(folder)))

    def put(self, blob: bytes) -> str:
        """Keep the blob; its key."""
        key = hashlib.sha1(blob).hexdigest()
        if self._files.size_file(path := _path(self._folder, key)) != len(blob):  # not there, or cut short
            self._files.save_bytes([(path, (io.BytesIO(blob), AS_IT_IS))], overwrite=True)
        return key

    def fetch(self, keys: Iterable[str], folder: Path, made_by: str = "preprocess") -> Path:
        """The folder, with the blobs as files named by their keys.

        Raises `InputError` for a blob that is gone or damaged; `made_by` is the step that wrote it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for key, file in self._whole(set(keys), made_by):
            shutil.copyfile(file, folder / key)
        return folder

    def has(self, key: str) -> bool:
        """Whether the blob is there."""
        return bool(self._files.is_file([_path(self._folder, key)])[0])

    def _whole(self, keys: set[str], made_by: str) -> Iterator[tuple[str, Path]]:
        """The blobs as files for a moment."""
        for place in self._places:
            wanted = {_path(place.folder, key): key for key in keys if place is self._places[-1] or self.has(key)}
            keys = keys - set(wanted.values())
            with place.files.load_bytes(list(wanted)) as loaded:
                for path, file, _ in loaded:
                    if wrong := _wrong(file, wanted[path]):
                        raise InputError(f"{place.files.full_uri(path)} is {wrong} `resume {made_by}` makes it again")
                    yield wanted[path], Path(file)

    def put_object(self, value: Any) -> str:
        """Keep a Python object, which only this program will read; its key."""
        return self.put(pickle.dumps(value))

    def get_object(self, key: str, made_by: str) -> Any:
        ((_, value),) = [(key, pickle.loads(file.read_bytes())) for key, file in self._whole({key}, made_by)]
        return value

    def remember(self, name: str, value: Any) -> None:
        """Keep an object under a name that later runs know too."""
        self._files.save_bytes([(self._named(name), io.BytesIO(_sealed(pickle.dumps(value))))], overwrite=True)

    def recall(self, name: str) -> Any:
        """The object that some run kept under this name; None where there is none, or it came to harm."""
        return self.recall_all([name]).get(name)

    def recall_all(self, names: Sequence[str]) -> dict[str, Any]:
        """What `recall` gives for each of the names, asked for together; those without an object are left out."""
        found = {}
        with self._files.load_bytes([self._named(name) for name in names]) as loaded:
            for path, file, _ in loaded:
                with suppress(Exception):  # what is not there, or is of other libraries, fails in all sorts of ways
                    found[path] = pickle.loads(_opened(Path(file).read_bytes()))
        return {name: found[self._named(name)] for name in names if self._named(name) in found}

    def save_files(self, files: Mapping[str, Path]) -> None:
        """Keep files' bytes under names, in the place of what stood there; a bucket takes several at once."""
        with ExitStack() as open_files:
            contents = [(self._named(name), open_files.enter_context(file.open("rb"))) for name, file in files.items()]
            self._files.save_bytes(contents, overwrite=True)

    def load_file(self, name: str, file: Path) -> bool:
        """Bring what was kept under the name to `file`; whether there was anything."""
        with self._files.load_bytes([self._named(name)]) as loaded:
            for _, path, _ in loaded:
                if path is None:
                    return False
                shutil.copyfile(path, file)
        return True

    def _named(self, name: str) -> str:
        return f"{self._names}/{name}"

    def put_folder(self, folder: Path) -> str:
        """Keep a folder's files as one blob that depends on names and contents alone; its key."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        return self.put(file.getvalue())

    def fetch_folder(self, key: str, folder: Path, made_by: str) -> Path:
        """The folder's files again, below `folder`."""
        for _, file in self._whole({key}, made_by):
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        return folder


def _path(folder: str, key: str) -> str:
    return f"{folder}/{key[:2]}/{key}"


def _wrong(file: str | None, key: str) -> str:
    """What is the matter with a blob; empty where it is what its key says."""
    if file is None:
        return "gone:"
    with open(file, "rb") as blob:
        whole = hashlib.file_digest(blob, "sha1").hexdigest() == key
    return "" if whole else "damaged, it is not what was kept there: delete it, and"


def _sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def _opened(sealed: bytes) -> bytes:
    """Raises `ValueError` for what is not as it was sealed."""
    seal, content = sealed[:32], sealed[32:]
    if hashlib.sha256(content).digest() != seal:
        raise ValueError("damaged")
    return content
