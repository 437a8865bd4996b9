"""Weights made for a child by a hypernetwork: which, how they follow from it, and its gradients."""

from __future__ import annotations

import pytest
import torch

from nasflow import ir
from nasflow.errors import ConfigError, SpaceError
from nasflow.lower.hypernet import BINS, HyperSupernet, _part, taken


def space() -> ir.Space:
    """Return a space of a stem all have, a searched operation, a width, and a classifier."""
    x = ir.Conv2d(8, 3)(ir.image(1, 6), name="stem")
    operations = {
        "wide": lambda x: ir.Conv2d(8, 3, bias=False)(x),
        "point": lambda x: ir.Conv2d(8, 1, bias=False)(x),
        "depth": lambda x: ir.Conv2d(8, 3, groups=8, bias=False)(x),
    }
    x = ir.BatchNorm()(ir.switch(ir.choice("op", *operations), operations)(x))
    x = ir.Conv2d(ir.choice("width", 4, 8, ordered=True), 1)(x, name="last")
    return ir.Space(ir.Linear(3)(ir.Mean()(x), name="head"), name="few")


POINT = {"op": "wide", "width": 4}


def test_what_differs_between_children_is_made_and_the_rest_learned() -> None:
    net = HyperSupernet(space(), width=8, piece=16, depth=1)
    made = {name.removesuffix("/weight") for name in net.made}
    assert len(made) == 4 and {"last", "head"} <= made
    assert not any("stem" in name or "depth" in name for name in made)
    assert all(not net.weight(name).requires_grad for name in net.made)
    fewer = HyperSupernet(space(), width=8, piece=16, depth=1, which="pointwise")
    assert {n for n in net.made if n not in fewer.made} == {
        n for n in net.made if net.weight(n).shape[-1] == 3 and net.weight(n).ndim == 4
    }


def test_made_weights_depend_on_the_whole_child_and_have_the_scale_of_their_law() -> None:
    net = HyperSupernet(space(), width=8, piece=16, depth=1)
    last = next(name for name in net.made if "last" in name)
    seen = []
    for point in (POINT, {**POINT, "op": "point"}, POINT):
        net.write(net.at(point))
        seen.append(net.weight(last).detach().clone())
        net.settle()
    assert torch.equal(seen[0], seen[2]) and not torch.allclose(seen[0], seen[1])
    deviation = net.scales[net.made.index(last)].exp()
    assert torch.allclose(seen[0].square().mean().sqrt(), deviation, rtol=1e-3)


def test_the_network_that_makes_weights_has_their_exact_gradient() -> None:
    net = HyperSupernet(space(), width=8, piece=16, depth=1).double()
    images = torch.randn(4, 1, 6, 6, dtype=torch.float64)
    child = net.at(POINT).eval()
    net.write(child)
    child(images).square().sum().backward()
    net.settle()
    place = net.hypernet.last.weight
    assert place.grad is not None
    at, step = divmod(int(place.grad.abs().argmax()), place.shape[1]), 1e-5

    def loss(move: float) -> float:
        with torch.no_grad():
            place[at] += move
            value = float(net(POINT, images).square().sum())
            place[at] -= move
        return value

    wanted = (loss(step) - loss(-step)) / (2 * step)
    assert float(place.grad[at]) == pytest.approx(wanted, rel=1e-4)
    assert all(net.weight(name).grad is None for name in net.made)


def test_an_extracted_child_has_the_weights_made_for_it() -> None:
    net = HyperSupernet(space(), width=8, piece=16, depth=1).eval()
    images = torch.randn(4, 1, 6, 6)
    module = net.extract(POINT)
    net.write(net.at({**POINT, "op": "point"}))  # another one's in place meanwhile
    assert torch.allclose(module.eval()(images), net(POINT, images), atol=1e-5)


def test_a_part_is_told_by_what_it_reads_and_writes() -> None:
    net = HyperSupernet(space(), width=8, piece=16, depth=1)
    child = net.at(POINT)
    code = _part(dict(taken(child))["last/weight"]).tolist()
    assert code == [1.0] * (BINS // 2) + [0.0] * (BINS // 2) + [1.0] * BINS + [1.0]


def test_a_space_without_such_weights_is_refused_in_one_line() -> None:
    x = ir.Activation(ir.choice("act", "relu", "gelu"))(ir.Conv2d(8, 3)(ir.image(1, 6)))
    plain = ir.Space(ir.Linear(3)(ir.Mean()(x)))
    with pytest.raises(SpaceError, match="nothing for a hypernetwork to make"):
        HyperSupernet(plain)
    with pytest.raises(ConfigError, match="expected one of all, pointwise, got 'points'"):
        HyperSupernet(plain, which="points")  # type: ignore[arg-type]
