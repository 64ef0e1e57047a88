"""Blobs in the flow's datastore, local or cloud alike: shards, checkpoints, and what trials and releases weigh.

Artifacts are pickled and gzipped, which is slow for what does not compress; the content store under them
keeps bytes as they are (200 MB in 0.65 s). A blob's key is its hash: the same content is kept once.
"""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any


class Store:
    """A content store, and a few objects and files kept by name."""

    def __init__(self, blobs: Any) -> None:
        self._blobs, self._files, self._folder = blobs, blobs._storage_impl, blobs._prefix

    @classmethod
    def of(cls, flow: Any) -> Store:
        """The store of a running step's flow."""
        # Metaflow offers flows no public way to it; task and flow datastores both hold it.
        return cls(flow._datastore._ca_store)

    @classmethod
    def behind(cls, task: Any) -> Store:
        """The store that a task of the Client wrote to, from anywhere."""
        from metaflow.datastore import FlowDataStore
        from metaflow.plugins import DATASTORES

        told = task.metadata_dict
        kind = {one.TYPE: one for one in DATASTORES}[told["ds-type"]]
        flow, *_ = task.pathspec.split("/")
        return cls(FlowDataStore(flow, None, storage_impl=kind, ds_root=told["ds-root"]).ca_store)

    @staticmethod
    def finished(flow: str, run_id: str) -> int:
        """How many tasks of a run need not be done again, to a process of the flow's own command line."""
        from metaflow.datastore import FlowDataStore, TaskDataStoreSet

        tasks = TaskDataStoreSet(FlowDataStore(flow), run_id, prefetch_data_artifacts=["_task_ok"])
        return sum(task.step_name != "_parameters" and bool(task.get("_task_ok")) for task in tasks)

    @classmethod
    def at(cls, folder: Path) -> Store:
        """A store of its own in a folder, for a notebook or a benchmark."""
        from metaflow.datastore.content_addressed_store import ContentAddressedStore
        from metaflow.plugins.datastores.local_storage import LocalStorage

        return cls(ContentAddressedStore("data", LocalStorage(str(folder))))

    def put(self, blob: bytes) -> str:
        """Keep the blob; its key."""
        return str(self._blobs.save_blobs([blob], raw=True)[0].key)

    def fetch(self, keys: Iterable[str], folder: Path) -> Path:
        """The folder, with the blobs as files named by their keys; one is in memory at a time."""
        folder.mkdir(parents=True, exist_ok=True)
        for key, blob in self._blobs.load_blobs(list(keys)):
            (folder / key).write_bytes(blob)
        return folder

    def has(self, key: str) -> bool:
        """Whether the blob is there."""
        return bool(self._files.is_file([self._files.path_join(self._folder, key[:2], key)])[0])

    def put_object(self, value: Any) -> str:
        """Keep a Python object, which only this program will read; its key."""
        return self.put(pickle.dumps(value))

    def get_object(self, key: str) -> Any:
        ((_, blob),) = self._blobs.load_blobs([key])
        return pickle.loads(blob)

    def remember(self, name: str, value: Any) -> None:
        """Keep an object under a name that later runs know too."""
        self._files.save_bytes([(self._named(name), io.BytesIO(pickle.dumps(value)))], overwrite=True)

    def recall(self, name: str) -> Any:
        """The object that some run kept under this name; None where there is none, or it was cut short."""
        return self.recall_all([name]).get(name)

    def recall_all(self, names: Sequence[str]) -> dict[str, Any]:
        """What `recall` gives for each of the names, asked for together; those without an object are left out."""
        found = {}
        with self._files.load_bytes([self._named(name) for name in names]) as loaded:
            for path, file, _ in loaded:
                with suppress(
                    Exception
                ):  # what is not there, cut short, or kept by other libraries fails in all sorts of ways
                    found[path] = pickle.loads(Path(file).read_bytes())
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
        return str(self._files.path_join(self._folder, "named", name))

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

    def fetch_folder(self, key: str, folder: Path) -> Path:
        """The folder's files again, below `folder`."""
        for _, blob in self._blobs.load_blobs([key]):
            with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
                archive.extractall(folder, filter="data")
        return folder
