"""The arrows between modules, and their size."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
MAX_LINES, MAX_FLOW_LINES = 400, 300
# What each package of the flow may import, and the module `acoustics`. Commands (`python -m`) and TOP_LEVEL stand
# above them all; all other modules below.
BELOW = {
    "corpus": set(),
    "acoustics": {"corpus"},
    "scoring": {"corpus", "acoustics"},
    "training": {"corpus", "acoustics", "scoring"},
    "release": {"corpus", "acoustics", "scoring", "training"},
    "cards": {"corpus", "scoring", "training", "release"},
}
TOP_LEVEL = {"pods", "summary"}


def modules(folder):
    """The modules below a folder, by the names that they are imported by."""
    names = {file: file.relative_to(folder).with_suffix("").parts for file in folder.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in names.items()}


def imported(file):
    """What a module names in its imports, but for those that are there for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    for_types = {node for test in tests for node in ast.walk(test)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def packages(names):
    """The packages of the flow among modules' names."""
    return {name.split(".")[1] for name in names if name.startswith("asr.")} & BELOW.keys()


@pytest.mark.parametrize("folder", ["flows", "space"])
def test_no_module_needs_one_that_needs_it(folder):
    found = modules(TOP / folder)
    # A package itself is imported with each of its modules.
    needs = {name: set(imported(file)) & found.keys() - {name, "asr"} for name, file in found.items() if name != "asr"}
    assert [name for name in TopologicalSorter(needs).static_order() if name in needs]


def test_no_package_imports_one_above_it():
    upward = []
    for name, file in modules(TOP / "flows").items():
        parts = name.split(".")
        if parts[0] != "asr" or len(parts) < 2 or parts[-1] == "__main__" or parts[1] in TOP_LEVEL:
            continue
        allowed = BELOW.get(parts[1], set()) | {parts[1]}
        upward += [f"{name} imports {other}" for other in packages(imported(file)) - allowed]
    assert not upward


def test_the_space_needs_nothing_of_the_flow():
    """But where a module of it is part of the flow by a link."""
    for name, file in modules(TOP / "space").items():
        assert name == "audio_decoder" or not [module for module in imported(file) if module.partition(".")[0] == "asr"]


def test_no_module_is_too_long_to_read():
    lines = {
        file.relative_to(TOP): len(file.read_text(encoding="utf-8").splitlines())
        for folder in ("flows", "space")
        for file in (TOP / folder).rglob("*.py")
    }
    assert not {str(file): count for file, count in lines.items() if count > MAX_LINES}
    assert lines[Path("flows/whisper_flow.py")] < MAX_FLOW_LINES
