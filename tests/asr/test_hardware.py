"""How branches share a machine."""

import pytest
from asr import hardware


@pytest.mark.parametrize(
    ("cores", "workers", "trials", "threads"),
    [(2, "4", 3, 1), (2, "4", 1, 2), (8, "4", 2, 4), (8, "3", 9, 2), (1, "16", 16, 1), (2, "1", 3, 2)],
)
def test_parallel_trials_share_the_cores_and_each_gets_one(monkeypatch, cores, workers, trials, threads):
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    monkeypatch.setenv("METAFLOW_RUN_MAX_WORKERS", workers)
    assert hardware.threads_per_trial(trials) == threads


def test_a_pod_runs_one_trial_on_all_cores_of_its_container(monkeypatch, tmp_path):
    monkeypatch.setenv("METAFLOW_KUBERNETES_WORKLOAD", "1")
    monkeypatch.setattr(hardware, "CPU_QUOTA", tmp_path / "cpu.max")
    available = hardware.cores()
    quotas = {"max 100000": available, "100000 100000": 1, "50000 100000": 1, "6400000 100000": available}
    for quota, cores in quotas.items():
        (tmp_path / "cpu.max").write_text(quota)
        assert (hardware.cores(), hardware.parallel_trials(3), hardware.threads_per_trial(3)) == (cores, 1, cores)


def test_the_three_default_trials_run_side_by_side_even_on_one_core(monkeypatch):
    monkeypatch.delenv("METAFLOW_RUN_MAX_WORKERS", raising=False)
    monkeypatch.setattr(hardware, "cores", lambda: 1)
    assert hardware.parallel_trials(3) == 3
