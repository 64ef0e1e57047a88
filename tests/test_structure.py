"""The arrows between modules: no circle, also not of imports within functions."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


def modules(folder):
    """The modules below a folder, by the names that they are imported by."""
    names = {file: file.relative_to(folder).with_suffix("").parts for file in folder.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in names.items()}


def imported(file):
    """What a module names in its imports, but for those that are there for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tests = (one for one in ast.walk(tree) if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING")
    for_types = {node for test in tests for node in ast.walk(test)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{one.name}" for one in node.names))


@pytest.mark.parametrize("folder", ["flows", "space"])
def test_no_module_needs_one_that_needs_it(folder):
    found = modules(TOP / folder)
    # A package itself is imported with each of its modules.
    needs = {name: set(imported(file)) & found.keys() - {name, "asr"} for name, file in found.items() if name != "asr"}
    assert [name for name in TopologicalSorter(needs).static_order() if name in needs]


def test_the_space_needs_nothing_of_the_flow():
    """But where a module of it is part of the flow by a link."""
    for name, file in modules(TOP / "space").items():
        assert name == "decoder" or not [one for one in imported(file) if one.partition(".")[0] == "asr"]
