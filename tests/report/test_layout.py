"""Boxes do not overlap, edges point down."""

from __future__ import annotations

import itertools
import random

import pytest

from nasflow.report.layout import WIDEST, layered


@pytest.mark.parametrize("seed", range(10))
def test_boxes_of_a_random_graph_do_not_overlap_and_edges_point_down(seed: int) -> None:
    rng = random.Random(seed)
    widths = {i: rng.uniform(20, 200) for i in range(rng.randint(1, 40))}
    edges = [(a, b) for a, b in itertools.combinations(widths, 2) if rng.random() < 0.1]
    layout = layered(widths, edges, height=20, gap=10)
    for a, b in itertools.combinations(widths, 2):
        (ax, ay), (bx, by) = layout.centres[a], layout.centres[b]
        assert ay != by or abs(ax - bx) >= (widths[a] + widths[b]) / 2 + 10 - 1e-6
    for (a, b), points in layout.lines:
        assert points[0] == layout.centres[a]
        assert points[-1] == layout.centres[b]
        assert all(upper[1] < lower[1] for upper, lower in itertools.pairwise(points))
    for node, (x, _) in layout.centres.items():
        assert widths[node] / 2 - 1e-6 <= x <= layout.width - widths[node] / 2 + 1e-6


def test_a_wide_layer_is_broken_up() -> None:
    layout = layered(dict.fromkeys(range(20), 200.0), [])
    assert layout.width < WIDEST + 20 * 18


def test_a_chain_is_straight() -> None:
    layout = layered({"a": 10.0, "b": 90.0, "c": 40.0}, [("a", "b"), ("b", "c")])
    assert len({round(x, 6) for x, _ in layout.centres.values()}) == 1


def test_nothing_to_draw() -> None:
    assert layered({}, []).centres == {}
