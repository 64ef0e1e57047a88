"""Which weights learn, what the loss is, and what is made of adapters."""

import copy

import pytest
import torch
from asr.settings import Settings
from asr.training import models
from asr.training.batches import IGNORED_LABEL, PROMPT_OFFSET, pad_labels
from asr.training.learner import Learner, label_positions


@pytest.fixture
def learner(whisper, tiny):
    """A function to a learner of a copy of the tiny Whisper."""

    def make(based=True, **training):
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=training)})
        if based:
            settings = settings.model_copy(update={"model": settings.model.model_copy(update={"base": "some"})})
        torch.manual_seed(1)
        return Learner(copy.deepcopy(whisper[0]), settings)

    return make


@pytest.fixture
def batch(whisper):
    """(2, 80, 100) log-mels and (2, tokens) labels."""
    torch.manual_seed(0)
    spelt = [whisper[1].tokenizer(text).input_ids for text in (" Hej", " Klockan är sju")]
    return torch.randn(2, 80, 100), pad_labels(spelt)


def step(learner, batch, rate=0.1):
    learner.train()(*batch)["loss"].backward()
    torch.optim.SGD([weight for weight in learner.parameters() if weight.requires_grad], rate).step()


def test_the_loss_is_that_of_the_stock_model(learner, batch):
    """At 30 s, where the stock model can run at all; label padding does not count."""
    one, (_, labels) = learner(), batch
    features = torch.randn(2, 80, 3_000)
    ours = one.eval()(features, labels)["loss"]
    stock = one.whisper(
        input_features=features, decoder_input_ids=labels[:, :-1].clamp(min=0), labels=labels[:, 1:].contiguous()
    ).loss
    torch.testing.assert_close(ours, stock)


def test_a_frozen_encoder_stays_and_the_decoder_learns(learner, batch):
    one = learner(freeze_encoder=True)
    before = copy.deepcopy(one.whisper.state_dict())
    step(one, batch)
    changed = {name for name, weight in one.whisper.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith("model.encoder.")]


@pytest.mark.parametrize("more", [{}, {"lora_rank": 2}, {"freeze_encoder": True}])
def test_checkpointed_activations_change_no_gradient(learner, batch, more):
    grads = []
    for saving in (False, True):
        one = learner(gradient_checkpointing=saving, **more)
        one.train()(*batch)["loss"].backward()
        grads.append({name: weight.grad for name, weight in one.named_parameters() if weight.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_smoothing_is_in_the_loss_but_not_in_what_trials_are_compared_by(learner, batch):
    plain, smooth = learner().eval(), learner(label_smoothing=0.2).eval()
    assert smooth(*batch)["loss"] != plain(*batch)["loss"]
    assert smooth.total_cross_entropy(*batch)[0] == plain.total_cross_entropy(*batch)[0]
    assert plain.total_cross_entropy(*batch)[1] == sum(int((row != IGNORED_LABEL).sum()) - 1 for row in batch[1])


@pytest.mark.parametrize("based", [True, False])
def test_the_parts_of_a_batch_add_up_to_its_loss_and_gradients(learner, batch, based):
    features, labels = batch
    whole, parted = learner(based, label_smoothing=0.1).train(), learner(based, label_smoothing=0.1).train()
    loss = whole(features, labels)["loss"]
    loss.backward()
    losses = []
    for row in range(2):
        part = features[row : row + 1], labels[row : row + 1]
        losses.append(parted(*part, tokens=len(label_positions(labels)), clips=2)["loss"])
        losses[-1].backward()
    torch.testing.assert_close(sum(losses), loss)
    for (name, one), other in zip(whole.named_parameters(), parted.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_alignment_loss_is_torchs_mean(learner, batch):
    one = learner(based=False).eval()
    states, labels = models.encode(one.whisper, batch[0]), batch[1]
    words = [row[(row >= 0) & (row < one.blank)] for row in labels]
    scores = one.ctc_head(states).log_softmax(-1).transpose(0, 1)
    lengths = torch.full((2,), len(scores)), torch.tensor([len(row) for row in words])
    mean = torch.nn.functional.ctc_loss(scores, torch.cat(words), *lengths, blank=one.blank)
    torch.testing.assert_close(one._ctc_loss(states, labels) / 2, mean)


@pytest.mark.parametrize("based", [True, False])
def test_text_before_a_clips_own_is_read_and_not_learnt(learner, batch, based):
    features, labels = batch
    one = learner(based).eval()
    before = torch.tensor([[7, 8, 9]] * 2)
    masked = torch.cat([PROMPT_OFFSET - before, PROMPT_OFFSET - labels[:, :1], labels[:, 1:]], 1)
    plain, prompted, other = (one(features, which) for which in (labels, masked, masked + (masked <= PROMPT_OFFSET)))
    assert (
        one.total_cross_entropy(features, masked)[1] == one.total_cross_entropy(features, labels)[1]
    )  # as many tokens are learnt
    assert len({float(found["cross_entropy"]) for found in (plain, prompted, other)}) == 3  # and others are read
    whole = torch.cat([before, labels], 1)  # by the decoder itself
    with torch.inference_mode():
        states = models.encode(one.whisper, features)
        heard = whole[:, :-1].masked_fill(whole[:, :-1] == IGNORED_LABEL, one.whisper.config.pad_token_id)
        decoded = one.whisper.model.decoder(input_ids=heard, encoder_hidden_states=states).last_hidden_state
        scores = one.whisper.proj_out(decoded)
    expected = whole[:, 1:].clone()
    expected[:, :3] = IGNORED_LABEL
    mean = torch.nn.functional.cross_entropy(scores.flatten(0, 1), expected.flatten(), ignore_index=IGNORED_LABEL)
    torch.testing.assert_close(prompted["cross_entropy"], mean)


def test_the_loss_on_silence_is_a_number(learner, whisper):
    labels = torch.tensor([whisper[1].tokenizer("").input_ids])
    assert torch.isfinite(learner(based=False).train()(torch.randn(1, 80, 60), labels)["loss"])


def test_adapters_learn_and_nothing_else(learner, batch):
    one = learner(lora_rank=2)
    assert all("lora_" in name for name in one.trainable_weights())
    assert sum(weight.numel() for weight in one.trainable_weights().values()) < 0.3 * sum(
        weight.numel() for weight in one.parameters()
    )
    before = copy.deepcopy(one.state_dict())
    for _ in range(2):  # the second half of an adapter begins at nought, so the first learns from the second step on
        step(one, batch)
    changed = {name for name, weight in one.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed <= set(one.trainable_weights())
    assert {name for name in one.trainable_weights() if "lora_B" in name} <= changed


def test_merged_adapters_are_a_plain_whisper_that_hears_the_same(learner, batch, tmp_path, whisper):
    one = learner(lora_rank=2)
    for _ in range(3):
        step(one, batch)
    plain = one.eval().merged_model()
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    with torch.no_grad():
        torch.testing.assert_close(
            models.encode(plain, batch[0]), models.encode(one.whisper, batch[0]), rtol=1e-4, atol=1e-5
        )
    models.save(tmp_path, plain, whisper[1])
    assert models.load(tmp_path)[0].state_dict().keys() == whisper[0].state_dict().keys()
    step(one, batch)  # and the learner can go on


def test_without_adapters_the_whisper_itself_is_plain(learner):
    one = learner()
    assert one.merged_model() is one.whisper


@pytest.mark.parametrize("more", [{}, {"lora_rank": 2}, {"based": False}])
def test_what_was_learnt_goes_over_to_another_learner(learner, batch, more):
    one, other = learner(**more), learner(**more)
    step(one, batch)
    other.set_weights({name: weight.clone() for name, weight in one.trainable_weights().items()})
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_weights_of_another_model_are_refused(learner):
    with pytest.raises(ValueError, match="another model"):
        learner().set_weights(learner(lora_rank=2).trainable_weights())


def test_losses_are_taken_once(learner, batch):
    one = learner().train()
    one.record_loss(torch.tensor(1.5), clips=2)
    one.record_loss(torch.tensor(2.5), clips=1)
    assert one.clips_seen == 3
    assert one.take_losses() == [1.5, 2.5]
    assert one.take_losses() == []


def test_adapters_have_their_own_usual_learning_rates(base):
    settings = Settings.model_validate({"model": {"base": str(base)}, "training": {"lora_rank": 8}})
    assert min(models.default_hyperparameters(settings).learning_rates) > 1e-4
    assert models.optimizer_name(settings) == "adamw"
