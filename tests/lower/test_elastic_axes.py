"""Each elastic axis by itself: which entries of the shared weights a small child has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasflow import ir
from nasflow.ir.blocks import attention
from nasflow.lower import elastic
from nasflow.lower.elastic import Supernet


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "QUIET", 8)


def made(value: ir.Value) -> Supernet:
    """Return a supernet in which all entries differ."""
    net = ir.Space(value, name="net").to_supernet().double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


def number(name: str, *options: Any) -> ir.Decision:
    return ir.choice(name, *options, ordered=True)


def tokens(count: ir.Operand, width: ir.Operand) -> ir.Value:
    """Return the pixels of an image as tokens of ``width`` features."""
    x = ir.Conv2d(width)(ir.image(3, count), name="embed")
    return ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens")


def widths() -> ir.Value:
    x = ir.Conv2d(number("width", 2, 4))(ir.image(3, 4), name="first")
    return ir.Conv2d(5)(x, name="second")


def expansion() -> ir.Value:
    x = ir.image(3, 4)
    x = ir.Conv2d(x.dim("C") * number("ratio", 2, 4))(x, name="expand")
    return ir.Conv2d(3)(x, name="project")


def depth() -> ir.Value:
    return ir.repeat(
        lambda x, i: ir.Conv2d(3)(x, name="conv"), number("depth", 1, 2, 3), name="layers"
    )(ir.image(3, 4))


def kernel() -> ir.Value:
    return ir.Conv2d(2, number("kernel", 3, 7))(ir.image(3, 8), name="conv")


def resolution() -> ir.Value:
    return ir.Mean()(ir.Conv2d(2, 3)(ir.image(3, number("side", 4, 8)), name="conv"))


def groups() -> ir.Value:
    return ir.Conv2d(8, groups=number("groups", 1, 4))(ir.image(8, 4), name="conv")


def heads() -> ir.Value:
    x = tokens(2, 6)
    return attention(x, number("heads", 1, 3), number("width", 2, 4), name="attend")


def mlp() -> ir.Value:
    x = tokens(2, 6)
    x = ir.Linear(x.dim("D") * number("ratio", 2, 3))(x, name="grow")
    return ir.Linear(6)(x, name="shrink")


def window() -> ir.Value:
    side = number("side", 3, 5)
    table = ir.Parameter(
        ("R", "H"), ((2 * side - 1) * (2 * side - 1), 2), shrink=("interpolate", "prefix")
    )
    return ir.Add()(table(name="table"))


def count() -> ir.Value:
    x = tokens(number("side", 2, 4), 6)
    table = ir.Parameter(("L", "D"), (x.dim("L"), 6), shrink=("interpolate", "prefix"))
    return ir.Add()(x, table(name="table"))


CASES: dict[Callable[[], ir.Value], tuple[ir.Point, dict[str, Callable[[dict[str, Tensor]], Tensor]]]] = {
    widths: ({"width": 2}, {
        "first.weight": lambda w: w["first/weight"][:2],
        "first.bias": lambda w: w["first/bias"][:2],
        "second.weight": lambda w: w["second/weight"][:, :2],
    }),
    expansion: ({"ratio": 2}, {
        "expand.weight": lambda w: w["expand/weight"][:6],
        "project.weight": lambda w: w["project/weight"][:, :6],
    }),
    kernel: ({"kernel": 3}, {"conv.weight": lambda w: w["conv/weight"][:, :, 2:5, 2:5]}),
    resolution: ({"side": 4}, {"conv.weight": lambda w: w["conv/weight"]}),
    groups: ({"groups": 4}, {"conv.weight": lambda w: w["conv/weight"][:, :2]}),
    heads: ({"heads": 1, "width": 2}, {
        "attend.qkv.weight":
            lambda w: w["attend/qkv/weight"].reshape(3, 3, 4, 6)[:, :1, :2].reshape(6, 6),
        "attend.qkv.bias": lambda w: w["attend/qkv/bias"].reshape(3, 3, 4)[:, :1, :2].flatten(),
        "attend.proj.weight":
            lambda w: w["attend/proj/weight"].reshape(6, 3, 4)[:, :1, :2].flatten(1),
    }),
    mlp: ({"ratio": 2}, {
        "grow.weight": lambda w: w["grow/weight"][:12],
        "shrink.weight": lambda w: w["shrink/weight"][:, :12],
    }),
    window: ({"side": 3}, {"table": lambda w: gridded(w["table/value"], 9, 5)}),
    count: ({"side": 2}, {"table": lambda w: gridded(w["table/value"], 4, 2)}),
}  # fmt: skip
"""For each axis a small child, and its tensors cut by hand."""


def gridded(table: Tensor, before: int, after: int) -> Tensor:
    """Return a table of a square of positions, (positions, features), as that of a smaller square."""
    grid = table.T.reshape(1, -1, before, before)
    small = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return small.reshape(-1, after * after).T


@pytest.mark.parametrize("axis", CASES, ids=lambda axis: axis.__name__)
def test_a_small_child_has_the_declared_entries(axis: Callable[[], ir.Value]) -> None:
    net = made(axis())
    point, expected = CASES[axis]
    point = {**net.space.largest(), **point}
    weights = dict(net.named_parameters())
    found, module = net.at(point).tensors(), net.extract(point).state_dict()
    for key, cut in expected.items():
        wanted = cut(weights)
        assert found[key].shape == wanted.shape
        torch.testing.assert_close(found[key], wanted)
        torch.testing.assert_close(module[key], wanted)


def test_the_first_iterations_are_kept() -> None:
    net = made(depth())
    child = net.at({"depth": 2}).tensors()
    assert {key for key in child if key.endswith("weight")} == {
        "layers.0.weight",
        "layers.1.weight",
    }
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weights = dict(net.named_parameters())
    expected = x
    for i in range(2):
        layer = [weights[f"layers/{i}/conv/{kind}"] for kind in ("weight", "bias")]
        expected = F.conv2d(expected, *layer)
    torch.testing.assert_close(net({"depth": 2}, x), expected)


def test_operations_to_choose_from_have_weights_of_their_own() -> None:
    form = ir.choice("form", "wide", "deep")
    x = ir.switch(form, {
        "wide": lambda x: ir.Conv2d(2, 3)(x, name="conv"),
        "deep": lambda x: ir.Conv2d(2)(ir.Conv2d(2)(x, name="conv"), name="last"),
    })(ir.image(3, 4), name="op")  # fmt: skip
    net = made(x)
    batch = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    touched = {}
    for chosen in ("wide", "deep"):
        net.zero_grad()
        net({"form": chosen}, batch).sum().backward()
        touched[chosen] = {
            k for k, p in net.named_parameters() if p.grad is not None and p.grad.any()
        }
    assert len(touched["wide"]) == 2 and len(touched["deep"]) == 4
    assert not touched["wide"] & touched["deep"]


def test_an_input_that_is_picked_brings_its_own_path() -> None:
    x = ir.image(3, 4)
    sides = [ir.Conv2d(2)(x, name=name) for name in ("left", "right")]
    net = made(ir.Conv2d(2)(ir.pick(ir.choice("which", 0, 1), sides), name="reads"))
    for which, name in enumerate(("left", "right")):
        net.zero_grad()
        net({"which": which}, torch.randn(1, 3, 4, 4, dtype=torch.float64)).sum().backward()
        touched = {
            k.split("/")[0]
            for k, p in net.named_parameters()
            if p.grad is not None and p.grad.any()
        }
        assert touched == {name, "reads"}
