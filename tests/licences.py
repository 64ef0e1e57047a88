"""The licences of the packages that the flow and the Space install, from their metadata.

    python tests/licences.py > .github/LICENCES.md

A licence that is not in `LICENCES` has not been reviewed.
"""

from __future__ import annotations

import re
import sys
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "LICENCES.md"
SPDX_IDENTIFIERS = {  # licence names in package metadata, and their SPDX identifiers where unambiguous
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "BSD": "BSD",
    "Copyright (c) 2014-2017 EPFL-LCAV": "MIT",  # pyroomacoustics has the licence's text in the field
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
COPYLEFT = {
    "LGPL",
    "LGPL-2.1-or-later",
    "MPL-2.0",
    "MPL-2.0 AND (Apache-2.0 OR MIT)",
    "MPL-2.0 AND MIT",
}
PERMISSIVE = {
    "Apache-2.0",
    "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause AND BSL-1.0 AND MIT",
    "Apache-2.0 AND BSD-2-Clause",
    "Apache-2.0 AND CNRI-Python",
    "Apache-2.0 AND MIT",
    "Apache-2.0 OR BSD-2-Clause",
    "Apache-2.0 OR BSD-3-Clause",
    "BSD",
    "BSD, Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
}
LICENCES = COPYLEFT | PERMISSIVE
EXTRAS = ("cloud", "common-voice", "ggml", "lora", "numbers", "trackers")
NEWER_PYTHON_ROW = "| audioop-lts | 0.2.2 | PSF-2.0 |"  # needed since Python 3.13


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str

    @property
    def row(self) -> str:
        return f"| {self.name} | {self.version} | {self.licence} |"


def licence(package: Distribution) -> str:
    """Of an installed package: its licence expression, else a known first line of its licence, else its classifiers."""
    metadata = package.metadata
    if expression := metadata["License-Expression"]:
        return str(expression)
    line = (metadata["License"] or "").strip().partition("\n")[0]
    first_line = SPDX_IDENTIFIERS.get(line, line)
    if first_line in LICENCES - {"BSD"}:
        return first_line
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    names = [text.rpartition(" :: ")[2] for text in classifiers]
    return ", ".join(SPDX_IDENTIFIERS.get(name, name) for name in names) or first_line or "unknown"


def runtime() -> list[Package]:
    """All packages that the requirements install, by name; without CUDA, which depends on the build of torch."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][name] for name in EXTRAS)]
    queue = [Requirement(name) for text in texts for name in text.split()]
    cuda = set(re.findall(r"^([\w.-]+)==", (ROOT / ".ci" / "hashes-cuda.txt").read_text(encoding="utf-8"), re.M))
    packages: dict[str, Package] = {}
    done: set[tuple[str, str]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} if name not in cuda else ():
            if (name, extra) not in done:
                done.add((name, extra))
                installed = distribution(name)
                packages[name] = Package(name, installed.version.partition("+")[0], licence(installed))
                needs = map(Requirement, installed.requires or [])
                queue += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return sorted(packages.values(), key=lambda package: package.name)


def rows(packages: list[Package]) -> str:
    return "\n".join(["| package | version | licence |", "|---|---|---|", *(package.row for package in packages)])


def page() -> str:
    packages = runtime()
    copyleft = [package for package in packages if package.licence in COPYLEFT]
    return f"""# Licences of what is installed

Written by `python tests/licences.py` from the packages' own metadata; `tests/test_dependencies.py` fails for a
package that is missing here, or whose licence was not reviewed. whisper-flow itself is Apache-2.0. To distribute an
image (`flows/Dockerfile`, `space/Dockerfile`) is to distribute these packages, under the terms of their licences.

## Copyleft

{rows(copyleft)}

num2words and soxr are used unchanged, as replaceable packages. Wheels contain more than their metadata says:

- **PyAV** (`av`, BSD-3-Clause by its metadata) contains FFmpeg, built as LGPL-3.0-or-later, **with x264 and x265, which
  are GPL-2.0-or-later**, and LAME, GnuTLS, Nettle, GMP and libunistring (LGPL, some with GPL as an alternative). An
  image with this wheel contains GPL software: offer the sources, or build PyAV without those two
  (`pip install --no-binary av` with your own FFmpeg). This program only decodes, and encodes Opus and MP3 to augment
  training speech; it uses neither x264 nor x265.
- **soundfile** contains libsndfile (LGPL-2.1-or-later) and its libraries, such as mpg123 and LAME (LGPL).
- **numpy, scipy, ctranslate2, pywhispercpp** contain GCC's runtime libraries (GPL-3.0 with the runtime exception).
- **CUDA**, which torch installs on Linux (`.ci/hashes-cuda.txt`): NVIDIA's own licence, so an image with it is under
  NVIDIA's terms; nvtx and cuda-pathfinder say Apache-2.0. triton and cuda-bindings were not reviewed.
- Images also contain Debian's packages of `python:3.11-slim`; their licences are in `/usr/share/doc/*/copyright`.

## All

{rows(packages)}
{NEWER_PYTHON_ROW}
"""


if __name__ == "__main__":
    sys.stdout.write(page())
