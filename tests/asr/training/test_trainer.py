"""A batch is learnt in as many parts as the memory asks for, and what is learnt stays the same."""

import pytest
import torch
from asr.training import trial
from asr.training.learner import Learner
from asr.training.search import Trial


@pytest.fixture
def learnt(tiny, speech, one_thread):
    """A function that trains for a few steps; every weight, and the lines it printed."""

    def fine_tune(**training):
        asked = {"steps": 6, "evaluations": 1, "validation_clips": 1, "batch_size": 4, **training}
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=asked)})
        lines = []
        outcome, model, _ = trial.fine_tune(Trial(0, 4e-3, 0.01), settings, speech, lines.append)
        return model.state_dict(), [look.loss for look in outcome.history], lines

    return fine_tune


class Memory:
    """Runs out where more than so many frames are learnt at once, in the forward pass or half-way back."""

    def __init__(self, monkeypatch, frames, backwards=False):
        self.frames, self.backwards, self.times, self.hook = frames, backwards, 0, None
        forward = Learner.forward

        def limited(learner, input_features, labels, **more):
            found = forward(learner, input_features, labels, **more)
            if input_features.shape[0] * input_features.shape[2] > self.frames:
                if not self.backwards:
                    self.run_out()
                # the decoder's gradients are there by then, and the encoder's are not
                weight = learner.whisper.model.encoder.layer_norm.weight
                self.hook = weight.register_hook(lambda _: self.run_out())
            return found

        monkeypatch.setattr(Learner, "forward", limited)

    def run_out(self):
        self.times += 1
        if self.hook:
            self.hook.remove()
        raise torch.OutOfMemoryError("CUDA out of memory")


def close(one, other):
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_learn_what_whole_batches_do(learnt, size):
    weights, losses, _ = learnt()
    others, same, _ = learnt(micro_batch=size)
    close(weights, others)
    assert same == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_where_memory_runs_out_batches_are_learnt_in_parts_with_the_same_result(
    learnt, monkeypatch, accumulate, backwards
):
    weights, losses, _ = learnt(accumulate=accumulate, batch_size=8)
    memory = Memory(monkeypatch, 900, backwards)
    others, same, lines = learnt(accumulate=accumulate, batch_size=8)
    close(weights, others)
    assert same == pytest.approx(losses, rel=1e-3)
    told = [line for line in lines if "memory" in line]
    assert len(told) == memory.times > 0
    assert "from here on batches are split into parts of 4" in told[0]


def test_a_gpu_that_does_not_hold_one_clip_is_told_in_a_line(learnt, refusal, monkeypatch):
    Memory(monkeypatch, 10)
    assert "do not hold the model and one clip" in refusal(learnt)
