"""Children of a supernet of picked operations that start alike."""

from __future__ import annotations

import random

import torch
from torch.nn import functional

import nasflow
from nasflow.evaluate.paths import draw
from nasflow.ir import Space
from nasflow.lower import Supernet
from nasflow.lower.alike import start_alike
from strategies.enas import ENAS


def cells(nodes: int = 2) -> Space:
    return nasflow.space("enas", classes=10, channels=1, size=8, nodes=nodes, repeats=1, filters=8)


def agreement(net: Supernet, name: str) -> float:
    """Return the mean cosine of one weight's gradients, over all pairs of random children, on the same images."""
    rng, images = random.Random(0), torch.randn(32, 1, 8, 8, generator=torch.manual_seed(0))
    labels, weight, found = torch.arange(32) % 10, dict(net.named_parameters())[name], []
    while len(found) < 16:
        net.zero_grad(set_to_none=True)
        child = net.at(draw(net.space, rng)).train()
        torch.autograd.backward(functional.cross_entropy(child(images), labels))
        if weight.grad is not None and weight.grad.any():
            found.append(functional.normalize(weight.grad.flatten(), dim=0))
    count = len(found)
    together = float(torch.stack(found).sum(0).square().sum())
    return (together - count) / (count * (count - 1))


def test_gradients_of_random_children_have_a_common_direction() -> None:
    net = Supernet(cells(), 0)
    name = "cell4/last_fit/last/weight"
    before = agreement(net, name)
    start_alike(net)
    assert abs(before) < 0.01 < 0.03 < agreement(net, name)


def test_what_starts_as_nothing_as_the_identity_and_alike() -> None:
    net = Supernet(cells(), 0)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    changed = start_alike(net)
    weights = dict(net.named_parameters())
    end = "cell0/node1_0_sep_conv_3x3/separable/part2_norm/weight"
    assert changed[end] == "zero" and not weights[end].any()
    halves = [
        weights[f"cell1/node0_0_identity/skip/reduction/{half}/weight"] for half in ("even", "odd")
    ]
    assert torch.equal(torch.cat(halves).flatten(1), torch.eye(16))
    joined = weights["cell1/last_fit/last/weight"].flatten(1)
    parts = joined.split(8, dim=1)
    assert len(parts) > 3 and all(torch.equal(part, parts[0]) for part in parts)
    same = [name for name in weights if name not in changed]
    assert all(torch.equal(weights[name], before[name]) for name in same)
    norms = ("cell0/last_fit/last_norm/weight", "cell1/reduce0/norm/weight")
    assert not set(norms) & set(changed)  # what all children have, and what passes on what comes


def test_a_space_without_picked_operations_stays_as_it_is() -> None:
    space = nasflow.space("enas_macro", classes=10, channels=1, size=8, layers=3, filters=8)
    assert "zero" not in start_alike(Supernet(space, 0)).values()


def test_the_strategy_starts_weights_alike_unless_told_otherwise() -> None:
    space = cells(nodes=1)
    ends = "cell0/node0_0_sep_conv_3x3/separable/part2_norm/weight"
    for alike in (True, False):
        net = Supernet(space, 0)
        ENAS(space, alike=alike).initialise(net)
        assert bool(dict(net.named_parameters())[ends].any()) is not alike
