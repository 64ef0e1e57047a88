"""What the flow leans on in Metaflow beside its documentation: each test names a part that a new Metaflow broke."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest
from asr import datastore
from asr.store import Store
from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.datastore.spin_datastore import SpinTaskDatastore
from metaflow.plugins import DATASTORES
from metaflow.plugins.datastores.local_storage import LocalStorage

FLOWS = Path(datastore.__file__).parents[1]
ADAPTER = Path(datastore.__file__)
MOST_LINES = 60
USED = """
metaflow.system_context system_context.flow_datastore
metaflow.system_context system_context.inputs
metaflow.datastore FlowDataStore.datastore_root
metaflow.datastore FlowDataStore.get_task_datastore
metaflow.datastore.task_datastore TaskDataStore.parent_datastore
metaflow.datastore.task_datastore TaskDataStore.step_name
metaflow.datastore.task_datastore TaskDataStore.get
metaflow.task TaskDataStoreSet
metaflow.cli_components.run_cmds write_latest_run_id
metaflow.cli main
metaflow.cli print_metaflow_exception
metaflow.cli print_unknown_exception
"""
PRIVATE = re.compile(r"_(?!_)")
METHODS = ("path_join", "full_uri", "is_file", "size_file", "save_bytes", "load_bytes")


def imported() -> Iterator[tuple[str, str]]:
    """Every name that the flow takes from Metaflow, and where from."""
    for file in sorted(FLOWS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "metaflow":
                yield from ((node.module, one.name) for one in node.names)


def part(module: str, name: str) -> object:
    return reduce(getattr, name.split("."), importlib.import_module(module))


@pytest.mark.parametrize(("module", "name"), sorted(set(imported())))
def test_what_the_flow_imports_is_there(module, name):
    try:
        part(module, name)
    except AttributeError:
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("used", USED.strip().splitlines())
def test_what_it_uses_of_it_is_there(used):
    part(*used.split())


@pytest.mark.parametrize("kind", sorted(DATASTORES, key=lambda kind: kind.TYPE), ids=lambda kind: kind.TYPE)
def test_a_kind_of_datastore_keeps_files_by_their_paths(kind):
    assert all(callable(getattr(kind, name, None)) for name in METHODS)


def test_a_blob_is_where_metaflow_s_own_store_looks_for_it_and_the_other_way_round(tmp_path):
    store = Store.in_folder(tmp_path)
    theirs = ContentAddressedStore("Store/data", LocalStorage(str(tmp_path)))
    assert list(theirs.load_blobs([key := store.put(b"one")])) == [(key, b"one")]
    (saved,) = theirs.save_blobs([b"two"], raw=True)
    assert (store.fetch([saved.key], tmp_path / "here") / saved.key).read_bytes() == b"two"


def test_a_spun_join_still_needs_to_be_mended():
    """Once Metaflow finds its inputs by itself, `datastore.join_inputs` can go."""
    assert not hasattr(SpinTaskDatastore, "keys_for_artifacts")


def test_nothing_private_of_metaflow_is_used_but_by_the_adapter():
    """Nor by the adapter, which is short. What is left is of other libraries."""
    private = set()
    for file in sorted(FLOWS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr) and not _own(node.value):
                private.add((file.name, ast.unparse(node)))
    assert not [name for names in imported() for name in names if re.search(r"(^|\.)_", name)]
    assert sorted(private) == [
        ("batches.py", "unit._replace"),  # a named tuple's
        ("distributed.py", "AcceleratorState._reset_state"),
        ("trainer.py", "super()._prepare_input"),
        ("worker.py", "os._exit"),
    ]
    assert len(ADAPTER.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def _own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")
