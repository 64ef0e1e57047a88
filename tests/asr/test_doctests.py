"""The examples in docstrings run as they stand."""

import doctest
import importlib
from pathlib import Path

import pytest

FLOWS = Path(importlib.import_module("asr").__file__).parents[1]
SHOWN = sorted(
    ".".join(path.relative_to(FLOWS).with_suffix("").parts)
    for wing in ("asr", "sample")
    for path in FLOWS.glob(f"{wing}/**/*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", SHOWN)
def test_the_examples_of_a_module_are_true(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried
    assert not failed
