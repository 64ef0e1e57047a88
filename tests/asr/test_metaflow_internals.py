"""Undocumented parts of Metaflow that the flow uses: a failing test names the part that a new Metaflow changed."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest
from asr import metaflow_internals
from asr.store import Store
from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.datastore.spin_datastore import SpinTaskDatastore
from metaflow.plugins import DATASTORES
from metaflow.plugins.datastores.local_storage import LocalStorage

FLOWS = Path(metaflow_internals.__file__).parents[1]
ADAPTER = Path(metaflow_internals.__file__)
MAX_LINES = 60
USED_ATTRIBUTES = """
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
PRIVATE_NAME = re.compile(r"_(?!_)")
METHODS = ("path_join", "full_uri", "is_file", "size_file", "save_bytes", "load_bytes")


def metaflow_imports() -> Iterator[tuple[str, str]]:
    """Every name that the flow imports from Metaflow, with its module."""
    for file in sorted(FLOWS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "metaflow":
                yield from ((node.module, alias.name) for alias in node.names)


def resolve(module: str, name: str) -> object:
    return reduce(getattr, name.split("."), importlib.import_module(module))


@pytest.mark.parametrize(("module", "name"), sorted(set(metaflow_imports())))
def test_what_the_flow_imports_exists(module, name):
    try:
        resolve(module, name)
    except AttributeError:
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("used", USED_ATTRIBUTES.strip().splitlines())
def test_used_attributes_of_metaflow_exist(used):
    resolve(*used.split())


@pytest.mark.parametrize("kind", sorted(DATASTORES, key=lambda kind: kind.TYPE), ids=lambda kind: kind.TYPE)
def test_every_datastore_type_has_the_file_methods(kind):
    assert all(callable(getattr(kind, name, None)) for name in METHODS)


def test_blobs_are_interchangeable_with_those_of_metaflows_own_store(tmp_path):
    store = Store.in_folder(tmp_path)
    metaflow_store = ContentAddressedStore("Store/data", LocalStorage(str(tmp_path)))
    assert list(metaflow_store.load_blobs([key := store.put(b"one")])) == [(key, b"one")]
    (saved,) = metaflow_store.save_blobs([b"two"], raw=True)
    assert (store.fetch([saved.key], tmp_path / "here") / saved.key).read_bytes() == b"two"


def test_spin_still_needs_the_join_workaround():
    """Once Metaflow finds its inputs by itself, `metaflow_internals.join_inputs` can go."""
    assert not hasattr(SpinTaskDatastore, "keys_for_artifacts")


def test_no_private_name_of_metaflow_is_used():
    """The private names that the flow does use are of other libraries; the adapter stays short."""
    private = set()
    for file in sorted(FLOWS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and PRIVATE_NAME.match(node.attr) and not _is_own_attribute(node.value):
                private.add((file.name, ast.unparse(node)))
    assert not [name for names in metaflow_imports() for name in names if re.search(r"(^|\.)_", name)]
    assert sorted(private) == [
        ("batches.py", "unit._replace"),  # a named tuple's
        ("distributed.py", "AcceleratorState._reset_state"),
        ("trainer.py", "super()._prepare_input"),
        ("worker.py", "os._exit"),
    ]
    assert len(ADAPTER.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def _is_own_attribute(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")
