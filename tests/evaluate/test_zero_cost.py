"""Each zero-cost score against its formula, computed directly on tiny networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import nasflow
from nasflow import ir
from nasflow.data import digits
from nasflow.errors import ConfigError
from nasflow.evaluate import zero_cost
from nasflow.evaluate.zero_cost import MEASURES, ZeroCost, measures


@pytest.fixture
def batch() -> zero_cost.Batch:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def mlp(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), *more, nn.ReLU(), nn.Linear(5, 3))


def test_synflow_of_a_chain_is_the_flow_times_its_layers(batch: zero_cost.Batch) -> None:
    """The flow through each layer is the whole of it (Tanaka et al., 2020, theorem 1)."""
    module = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    first, last = (module[i].weight.detach().abs().double() for i in (0, 2))
    flow = float((last @ first).sum())
    assert zero_cost.synflow(module, batch) == pytest.approx(2 * flow, rel=1e-6)


def test_synflow_leaves_norms_out(batch: zero_cost.Batch) -> None:
    plain, normed = mlp(), mlp(nn.BatchNorm1d(5))
    with torch.no_grad():
        normed[1].running_mean.fill_(3.0)  # type: ignore[union-attr]
    assert zero_cost.synflow(normed, batch) == zero_cost.synflow(plain, batch)


def test_snip_is_the_change_of_the_loss_with_each_connection(batch: zero_cost.Batch) -> None:
    module = mlp().double()
    inputs, labels = batch[0].double(), batch[1]
    expected = 0.0
    for weight in (module[0].weight, module[2].weight):
        for i in range(weight.numel()):  # a connection weakened and strengthened a little
            value = float(weight.data.view(-1)[i])
            losses = []
            for share in (1 + 1e-5, 1 - 1e-5):
                weight.data.view(-1)[i] = value * share
                losses.append(functional.cross_entropy(module(inputs), labels).item())
            weight.data.view(-1)[i] = value
            expected += abs(losses[0] - losses[1]) / 2e-5
    assert zero_cost.snip(module, (inputs, labels)) == pytest.approx(expected, rel=1e-4)


def test_grad_norm_of_softmax_regression(batch: zero_cost.Batch) -> None:
    module = nn.Linear(4, 3)
    wrong = module(batch[0]).softmax(1) - functional.one_hot(batch[1], 3)
    expected = (wrong.T @ batch[0] / 6).norm().item()
    assert zero_cost.grad_norm(module, batch) == pytest.approx(expected, rel=1e-5)


def test_jacob_cov_is_least_where_all_gradients_are_one(batch: zero_cost.Batch) -> None:
    """A linear network's input gradients are equal: eigenvalues 6, 0, 0, 0, 0, 0."""
    expected = -(math.log(6 + 1e-5) + 1 / (6 + 1e-5)) - 5 * (math.log(1e-5) + 1e5)
    assert zero_cost.jacob_cov(nn.Linear(4, 3), batch) == pytest.approx(expected, rel=1e-3)
    assert zero_cost.jacob_cov(mlp(), batch) > expected


def test_naswot_counts_equal_codes(batch: zero_cost.Batch) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3))
    codes = module[0](batch[0]) > 0
    kernel = torch.tensor([[float((a == b).sum()) for b in codes] for a in codes])
    expected = float(kernel.double().det().log())
    assert zero_cost.naswot(module, batch) == pytest.approx(expected, rel=1e-6)


def test_zen_of_one_convolution_is_known() -> None:
    """With N(0, 1) weights w, |f(x) - f(x + 0.01 e)| = 0.01 |w e|: its mean over many channels."""
    x = ir.Conv2d(256, 1, bias=False)(ir.image(8, 4))
    graph = ir.Space(ir.Linear(3)(ir.Mean()(x)), name="one").bind({})
    images = torch.zeros(16, 8, 4, 4)
    expected = math.log(0.01 * math.sqrt(16 * 8 * 256))
    assert zero_cost.zen(graph, (images, torch.zeros(16)), seed=0) == pytest.approx(
        expected, abs=0.1
    )


def test_zen_adds_the_scale_that_batch_norm_takes_out() -> None:
    """So a batch norm changes nothing: its division is counted back (Lin et al., 2021, section 3.3)."""
    scores = []
    for normed in (False, True):
        x = ir.Conv2d(64, 1, bias=False)(ir.image(8, 4))
        x = ir.BatchNorm()(x) if normed else x
        graph = ir.Space(ir.Linear(3)(ir.Mean()(x)), name="one").bind({})
        scores.append(zero_cost.zen(graph, (torch.zeros(32, 8, 4, 4), torch.zeros(32)), seed=0))
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_all_measures_are_equal_for_equal_seeds() -> None:
    space = nasflow.space("nas_bench_201", size=8, filters=4, cells=1)
    graph = space.bind(space.sample(seed=3))
    batch = torch.randn(8, 3, 8, 8), torch.arange(8)
    first = measures(graph, batch, MEASURES, seed=1)
    assert tuple(first) == MEASURES
    assert first == measures(graph, batch, MEASURES, seed=1)


def test_evaluator_shows_every_network_the_same_balanced_batch() -> None:
    x = ir.Activation("relu")(ir.Conv2d(8, 3)(ir.image(1, 8)))
    graph = ir.Space(ir.Linear(10)(ir.Mean()(x)), name="small").bind({})
    evaluate = ZeroCost(digits.load(), measures=["naswot", "params"], batch=20)
    assert evaluate.images((8, 8))[1].bincount().tolist() == [2] * 10
    found = evaluate(graph, seed=0)
    assert found["params"] == graph.params
    assert found["naswot"] == measures(graph, evaluate.images((8, 8)), ["naswot"])["naswot"]


def test_unknown_measure_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"got 'sinflow' \(did you mean 'synflow'\?\)"):
        ZeroCost(digits.load(), measures=["sinflow"])
