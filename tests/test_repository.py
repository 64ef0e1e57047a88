"""Files for GitHub and other tools are well formed and match the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from asr import __version__

ROOT = Path(__file__).parents[1]
FILES = [
    *(ROOT / ".github").rglob("*.yml"),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_yaml_file_is_valid(file):
    assert yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_citation_has_the_version_of_the_package():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


def test_the_changelog_has_the_version_of_the_package():
    assert f"## {__version__}" in (ROOT / "flows/docs/CHANGELOG.md").read_text(encoding="utf-8")


def test_pre_commit_has_the_ruff_of_the_constraints():
    (pinned,) = re.findall(r"^ruff==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    (used,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert used["rev"] == f"v{pinned}"


def test_the_workflow_runs_what_a_developer_can_run():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
