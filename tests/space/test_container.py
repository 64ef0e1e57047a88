"""The Dockerfile, as far as it can be checked without a daemon."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

SPACE = Path(__file__).parents[2] / "space"
HADOLINT = Path(sys.executable).with_name("hadolint")
INDIRECT = {
    "anyio",
    "fastapi",
    "starlette",
    "markupsafe",
    "pydantic",
    "python-multipart",
    "tokenizers",
}  # installed by gradio and faster-whisper, which pin them
# Optional, or only mentioned; and the flow's package, to which a linked module belongs.
NOT_NEEDED = {"spaces", "torch", "transformers", "safetensors", "mcp", "asr"}


@pytest.mark.parametrize("dockerfile", [SPACE / "Dockerfile", SPACE.parent / "flows" / "Dockerfile"])
def test_hadolint_accepts_the_dockerfile(dockerfile):
    result = subprocess.run([HADOLINT, dockerfile], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_requirements_install_every_imported_package():
    pinned = set(re.findall(r"^([\w-]+)==", (SPACE / "requirements.txt").read_text(), re.M))
    owners, missing = packages_distributions(), set()
    for file in SPACE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - NOT_NEEDED:
                distributions = {owner.lower().replace("_", "-") for owner in owners.get(name, [])}
                if not (SPACE / f"{name}.py").exists() and not distributions & (pinned | INDIRECT):
                    missing.add(name)
    assert not missing
