"""The licences of what the flow and the Space install, as their packages tell them.

    python tests/licences.py > .github/LICENCES.md

A licence that is not in `LICENCES` is one that nobody has looked at yet.
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
SAID = {  # what packages write, and the identifier of SPDX for it where it tells one
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
    "Copyright (c) 2014-2017 EPFL-LCAV": "MIT",  # pyroomacoustics has the licence's text there
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
LATER = "| audioop-lts | 0.2.2 | PSF-2.0 |"  # which Python has no need of before 3.13


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str

    @property
    def row(self) -> str:
        return f"| {self.name} | {self.version} | {self.licence} |"


def licence(found: Distribution) -> str:
    """Of an installed package: its expression, else its first line about it that is known, else what it says."""
    told = found.metadata
    if expression := told["License-Expression"]:
        return str(expression)
    line = (told["License"] or "").strip().partition("\n")[0]
    if SAID.get(line, line) in LICENCES - {"BSD"}:
        return SAID.get(line, line)
    classes = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or [] if one.startswith("License ::")]
    return ", ".join(SAID.get(one, one) for one in classes) or SAID.get(line, line) or "unknown"


def runtime() -> list[Package]:
    """What the requirements bring, by name; without CUDA, which torch brings on Linux or not."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][name] for name in EXTRAS)]
    waiting = [Requirement(name) for text in texts for name in text.split()]
    cuda = set(re.findall(r"^([\w.-]+)==", (ROOT / ".ci" / "hashes-cuda.txt").read_text(encoding="utf-8"), re.M))
    found: dict[str, Package] = {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} if name not in cuda else ():
            if (name, extra) not in seen:
                seen.add((name, extra))
                there = distribution(name)
                found[name] = Package(name, there.version.partition("+")[0], licence(there))
                needs = map(Requirement, there.requires or [])
                waiting += [one for one in needs if not one.marker or one.marker.evaluate({"extra": extra})]
    return sorted(found.values(), key=lambda package: package.name)


def rows(packages: list[Package]) -> str:
    return "\n".join(["| package | version | licence |", "|---|---|---|", *(package.row for package in packages)])


def page() -> str:
    packages = runtime()
    weak = [package for package in packages if package.licence in COPYLEFT]
    return f"""# Licences of what is installed

Written by `python tests/licences.py` from the packages' own metadata; `tests/test_dependencies.py` fails for a
package that is missing here, or whose licence was not reviewed. whisper-flow itself is Apache-2.0. To distribute an
image (`flows/Dockerfile`, `space/Dockerfile`) is to distribute these packages, under the terms of their licences.

## Copyleft

{rows(weak)}

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
{LATER}
"""


if __name__ == "__main__":
    sys.stdout.write(page())
