"""Which weights learn, what the loss is, and how adapters are merged."""

import copy

import pytest
import torch
from asr.settings import Settings
from asr.training import models
from asr.training.batches import IGNORED_LABEL, PROMPT_OFFSET, pad_labels
from asr.training.learner import Learner, label_positions


@pytest.fixture
def learner(whisper, tiny):
    """A function that returns a learner of a copy of the tiny Whisper."""

    def make(has_base=True, **training):
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=training)})
        if has_base:
            settings = settings.model_copy(update={"model": settings.model.model_copy(update={"base": "some"})})
        torch.manual_seed(1)
        return Learner(copy.deepcopy(whisper[0]), settings)

    return make


@pytest.fixture
def batch(whisper):
    """(2, 80, 100) log-mels and (2, tokens) labels."""
    torch.manual_seed(0)
    token_lists = [whisper[1].tokenizer(text).input_ids for text in (" Hej", " Klockan är sju")]
    return torch.randn(2, 80, 100), pad_labels(token_lists)


def step(learner, batch, rate=0.1):
    learner.train()(*batch)["loss"].backward()
    torch.optim.SGD([weight for weight in learner.parameters() if weight.requires_grad], rate).step()


def test_the_loss_is_that_of_the_stock_model(learner, batch):
    """At 30 s, where the stock model can run at all; label padding does not count."""
    model, (_, labels) = learner(), batch
    features = torch.randn(2, 80, 3_000)
    ours = model.eval()(features, labels)["loss"]
    stock = model.whisper(
        input_features=features, decoder_input_ids=labels[:, :-1].clamp(min=0), labels=labels[:, 1:].contiguous()
    ).loss
    torch.testing.assert_close(ours, stock)


def test_a_frozen_encoder_stays_unchanged_and_the_decoder_learns(learner, batch):
    model = learner(freeze_encoder=True)
    before = copy.deepcopy(model.whisper.state_dict())
    step(model, batch)
    changed = {name for name, weight in model.whisper.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith("model.encoder.")]


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"freeze_encoder": True}])
def test_checkpointed_activations_change_no_gradient(learner, batch, options):
    grads = []
    for saving in (False, True):
        model = learner(gradient_checkpointing=saving, **options)
        model.train()(*batch)["loss"].backward()
        grads.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_smoothing_is_in_the_loss_but_not_in_the_cross_entropy_that_compares_trials(learner, batch):
    plain, smooth = learner().eval(), learner(label_smoothing=0.2).eval()
    assert smooth(*batch)["loss"] != plain(*batch)["loss"]
    assert smooth.total_cross_entropy(*batch)[0] == plain.total_cross_entropy(*batch)[0]
    assert plain.total_cross_entropy(*batch)[1] == sum(int((row != IGNORED_LABEL).sum()) - 1 for row in batch[1])


@pytest.mark.parametrize("has_base", [True, False])
def test_the_parts_of_a_batch_add_up_to_its_loss_and_gradients(learner, batch, has_base):
    features, labels = batch
    full, parted = learner(has_base, label_smoothing=0.1).train(), learner(has_base, label_smoothing=0.1).train()
    loss = full(features, labels)["loss"]
    loss.backward()
    losses = []
    for row in range(2):
        part = features[row : row + 1], labels[row : row + 1]
        losses.append(parted(*part, tokens=len(label_positions(labels)), clips=2)["loss"])
        losses[-1].backward()
    torch.testing.assert_close(sum(losses), loss)
    for (name, weight), part_weight in zip(full.named_parameters(), parted.parameters(), strict=True):
        if weight.grad is not None:
            torch.testing.assert_close(part_weight.grad, weight.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_alignment_loss_is_torchs_mean(learner, batch):
    model = learner(has_base=False).eval()
    states, labels = models.encode(model.whisper, batch[0]), batch[1]
    words = [row[(row >= 0) & (row < model.blank)] for row in labels]
    scores = model.ctc_head(states).log_softmax(-1).transpose(0, 1)
    lengths = torch.full((2,), len(scores)), torch.tensor([len(row) for row in words])
    mean = torch.nn.functional.ctc_loss(scores, torch.cat(words), *lengths, blank=model.blank)
    torch.testing.assert_close(model._ctc_loss(states, labels) / 2, mean)


@pytest.mark.parametrize("has_base", [True, False])
def test_a_text_prompt_is_read_and_not_learnt(learner, batch, has_base):
    features, labels = batch
    model = learner(has_base).eval()
    prompt = torch.tensor([[7, 8, 9]] * 2)
    masked = torch.cat([PROMPT_OFFSET - prompt, PROMPT_OFFSET - labels[:, :1], labels[:, 1:]], 1)
    plain, prompted, other = (
        model(features, variant) for variant in (labels, masked, masked + (masked <= PROMPT_OFFSET))
    )
    assert (
        model.total_cross_entropy(features, masked)[1] == model.total_cross_entropy(features, labels)[1]
    )  # as many tokens are learnt
    assert len({float(losses["cross_entropy"]) for losses in (plain, prompted, other)}) == 3  # and others are read
    full = torch.cat([prompt, labels], 1)  # by the decoder itself
    with torch.inference_mode():
        states = models.encode(model.whisper, features)
        inputs = full[:, :-1].masked_fill(full[:, :-1] == IGNORED_LABEL, model.whisper.config.pad_token_id)
        decoded = model.whisper.model.decoder(input_ids=inputs, encoder_hidden_states=states).last_hidden_state
        scores = model.whisper.proj_out(decoded)
    expected = full[:, 1:].clone()
    expected[:, :3] = IGNORED_LABEL
    mean = torch.nn.functional.cross_entropy(scores.flatten(0, 1), expected.flatten(), ignore_index=IGNORED_LABEL)
    torch.testing.assert_close(prompted["cross_entropy"], mean)


def test_the_loss_on_silence_is_finite(learner, whisper):
    labels = torch.tensor([whisper[1].tokenizer("").input_ids])
    assert torch.isfinite(learner(has_base=False).train()(torch.randn(1, 80, 60), labels)["loss"])


def test_adapters_learn_and_nothing_else(learner, batch):
    model = learner(lora_rank=2)
    assert all("lora_" in name for name in model.trainable_weights())
    assert sum(weight.numel() for weight in model.trainable_weights().values()) < 0.3 * sum(
        weight.numel() for weight in model.parameters()
    )
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):  # the second half of an adapter begins at 0, so the first learns from the second step on
        step(model, batch)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed <= set(model.trainable_weights())
    assert {name for name in model.trainable_weights() if "lora_B" in name} <= changed


def test_merged_adapters_are_a_plain_whisper_with_the_same_states(learner, batch, tmp_path, whisper):
    model = learner(lora_rank=2)
    for _ in range(3):
        step(model, batch)
    plain = model.eval().merged_model()
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    with torch.no_grad():
        torch.testing.assert_close(
            models.encode(plain, batch[0]), models.encode(model.whisper, batch[0]), rtol=1e-4, atol=1e-5
        )
    models.save(tmp_path, plain, whisper[1])
    assert models.load(tmp_path)[0].state_dict().keys() == whisper[0].state_dict().keys()
    step(model, batch)  # and the learner can continue


def test_without_adapters_the_merged_model_is_the_whisper_itself(learner):
    model = learner()
    assert model.merged_model() is model.whisper


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"has_base": False}])
def test_learnt_weights_can_be_set_in_another_learner(learner, batch, options):
    model, other = learner(**options), learner(**options)
    step(model, batch)
    other.set_weights({name: weight.clone() for name, weight in model.trainable_weights().items()})
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_weights_of_another_model_are_refused(learner):
    with pytest.raises(ValueError, match="another model"):
        learner().set_weights(learner(lora_rank=2).trainable_weights())


def test_losses_are_taken_once(learner, batch):
    model = learner().train()
    model.record_loss(torch.tensor(1.5), clips=2)
    model.record_loss(torch.tensor(2.5), clips=1)
    assert model.clips_seen == 3
    assert model.take_losses() == [1.5, 2.5]
    assert model.take_losses() == []


def test_adapters_have_their_own_default_learning_rates(base):
    settings = Settings.model_validate({"model": {"base": str(base)}, "training": {"lora_rank": 8}})
    assert min(models.default_hyperparameters(settings).learning_rates) > 1e-4
    assert models.optimizer_name(settings) == "adamw"
