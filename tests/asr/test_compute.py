"""How branches share a machine."""

import pytest
from asr import compute


@pytest.mark.parametrize(
    ("cores", "workers", "trials", "threads"),
    [(2, "4", 3, 1), (2, "4", 1, 2), (8, "4", 2, 4), (8, "3", 9, 2), (1, "16", 16, 1), (2, "1", 3, 2)],
)
def test_trials_side_by_side_share_the_cores_and_none_is_left_without(monkeypatch, cores, workers, trials, threads):
    monkeypatch.setattr(compute, "cores", lambda: cores)
    monkeypatch.setenv("METAFLOW_RUN_MAX_WORKERS", workers)
    assert compute.threads(trials) == threads


def test_the_three_default_trials_run_side_by_side_even_on_one_core(monkeypatch):
    monkeypatch.delenv("METAFLOW_RUN_MAX_WORKERS", raising=False)
    monkeypatch.setattr(compute, "cores", lambda: 1)
    assert compute.at_once(3) == 3
