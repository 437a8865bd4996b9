"""Children of a supernet of picked operations that start alike."""

from __future__ import annotations

import random

import torch
from torch.nn import functional

import nasflow
from nasflow import ir
from nasflow.evaluate.paths import draw
from nasflow.ir import Space
from nasflow.lower import Supernet
from nasflow.lower.alike import QUIET, start_alike
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


def test_only_equal_parts_of_channels_start_alike() -> None:
    """A token joined to others, maps joined by height and unequal parts are none."""
    tokens = ir.Rearrange("c h w -> L=(h w) D=c")(ir.image(5, 2))
    token = ir.Parameter(("L", "D"), (1, 5), ("normal", 1.0))(name="token")
    tokens = ir.Concat("L")(token, tokens)
    mixed = ir.Linear(3)(tokens, name="mix")
    assert start_alike(Supernet(ir.Space(ir.Mean(("L",))(mixed), name="tokens"), 0)) == {}
    x = ir.image(8, 4)
    high = ir.Concat("H")(ir.Conv2d(8, 1)(x, name="left"), ir.Conv2d(8, 1)(x, name="right"))
    assert start_alike(Supernet(ir.Space(ir.Mean()(high), name="high"), 0)) == {}
    parts = ir.Concat()(ir.Conv2d(2, 3)(x), ir.Conv2d(4, 3)(x, name="wide"))
    y = ir.Conv2d(3, 1)(parts, name="read")
    assert start_alike(Supernet(ir.Space(ir.Mean()(y), name="unequal"), 0)) == {}
    parts = ir.Concat()(ir.Conv2d(4, 3)(x), ir.Conv2d(4, 3)(x, name="wide"))
    y = ir.Conv2d(3, 1)(parts, name="read")
    assert start_alike(Supernet(ir.Space(ir.Mean()(y), name="equal"), 0)) == {
        "read/weight": "repeat"
    }


def test_operations_that_are_seldom_seen_start_as_nothing_too() -> None:
    space = nasflow.space("nasnet", classes=10, channels=1, size=8, repeats=1, filters=4, blocks=2)
    zero = {n for n, how in start_alike(Supernet(space, 0)).items() if how == "zero"}
    for block in range(2):
        for side in ("left", "right"):
            for op in ("conv_1x1", "sep_conv_7x7", "conv_1x7_7x1", "dil_conv_3x3"):
                assert any(f"/block{block}_{side}_{op}/" in name for name in zero), (
                    block,
                    side,
                    op,
                )


def test_options_are_looked_at_however_many_before_them_show_nothing_new() -> None:
    x = ir.Conv2d(4, 1)(ir.image(1, 4))
    x = ir.Dropout(ir.choice("rate", *(i / 100 for i in range(QUIET + 8))))(x)
    operations = {
        "conv": lambda x: ir.BatchNorm()(ir.Conv2d(4, 3)(x)),
        "skip": lambda x: x,
    }
    y = ir.Add()(x, ir.switch(ir.choice("op", *operations), operations)(x))
    space = ir.Space(ir.Linear(3)(ir.Mean()(y)), name="rates")
    assert "zero" in start_alike(Supernet(space, 0)).values()


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
