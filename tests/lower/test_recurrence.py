"""Loops are found in the wiring of iterations."""

from __future__ import annotations

import pytest

from nasflow import ir
from nasflow.lower.form import CHAIN
from nasflow.lower.recurrence import recurrence

KIND = ir.Type(("D",), (4,))


def repeat(
    inputs: int, taken: list[tuple[int, ...]], results: list[int], outputs: int = 1
) -> ir.Graph:
    """Return a repeat whose iterations take these values and give ``outputs`` each."""
    nodes = []
    for i, values in enumerate(taken):
        made = [
            ir.Node(f"n{k}", ir.Applied(ir.Add(), (KIND,)), (0,), f"n{k}") for k in range(outputs)
        ]
        given = [KIND] * len(values)
        inner = ir.Graph("body", given, made, range(len(values), len(values) + outputs))
        nodes.append(ir.Node(str(i), inner, values, str(i)))
    return ir.Graph("blocks", [KIND] * inputs, nodes, results, kind="repeat")


def test_a_chain() -> None:
    assert recurrence(repeat(1, [(0,), (1,), (2,)], [3])) == CHAIN
    assert recurrence(repeat(1, [(0,)], [1])) == CHAIN


def test_a_captured_value() -> None:
    found = recurrence(repeat(2, [(0, 1), (2, 1), (3, 1)], [4]))
    assert found is not None and not found.is_chain
    assert found.takes == (("state", 0), ("outer", 1))
    assert found.update == (("output", 0),)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_two_before(order: tuple[int, int]) -> None:
    first, second = order
    found = recurrence(repeat(2, [order, (second, 2), (2, 3)], [3, 4]))
    assert found is not None
    assert found.start == (first, second)
    assert found.takes == (("state", 0), ("state", 1))
    assert found.update == (("state", 1), ("output", 0))
    assert found.results == (0, 1)


def test_several_results_some_of_use_at_the_end_only() -> None:
    found = recurrence(repeat(1, [(0,), (1,), (3,)], [5, 6], outputs=2))
    assert found is not None
    assert found.takes == (("state", 0),)
    assert found.update == (("output", 0), ("output", 1))
    assert found.start == (0, -1)


def test_irregular_wiring_is_no_loop() -> None:
    assert recurrence(repeat(1, [(0,), (1,), (1,)], [3])) is None
    assert recurrence(repeat(2, [(0, 1), (2, 1), (3, 0)], [4])) is None
