"""Factors of depth, width and resolution multiply and round inside the graph."""

from __future__ import annotations

import pytest

from nasflow import ir
from nasflow.errors import SpaceError


def tower(largest: float, patch: int = 1) -> ir.Space:
    factors = ir.factors(largest)
    x = ir.image(3, factors.side(16, patch))
    x = ir.Conv2d(ir.round_to_8(16 * factors.width), 3)(x)
    layers = factors.layers(ir.integer("layers", 1, 10))
    x = ir.repeat(lambda x: ir.Activation("relu")(x), layers)(x)
    return ir.Space(x, name="tower")


def shape(space: ir.Space, **factors: float) -> tuple[int, int, int]:
    """Return side, channels and layers of a network of ten layers."""
    graph = space.bind({"layers": 10, **{f"{name}_factor": f for name, f in factors.items()}})
    channels, side, _ = graph.outputs[0].shape
    names = [type(node.content.op).__name__ for _, node, _ in graph.walk()]
    return side, channels, names.count("Activation")


def test_a_search_leaves_them_at_one() -> None:
    assert tower(3.0).size == tower(1.0).size == 10
    assert shape(tower(3.0)) == (16, 16, 10)


def test_without_room_none_is_declared() -> None:
    assert [decision.name for decision in tower(1.0).decisions] == ["layers"]


def test_layers_are_rounded_up_and_sides_to_whole_patches() -> None:
    space = tower(3.0)
    assert shape(space, depth=1.01, width=1.3, resolution=1.15) == (18, 24, 11)
    assert shape(space, depth=1.1)[2] == 11  # although 10 * 1.1 is a little more in floats
    assert shape(tower(3.0, patch=4), resolution=1.15)[0] == 20
    assert shape(tower(3.0, patch=4), resolution=1.1)[0] == 16


def test_every_hundredth_can_be_set() -> None:
    space = tower(2.5)
    for name in ("depth_factor", "width_factor", "resolution_factor"):
        options = space.decision(name).options
        assert (options[0], options[57], options[-1], len(options)) == (1.0, 1.57, 2.5, 151)


def test_less_than_the_baseline_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"scale: expected the largest factor, 1 or more, got 0.5"):
        ir.factors(0.5)
