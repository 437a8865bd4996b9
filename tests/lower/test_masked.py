"""A child is the biggest network with the entries that it does not take set to zero."""

from __future__ import annotations

from typing import Any

import pytest

from nasflow import ir
from nasflow.ir.flow import Place
from nasflow.lower import elastic
from tests.lower.children import apart, inputs, masked, run, shuffling, supernet
from tests.lower.small import small


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "QUIET", 8)


def gated() -> ir.Space:
    """A concatenation of which one value may be left, at its own place."""
    width = ir.choice("width", 2, 4, ordered=True)
    x = ir.image(3, 4)
    parts = [ir.Conv2d(width)(x, name=f"part{i}") for i in range(3)]
    first, second = (ir.choice(name, 0, 1, ordered=True) for name in ("first", "second"))
    joined = ir.Concat()(ir.Gated(parts[0], first), ir.Gated(parts[1], second), parts[2])
    return ir.Space(ir.Conv2d(4, 3)(joined, name="reads"), name="gated")


MADE = {"shuffling": shuffling, "gated": gated}
NARROW: dict[str, tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = {
    "shuffling": (
        ({"width": 8, "kernel": 3, "ratio": 1}, {"width": 24, "kernel": 5, "ratio": 2}),
        ({"width": 16, "kernel": 3}, {"width": 24, "kernel": 5}),
        ({"width": 8}, {"width": 16}),
    ),
    "resnet": (({"inner_width": 1}, {"inner_width": 4}),),
    "vig": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "vit": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "swin": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "gated": (
        ({"first": 0, "second": 0}, {"first": 1, "second": 1}),
        ({"width": 2, "first": 0, "second": 0}, {"width": 4, "first": 1, "second": 1}),
        ({"width": 2, "first": 0, "second": 1}, {"width": 4, "first": 1, "second": 1}),
    ),
}
"""Decisions of a narrow network and a wide one that differ in axes nothing normalises over."""


@pytest.mark.parametrize("name", NARROW)
def test_child_is_the_biggest_network_masked(name: str) -> None:
    space = MADE[name]() if name in MADE else small(name)
    base = space.sample(3)
    net = supernet(space, points=[{**base, **part} for pair in NARROW[name] for part in pair])
    for few, many in NARROW[name]:
        narrow, wide = {**base, **few}, {**base, **many}
        x = inputs(space.bind(narrow))
        expected = run(masked(net, narrow, wide), *x)
        assert apart(run(net.at(narrow), *x), expected) < 1e-9
    assert net.notes == {} or name not in MADE


def test_masking_sees_wrong_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    def contiguous(self: Place, name: str, spans: Any) -> Any:
        starts = [sum(map(len, spans[:i])) for i in range(len(spans))]
        return tuple(starts), sum(map(len, spans))

    monkeypatch.setattr(Place, "offsets", contiguous)
    space = shuffling()
    net = supernet(space)
    narrow, wide = {**space.largest(), "width": 8}, space.largest()
    x = inputs(space.bind(narrow))
    assert apart(run(net.at(narrow), *x), run(net.extract(narrow), *x)) < 1e-12
    assert apart(run(net.at(narrow), *x), run(masked(net, narrow, wide), *x)) > 1e-3
