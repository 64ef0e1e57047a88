"""Benchmarks are run manually; these tests find faults in their shared code and GPU code."""

import copy
import importlib
import json
import math
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """A function that imports a benchmark, with the folder of all benchmarks on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_a_result_names_its_machine(benchmark, capsys):
    benchmark("machine").print_result({"seconds": 3})
    record = json.loads(capsys.readouterr().out)
    assert record["seconds"] == 3
    assert record["capability"] == torch.backends.cpu.get_cpu_capability()
    assert record["threads"] == torch.get_num_threads()
    assert record["cpu"]
    assert record["cores"] >= 1


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.py")), ids=lambda file: file.stem)
def test_every_benchmark_can_be_imported_and_prints_its_machine(benchmark, file):
    text = file.read_text(encoding="utf-8")
    if file.stem in ("bad_days", "espeak", "random_models", "machine"):
        return
    assert "machine.print_result(" in text
    benchmark(file.stem)


def test_the_drill_names_tests_that_exist(benchmark):
    for _, tests in benchmark("drill").KINDS.values():
        for file, name in (test.split("::") for test in tests):
            assert f"def {name}(" in (BENCHMARKS.parents[1] / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_memory_measurement_runs_on_a_cpu_too(benchmark, whisper, tiny):
    memory = benchmark("memory")
    learner = memory.Learner(copy.deepcopy(whisper[0]), tiny).train()
    before = [weight.clone() for weight in learner.parameters()]
    memory.saved_bytes(learner, 100, 10)  # as the report does first
    result = memory.measure(learner, 100, 10, device="cpu", clips=2)
    assert result["clips_per_second"] > 0
    assert result["gib"] is None
    assert any(not torch.equal(weight, trained) for weight, trained in zip(before, learner.parameters(), strict=True))


@pytest.mark.parametrize(("name", "share"), [("NVIDIA H200", 0.101), ("Some other", None)])
def test_the_share_of_the_peak_is_that_of_the_present_gpu(benchmark, monkeypatch, name, share):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    result = benchmark("memory").share_of_peak(1e15, 10.0)
    assert result == share or math.isclose(result, share)
