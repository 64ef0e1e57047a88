"""The Dockerfile, as far as it can be checked without a daemon."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

SPACE = Path(__file__).parents[2] / "space"
LINTER = Path(sys.executable).with_name("hadolint")
BROUGHT = {
    "anyio",
    "fastapi",
    "starlette",
    "markupsafe",
    "pydantic",
    "python-multipart",
    "tokenizers",
}  # by gradio and faster-whisper, which pin them
# Imported where they are there, or told of; and the flow's package, of which a linked module is a part there.
NOT_NEEDED = {"spaces", "torch", "transformers", "safetensors", "mcp", "asr"}


@pytest.mark.parametrize("recipe", [SPACE / "Dockerfile", SPACE.parent / "flows" / "Dockerfile"])
def test_the_linter_finds_nothing_in_the_recipe(recipe):
    told = subprocess.run([LINTER, recipe], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout


def test_what_the_space_imports_is_what_its_requirements_install():
    pinned = set(re.findall(r"^([\w-]+)==", (SPACE / "requirements.txt").read_text(), re.M))
    owners, missing = packages_distributions(), set()
    for file in SPACE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - NOT_NEEDED:
                brought = {one.lower().replace("_", "-") for one in owners.get(name, [])}
                if not (SPACE / f"{name}.py").exists() and not brought & (pinned | BROUGHT):
                    missing.add(name)
    assert not missing
