from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasflow import ir
from nasflow.errors import SpaceError
from nasflow.ir.expression import FUNCTIONS, Apply, Decision, evaluate, leaves, to_python

A = Decision("a", (1, 2, 3), ordered=True)
B = Decision("b", (4, 5))


def value(operand: ir.Operand, **known: Any) -> Any:
    return evaluate(operand, lambda leaf: known[leaf.name])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("operand", "expected"),
    [
        (A + 1, 3),
        (1 - A, -1),
        (A * B, 8),
        (10 // A, 5),
        (B / A, 2.0),
        (B % 3, 1),
        (A**3, 8),
        (2**A, 4),
        (A < B, True),
        (A == 2, True),
        (A != 2, False),
        ((A > 1) & (B > 4), False),
        ((A > 1) | (B > 4), True),
        (~(A > 1), False),
        (ir.minimum(A, B, 3), 2),
        (ir.maximum(A, B, 3), 4),
        (ir.where(A == 2, "two", "other"), "two"),
        (ir.table(A, {1: "one", 2: B}), 4),
        (ir.member(A, 1, 3), False),
        (ir.round_to_8(30 * A), 64),
        (ir.ceil(B / 3), 2),
        (ir.floor(B / 3), 1),
        (ir.nearest_integer(B / 8), 1),
        ((A, B, 1), (2, 4, 1)),
        (Apply("tuple", A, B)[1], 4),
    ],
)
def test_evaluation_and_compiled_source_agree(operand: ir.Operand, expected: Any) -> None:
    assert value(operand, a=2, b=4) == expected
    text = to_python(operand, lambda leaf: f"v[{leaf.name!r}]")  # type: ignore[union-attr]
    assert eval(text, {"F": FUNCTIONS, "v": {"a": 2, "b": 4}}) == expected


def test_leaves_are_all_decisions() -> None:
    assert {leaf.name for leaf in leaves((A, ir.where(B == 4, 1, A)))} == {"a", "b"}  # type: ignore[union-attr]


@pytest.mark.parametrize("use", [bool, list, lambda e: 1 if e else 2, lambda e: [*e]])
def test_an_open_expression_has_no_truth_and_no_items(use: Any) -> None:
    with pytest.raises(SpaceError, match="open until a point closes it"):
        use(A == 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object(), [1], {"a": 1}])
def test_only_plain_values_enter_expressions(bad: Any) -> None:
    with pytest.raises(SpaceError, match=r"^expected a"):
        A + bad


def test_a_table_tells_true_from_one() -> None:
    with pytest.raises(SpaceError, match="expected a key among"):
        value(ir.table(A, {True: "yes"}), a=1)


def test_arithmetic_that_fails_names_the_expression() -> None:
    with pytest.raises(SpaceError, match=r"floordiv\(b, sub\(a, 2\)\) of \[4, 0\]: .*zero"):
        value(B // (A - 2), a=2, b=4)


@pytest.mark.parametrize("options", [(), (1, 1)])
def test_a_decision_has_distinct_options(options: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match="expected distinct options"):
        Decision("d", options)


def test_an_unsearched_decision_needs_its_default_among_the_options() -> None:
    with pytest.raises(SpaceError, match="expected a default among"):
        Decision("d", (1, 2), searched=False, default=3)


@given(st.floats(1, 4000), st.sampled_from((4, 8, 16)))
def test_rounded_channels_are_multiples_near_the_value(channels: float, divisor: int) -> None:
    rounded = ir.round_to(channels, divisor)
    assert isinstance(rounded, int) and rounded % divisor == 0
    assert rounded >= 0.9 * channels and rounded <= channels + divisor
