"""Benchmarks are run by hand: what they share, and what they do on a GPU, goes wrong unseen."""

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
    """A function that imports a benchmark, which finds the others beside it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_each_names_the_machine_it_ran_on(benchmark, capsys):
    benchmark("machine").print_result({"seconds": 3})
    told = json.loads(capsys.readouterr().out)
    assert told["seconds"] == 3
    assert told["capability"] == torch.backends.cpu.get_cpu_capability()
    assert told["threads"] == torch.get_num_threads()
    assert told["cpu"]
    assert told["cores"] >= 1


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.py")), ids=lambda file: file.stem)
def test_every_benchmark_can_be_imported_and_ends_with_its_machine(benchmark, file):
    text = file.read_text(encoding="utf-8")
    if file.stem in ("bad_days", "espeak", "random_models", "machine"):
        return
    assert "machine.print_result(" in text
    benchmark(file.stem)


def test_what_memory_measures_on_a_gpu_runs_on_a_cpu(benchmark, whisper, tiny):
    memory = benchmark("memory")
    learner = memory.Learner(copy.deepcopy(whisper[0]), tiny).train()
    before = [weight.clone() for weight in learner.parameters()]
    memory.saved_bytes(learner, 100, 10)  # as the report does first
    found = memory.measure(learner, 100, 10, device="cpu", clips=2)
    assert found["clips_per_second"] > 0
    assert found["gib"] is None
    assert any(not torch.equal(one, other) for one, other in zip(before, learner.parameters(), strict=True))


@pytest.mark.parametrize(("name", "share"), [("NVIDIA H200", 0.101), ("Some other", None)])
def test_the_share_of_a_peak_is_of_the_chip_at_hand(benchmark, monkeypatch, name, share):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    found = benchmark("memory").share_of_peak(1e15, 10.0)
    assert found == share or math.isclose(found, share)
