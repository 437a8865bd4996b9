"""Children of the supernet spaces are the biggest network with entries masked."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from nasflow import ir
from tests.lower.children import apart, inputs, masked, run, supernet
from tests.lower.small import small

WIDTH = ("width", "stem")
HELD: dict[str, tuple[str, ...]] = {
    # A shortcut is fitted where widths differ, so they stay: else it is another network.
    "alphanet": WIDTH,
    "bignas": WIDTH,
    "ofa": (),
    "levit": (),
    "autoformer": WIDTH,  # the layer norms' axis
    "nasvit": WIDTH,
}
"""Decisions, by their last name, that stay at the biggest; so do depth and resolution in all."""


def narrow(space: ir.Space, held: tuple[str, ...], seed: int) -> ir.Point:
    """Return the biggest point with random options where they may shrink."""
    rng = random.Random(seed)
    point = dict(space.largest())
    for decision in space.decisions:
        kind = decision.name.rpartition("/")[2]
        if kind not in (*held, "depth", "resolution") and decision.searched:
            point[decision.name] = rng.choice(decision.options)
    return point


MORE: dict[str, dict[str, Any]] = {"ofa": {"transform": False}}
"""Settings without which a child is no masked network: learned maps of kernels."""


@pytest.mark.parametrize("name", HELD)
def test_child_is_the_biggest_network_masked(name: str) -> None:
    space = small(name, **MORE.get(name, {}))
    net = supernet(space)
    wide = space.largest()
    for seed in range(2):
        point = narrow(space, HELD[name], seed)
        assert point != wide
        child, big = net.at(point).eval(), masked(net, point, wide).eval()
        x = inputs(child.graph)
        with torch.no_grad():
            assert apart(run(child, *x), run(big, *x)) < 1e-12
            assert apart(run(child, *x), run(net.extract(wide).eval(), *x)) > 1e-6
