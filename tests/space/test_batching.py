"""Requests of concurrent callers in one batch."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import transcriber as engine
from batching import Batcher, Cancelled


class FakeModel:
    """Doubles numbers and records its batches; each run waits until `go` is set."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()

    def __call__(self, key, items):
        self.batches.append((key, list(items)))
        self.go.wait(10)
        return [2 * item for item in items]


@pytest.fixture
def model():
    return FakeModel()


def run_together(batcher, pool, model, *calls):
    """Start the first call, queue the others, then let all run; return the result or error of each."""
    batch_count = len(model.batches)
    first = pool.submit(batcher, *calls[0])
    while len(model.batches) == batch_count:
        time.sleep(0.001)
    others = []
    for call in calls[1:]:
        others.append(pool.submit(batcher, *call))
        while len(batcher._requests) < len(others):
            time.sleep(0.001)
    model.go.set()
    return [future.result(10) if not future.exception(10) else future.exception() for future in (first, *others)]


def test_waiting_callers_share_a_batch_and_get_their_own_results(model):
    with ThreadPoolExecutor() as pool:
        results = run_together(Batcher(model, 4), pool, model, ("a", [1]), ("a", [2, 3]), ("a", [4]))
    assert results == [[2], [4, 6], [8]]
    assert model.batches == [("a", [1]), ("a", [2, 4, 3])]


def test_a_long_request_does_not_delay_a_short_one(model):
    with ThreadPoolExecutor() as pool:
        results = run_together(Batcher(model, 2), pool, model, ("a", [0]), ("a", list(range(10, 18))), ("a", [5]))
    assert results[1] == [2 * item for item in range(10, 18)]
    assert model.batches[1] == ("a", [10, 5])
    assert all(len(items) <= 2 for _, items in model.batches)


def test_requests_with_different_keys_run_in_different_batches(model):
    with ThreadPoolExecutor() as pool:
        results = run_together(Batcher(model, 4), pool, model, ("a", [1]), ("b", [2]), ("c", [3]), ("b", [4]))
    assert results == [[2], [4], [6], [8]]
    assert sorted(model.batches[1:]) == [("b", [2, 4]), ("c", [3])]


def test_a_cancelled_request_does_not_run(model):
    with ThreadPoolExecutor() as pool:
        results = run_together(Batcher(model, 4), pool, model, ("a", [1]), ("a", [2], lambda: False), ("a", [3]))
    assert results[::2] == [[2], [6]] and isinstance(results[1], Cancelled)
    assert [item for _, items in model.batches for item in items] == [1, 3]


def test_an_error_is_raised_only_for_requests_in_its_batch():
    def run(key, items):
        if key == "bad":
            raise RuntimeError("no")
        return items

    batcher = Batcher(run, 4)
    with pytest.raises(RuntimeError, match="no"):
        batcher("bad", [1])
    assert batcher("good", [1, 2]) == [1, 2]
    assert batcher("good", []) == []


def test_concurrent_callers_get_the_text_that_each_would_get_alone(tiny_release, speech, monkeypatch):
    alone = engine.Transcriber(tiny_release)
    monkeypatch.setattr(engine.Hardware, "batches_callers", True)
    together = engine.Transcriber(tiny_release)
    assert together.callers > alone.callers
    alone.context = together.context = "full"  # at their own lengths they would be padded to the longest of a batch
    expected = [alone.transcribe(sound) for sound in speech[:6]]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(together.transcribe, speech[:6]))
    # An untrained model never stops; how long its text gets depends on the longest clip of the batch.
    assert [result.text[:30] for result in results] == [result.text[:30] for result in expected]
    assert len({result.text for result in results}) > 1
