"""The examples in docstrings run and give the results shown."""

import doctest
import importlib
from pathlib import Path

import pytest

FLOWS = Path(importlib.import_module("asr").__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(FLOWS).with_suffix("").parts)
    for package in ("asr", "sample")
    for path in FLOWS.glob(f"{package}/**/*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_correct(module):
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert attempted
    assert not failed
