"""How the tests are shared between processes: a file stays together, and so does all that looks at the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "test_again.py",
    "test_bucket.py",
    "test_failed.py",
    "test_killed.py",
    "test_spin.py",
    "test_verbs.py",
    "test_whole_run.py",
}  # they look at one run, which takes long to make


class ByFile(LoadScopeScheduling):
    """What is made once for many tests is then made in one process alone."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "the whole run" if Path(file).name in TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first: nobody waits for it at the end."""
    items.sort(key=lambda item: (item.path.name not in TOGETHER, item.path.name != "test_pods.py"))
