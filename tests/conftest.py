"""How the tests are shared between processes, and which are quick.

All tests of a file run in one process, and so do all files that use the whole run. `-m quick` imports and runs only the
files of QUICK, some of each package.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from asr import hardware
from xdist.scheduler import LoadScopeScheduling

# As in `memory.no_collections`, for the imports of all tests; `pytest_collection_finish` enables it again.
gc.disable()

# Many containers set it, but hundreds of processes would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Several processes share the cores: each computes in one thread, and idle threads sleep, also in child processes.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", KMP_BLOCKTIME="0")

# The same examples every time, so that only a change can make a test fail. `--hypothesis-profile explore` draws others.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("repeatable")

SAME_RUN = {
    "test_second_run.py",
    "test_ctrl_c.py",
    "test_failed.py",
    "test_spin.py",
    "test_commands.py",
    "test_whole_run.py",
}  # they work in the folder of one run
# These start first, so that no process works alone at the end.
LONG = (
    "test_pods.py",
    "test_trial.py",
    "test_bucket.py",  # waits for the whole run
    "test_app.py",
    "test_pages.py",
)

QUICK = {
    f"test_{name}.py"
    for name in (
        "structure repository settings store plain_values cli terminal summary doctests disk hardware extras acoustics "
        "text folder transcripts manifest files common_voice recordings "  # corpus
        "rates report robustness diagnostics hotwords "  # scoring
        "batches search halving optimizers augmentation checkpoints waveforms base_files prompts "  # training
        "gate deployment examples "  # release
        "about_tab audio_files contributions transcript_html translations live_endpoint "  # space
        "cloud_guide"
    ).split()
}


class ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, so that shared fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "the whole run" if Path(file).name in SAME_RUN else file


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a sixth of the time is waiting, for retries, browsers and the flow's own processes."""
    return hardware.cores() + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if config.option.markexpr == "quick" and is_test and collection_path.name not in QUICK else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick files, and start the long ones first."""
    for item in items:
        if item.path.name in QUICK:
            item.add_marker(pytest.mark.quick)
    order = {name: position for position, name in enumerate(LONG)}
    items.sort(key=lambda item: -1 if item.path.name in SAME_RUN else order.get(item.path.name, len(LONG)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Trainer collects garbage in each trial, which need not go through the objects of imported modules."""
    gc.freeze()
    gc.enable()
