"""Axes have round ticks, and odd data does no harm."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nasflow.report.plot import Axis, Series, plot, short


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 0.5)],
        [(1.0, 0.0), (2.0, 0.0)],
        [(-5.0, -1e9), (0.0, 1e9)],
        [(1e-9, 1.0), (1e12, 2.0)],
    ],
)
def test_any_finite_data_can_be_drawn(points: list[tuple[float, float]]) -> None:
    for log in (False, True):
        svg = plot(
            [Series(points), Series(points, "stair"), Series(points, "line")], "x", "y", log_x=log
        )
        root = ElementTree.fromstring(svg)
        assert "nan" not in svg
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == len(points)


def test_no_data_is_no_plot() -> None:
    assert plot([Series([])], "x", "y") == ""


def test_ticks_are_round_and_inside() -> None:
    assert Axis.of([0.0, 1.0], 0, 100).ticks() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis.of([3e3, 2e7], 0, 100, log=True).ticks() == [1e4, 1e5, 1e6, 1e7]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.93456, "0.9346"), (1234.0, "1.23k"), (5_290_000, "5.29M"), (2.4e10, "24G")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text
