"""A batch is split into as many parts as the memory requires, with the same result."""

import functools

import pytest
import torch
from asr.training import trial
from asr.training.learner import Learner
from asr.training.search import Trial


@pytest.fixture(scope="module")
def train(tiny, speech):
    """A function that trains for a few steps: every weight, the losses and the printed lines."""

    def fine_tune(**training):
        options = {"steps": 6, "evaluations": 1, "validation_clips": 1, "batch_size": 4, **training}
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=options)})
        lines = []
        outcome, model, _ = trial.fine_tune(Trial(0, 4e-3, 0.01), settings, speech, lines.append)
        return model.state_dict(), [entry.loss for entry in outcome.history], lines

    return fine_tune


@pytest.fixture(scope="module")
def train_whole(train):
    """Like `train`, but each training is only run once; with memory for whole batches."""
    return functools.cache(train)


class LimitedMemory:
    """Runs out above a number of frames in one part, in the forward pass or in the middle of the backward pass."""

    def __init__(self, monkeypatch, frames, backwards=False):
        self.frames, self.backwards, self.times, self.hook = frames, backwards, 0, None
        forward = Learner.forward

        def limited(learner, input_features, labels, **options):
            result = forward(learner, input_features, labels, **options)
            if input_features.shape[0] * input_features.shape[2] > self.frames:
                if not self.backwards:
                    self.run_out()
                # by then the decoder has its gradients, and the encoder has none
                weight = learner.whisper.model.encoder.layer_norm.weight
                self.hook = weight.register_hook(lambda _: self.run_out())
            return result

        monkeypatch.setattr(Learner, "forward", limited)

    def run_out(self):
        self.times += 1
        if self.hook:
            self.hook.remove()
        raise torch.OutOfMemoryError("CUDA out of memory")


def assert_close(weights, others):
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_train_as_whole_batches_do(train, train_whole, size):
    weights, losses, _ = train_whole()
    others, other_losses, _ = train(micro_batch=size)
    assert_close(weights, others)
    assert other_losses == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_when_memory_runs_out_batches_are_split_with_the_same_result(
    train, train_whole, monkeypatch, accumulate, backwards
):
    weights, losses, _ = train_whole(accumulate=accumulate, batch_size=8)
    memory = LimitedMemory(monkeypatch, 900, backwards)
    others, other_losses, lines = train(accumulate=accumulate, batch_size=8)
    assert_close(weights, others)
    assert other_losses == pytest.approx(losses, rel=1e-3)
    messages = [line for line in lines if "memory" in line]
    assert len(messages) == memory.times > 0
    assert "from here on batches are split into parts of 4" in messages[0]


def test_a_gpu_too_small_for_one_clip_is_reported_in_one_line(train, refusal, monkeypatch):
    LimitedMemory(monkeypatch, 10)
    assert "do not hold the model and one clip" in refusal(train)
