"""How the tests are shared between processes: a file stays together, and so does all that looks at the whole run."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is made once for many tests is then made in one process alone."""
    for item in items:
        shared = "the whole run" if "tiny_run" in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(shared))
