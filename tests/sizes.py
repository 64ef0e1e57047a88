"""The size of each required package and of the dependencies that only it has, from installed metadata.

    python tests/sizes.py

Prints the tables of flows/docs/install.md, in megabytes.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
INSTALLED = {canonicalize_name(package.metadata["Name"]): package for package in distributions()}


def megabytes(package: Distribution) -> float:
    """The size of a package's own files."""
    paths = (Path(str(package.locate_file(file))) for file in package.files or [])
    return sum(path.lstat().st_size for path in paths if path.is_file()) / 1e6


def closure(names: list[str]) -> set[str]:
    """Packages and everything they require, where it is installed; CUDA is left out."""
    cuda = set(re.findall(r"^([\w.-]+)==", (ROOT / ".ci" / "hashes-cuda.txt").read_text(encoding="utf-8"), re.M))
    queue, names_found = [canonicalize_name(name) for name in names], set[str]()
    while queue:
        name = queue.pop()
        if name in names_found or name in cuda or name not in INSTALLED:
            continue
        names_found.add(name)
        needs = map(Requirement, INSTALLED[name].requires or [])
        queue += [canonicalize_name(need.name) for need in needs if not need.marker or need.marker.evaluate()]
    return names_found


def total(names: set[str]) -> float:
    return sum(megabytes(INSTALLED[name]) for name in names)


def main() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    base = config["options"]["install_requires"].split()
    everything = closure(base)
    print(f"| base: {len(everything)} packages | {total(everything):,.0f} |\n")
    print("| package | itself | with what it alone brings |\n|---|---|---|")
    rows = []
    for name in base:
        alone = closure([name]) - closure([other for other in base if other != name])
        rows.append((total(alone), megabytes(INSTALLED[canonicalize_name(name)]), name))
    for alone_size, size, name in sorted(rows, key=lambda row: -max(row[:2])):
        print(f"| {name} | {size:,.1f} | {alone_size:,.1f} |")
    print("\n| extra | packages | adds |\n|---|---|---|")
    for extra in sorted(set(config["options.extras_require"]) - {"test"}):
        packages = config["options.extras_require"][extra].split()
        print(f"| `{extra}` | {', '.join(packages)} | {total(closure(packages) - everything):,.1f} |")


if __name__ == "__main__":
    main()
