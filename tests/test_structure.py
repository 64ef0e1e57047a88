"""Imports between modules, and the size of modules."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES, MAX_FLOW_LINES = 400, 300
# What each package of the flow may import, and the module `acoustics`. Commands (`python -m`) and TOP_LEVEL may
# import them all; they all may import the other modules.
ALLOWED_IMPORTS = {
    "corpus": set(),
    "acoustics": {"corpus"},
    "scoring": {"corpus", "acoustics"},
    "training": {"corpus", "acoustics", "scoring"},
    "release": {"corpus", "acoustics", "scoring", "training"},
    "cards": {"corpus", "scoring", "training", "release"},
}
TOP_LEVEL = {"pods", "summary"}


def modules(folder):
    """The modules in a folder, by import name."""
    names = {file: file.relative_to(folder).with_suffix("").parts for file in folder.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in names.items()}


def imports(file):
    """The names that a module imports, except for type checking."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    type_checks = [branch for branch in branches if ast.unparse(branch.test) == "TYPE_CHECKING"]
    for_types = {node for check in type_checks for node in ast.walk(check)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def packages(names):
    """The packages of the flow among names of modules."""
    return {name.split(".")[1] for name in names if name.startswith("asr.")} & ALLOWED_IMPORTS.keys()


@pytest.mark.parametrize("folder", ["flows", "space"])
def test_modules_have_no_circular_imports(folder):
    files = modules(ROOT / folder)
    # A package itself is imported with each of its modules.
    dependencies = {
        name: set(imports(file)) & files.keys() - {name, "asr"} for name, file in files.items() if name != "asr"
    }
    assert [name for name in TopologicalSorter(dependencies).static_order() if name in dependencies]


def test_packages_import_only_what_is_allowed():
    upward = []
    for name, file in modules(ROOT / "flows").items():
        parts = name.split(".")
        if parts[0] != "asr" or len(parts) < 2 or parts[-1] == "__main__" or parts[1] in TOP_LEVEL:
            continue
        allowed = ALLOWED_IMPORTS.get(parts[1], set()) | {parts[1]}
        upward += [f"{name} imports {other}" for other in packages(imports(file)) - allowed]
    assert not upward


def test_the_space_does_not_import_the_flow():
    """Except in a module that the flow shares by a link."""
    for name, file in modules(ROOT / "space").items():
        assert name == "audio_decoder" or not [module for module in imports(file) if module.partition(".")[0] == "asr"]


def test_no_module_is_too_long_to_read():
    lines = {
        file.relative_to(ROOT): len(file.read_text(encoding="utf-8").splitlines())
        for folder in ("flows", "space")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert not {str(file): count for file, count in lines.items() if count > MAX_LINES}
    assert lines[Path("flows/whisper_flow.py")] < MAX_FLOW_LINES


def test_the_flow_starts_without_the_heavy_libraries():
    """Each task and each card of a run is a process that imports the flow; a step imports what it needs."""
    code = (
        "import sys, whisper_flow; print(*sorted({'numpy', 'pandas', 'pyarrow', 'av', 'torch'} & sys.modules.keys()))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "flows", capture_output=True, text=True, check=True
    )
    assert process.stdout == "\n"
