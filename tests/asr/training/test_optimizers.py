"""Several optimizers that act as one."""

import copy

import pytest
import torch
from asr.training import optimizers
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(9, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.norm = nn.LayerNorm(8)
        self.inner = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(8, 8)])})})

    def forward(self, words):
        states = self.embed(words)
        for layer in (*self.layers, *self.inner["encoder"]["layers"]):
            states = states + layer(states).tanh()
        return self.norm(states)


def learn(network, optimizer, steps, schedule=None):
    for step in range(steps):
        torch.manual_seed(step)
        loss = (network(torch.randint(0, 9, (4,))) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if schedule:
            schedule.step()
    return [weight.detach().clone() for weight in network.parameters()]


def rates(optimizer):
    """The learning rate of every group that steps."""
    return {group["lr"] for part in getattr(optimizer, "parts", (optimizer,)) for group in part.param_groups}


@pytest.mark.parametrize("name", ["muon", "adamw"])
@pytest.mark.parametrize("reload_first", [True, False])
def test_one_schedule_drives_every_group_after_accelerate_loads_the_state(name, reload_first):
    optimizer = optimizers.build(Network(), name, 0.1, 0.01)
    if reload_first:
        optimizer.load_state_dict(optimizer.state_dict())
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    if not reload_first:
        optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    schedule.step()
    assert rates(optimizer) == {0.05}


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_training_resumes_from_a_saved_state_as_if_never_stopped(name):
    network = Network()
    optimizer = optimizers.build(network, name, 0.05, 0.1)
    learn(network, optimizer, 5)
    weights, state = copy.deepcopy(network.state_dict()), copy.deepcopy(optimizer.state_dict())
    expected = learn(network, optimizer, 5)

    restored = Network()
    restored.load_state_dict(weights)
    resumed = optimizers.build(restored, name, 0.05, 0.1)
    resumed.load_state_dict(state)
    assert all(torch.equal(weight, other) for weight, other in zip(learn(restored, resumed, 5), expected, strict=True))


def test_a_saved_state_can_be_written_to_a_file(tmp_path):
    network = Network()
    optimizer = optimizers.build(network, "muon", 0.05, 0.1)
    learn(network, optimizer, 2)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    optimizers.build(Network(), "muon", 0.05, 0.1).load_state_dict(torch.load(tmp_path / "optimizer.pt"))


SHAPES = [(8, 8), (8, 8), (8, 32), (32, 8), (8, 9)]


def singular_values(matrix, iterations=5):
    """The same singular vectors, with each singular value mapped as by the published iteration, in float64."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / torch.linalg.norm(values)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(iterations):
        values = a * values + b * values**3 + c * values**5
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize("shape", [(16, 16), (16, 20), (16, 64), (1, 4)])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_matrices_are_orthogonalized_together_as_each_would_be_alone(shape, rank):
    torch.manual_seed(0)
    rank = min(rank, *shape)
    matrices = torch.stack([torch.randn(shape[0], rank) @ torch.randn(rank, shape[1]) for _ in range(3)])
    results = optimizers.orthogonalize(matrices)
    assert results.dtype == matrices.dtype
    for result, matrix in zip(results, matrices, strict=True):
        assert torch.allclose(result.double(), singular_values(matrix), atol=1e-4)


def test_a_matrix_of_zeros_stays_zero():
    assert not optimizers.orthogonalize(torch.zeros(2, 4, 16)).any()


def test_muon_matches_torchs_muon_up_to_bfloat16(monkeypatch):
    monkeypatch.setattr(optimizers, "MAX_ELEMENTS", 100)  # so that some are orthogonalised alone
    torch.manual_seed(0)
    initial = [torch.randn(shape) for shape in SHAPES]
    ours, theirs = ([torch.nn.Parameter(weight.clone()) for weight in initial] for _ in range(2))
    muons = [
        optimizers.Muon(ours, 0.01, 0.1),
        torch.optim.Muon(theirs, 0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(10):
        for own, reference in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape)
            reference.grad = own.grad.clone()
        for muon in muons:
            muon.step()
    for before, own, reference in zip(initial, ours, theirs, strict=True):
        assert (own - reference).norm() < 0.02 * (own - before).norm()


def test_a_weight_without_a_gradient_stays_unchanged():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    optimizers.Muon([weight], 0.1, 0.1).step()
    assert torch.equal(weight, torch.ones(4, 4))


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_weight_learns_and_is_in_one_group(name):
    network = Network()
    before = [weight.detach().clone() for weight in network.parameters()]
    optimizer = optimizers.build(network, name, 0.05, 0.1)
    grouped = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in network.parameters())
    after = learn(network, optimizer, 1)
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_frozen_weight_stays_unchanged():
    network = Network()
    network.embed.requires_grad_(False)
    before = network.embed.weight.clone()
    learn(network, optimizers.build(network, "muon", 0.05, 0.1), 3)
    assert torch.equal(network.embed.weight, before)


@pytest.mark.parametrize("optimizer_name", ["muon", "adamw"])
def test_norms_and_biases_do_not_decay(optimizer_name):
    network = Network()
    decayed = {
        id(weight)
        for group in optimizers.build(network, optimizer_name, 0.05, 0.1).param_groups
        if group["weight_decay"]
        for weight in group["params"]
    }
    assert {name for name, weight in network.named_parameters() if id(weight) not in decayed} == {
        "layers.0.bias", "layers.1.bias", "norm.weight", "norm.bias", "inner.encoder.layers.0.bias",
    }  # fmt: skip
