"""Dependencies: pinned once, with hashes, each with a reviewed and documented licence."""

from __future__ import annotations

import re
from configparser import ConfigParser
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from licences import FILE, LICENCES, NEWER_PYTHON_ROW, licence, runtime

ROOT = Path(__file__).parents[1]
SHA256 = re.compile(r"--hash=sha256:[0-9a-f]{64}$")


def pins(name: str) -> dict[str, str]:
    """A file's packages and their versions."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text(encoding="utf-8"), re.M))


def hashes(name: str) -> dict[str, int]:
    """A file's packages, and how many hashes each has."""
    counts: dict[str, int] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if package := re.match(r"([\w.-]+)==", line):
            counts[(current := package[1])] = 0
        elif line.startswith("    "):
            assert SHA256.search(line.removesuffix(" \\")), line
            counts[current] += 1
    return counts


def test_hashes_and_constraints_have_the_same_versions():
    assert pins(".ci/hashes.txt") == pins("constraints.txt")


@pytest.mark.parametrize("name", [".ci/hashes.txt", ".ci/hashes-cuda.txt"])
def test_every_version_has_a_hash(name):
    assert min(hashes(name).values()) >= 1
    assert hashes(name).keys() == pins(name).keys()


def test_torch_has_the_hashes_of_its_cpu_builds():
    text = (ROOT / ".ci/hashes.txt").read_text(encoding="utf-8")
    assert "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b" in text  # for Python 3.11 on x86_64


def test_no_requirements_file_names_a_url_or_an_option():
    for name in ("constraints.txt", ".ci/hashes.txt", ".ci/hashes-cuda.txt", "space/requirements.txt"):
        assert not re.search(r"://|^-", (ROOT / name).read_text(encoding="utf-8"), re.M), name


def test_the_space_pins_what_the_constraints_pin():
    lines = [line for line in (ROOT / "space" / "requirements.txt").read_text().splitlines() if line]
    assert pins("space/requirements.txt").items() <= pins("constraints.txt").items()
    assert len(pins("space/requirements.txt")) == len(lines)  # every line has a version


def test_the_build_requirement_is_pinned():
    (version,) = re.findall(r"setuptools==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert version == pins("constraints.txt")["setuptools"]


def test_every_requirement_is_pinned():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    names = {name.replace("_", "-").lower() for text in named for name in text.split() if "[" not in name}
    assert names <= pins("constraints.txt").keys()


def test_every_dependency_has_a_reviewed_licence():
    assert not {package.name: package.licence for package in runtime() if package.licence not in LICENCES}


def test_an_unknown_licence_counts_as_not_reviewed(tmp_path):
    metadata = "Metadata-Version: 2.1\nName: new\nVersion: 1\n"
    for line in ("", "License: Ask the author\n", "Classifier: License :: OSI Approved :: GNU Affero GPL v3\n"):
        folder = tmp_path / "new-1.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(metadata + line)
        assert licence(PathDistribution(folder)) not in LICENCES


def test_the_licence_table_lists_exactly_what_is_installed():
    table = set(re.findall(r"^\| .+ \|$", FILE.read_text(encoding="utf-8").partition("## All")[2], re.M))
    assert {package.row for package in runtime()} <= table, "update it: python tests/licences.py > .github/LICENCES.md"
    versions = {tuple(row.strip("| ").split(" | ")[:2]) for row in table} - {("package", "version")}
    assert versions <= pins("constraints.txt").items()
    assert NEWER_PYTHON_ROW in table


def test_the_page_names_the_libraries_in_the_wheel_of_pyav():
    """The metadata of `av` says BSD; the libraries in its wheel have other licences."""
    bundled = {file.name for file in distribution("av").files or [] if ".libs" in str(file)}
    if not bundled:
        pytest.skip("built here, or for another system")
    page = FILE.read_text(encoding="utf-8")
    for library in ("x264", "x265"):
        assert any(library in name for name in bundled) == (f"{library}" in page)


def test_every_test_named_in_security_md_exists():
    page = (ROOT / ".github/SECURITY.md").read_text(encoding="utf-8")
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", page))
    assert len(names) > 10
    assert not [name for name in names if f"def {name}(" not in tests]
