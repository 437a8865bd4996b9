from __future__ import annotations

import copy
import pickle

import pytest

from nasflow.errors import TypeRuleError
from nasflow.ir.types import MAX_SIZE, Type, tokens


def test_equal_types_are_one_object() -> None:
    first = Type(("C", "H", "W"), (3, 32, 32))
    assert first is Type(("C", "H", "W"), (3, 32, 32))
    assert pickle.loads(pickle.dumps(first)) is first and copy.deepcopy(first) is first
    assert first is not Type(("C", "H", "W"), (3, 32, 32), batched=False)


def test_a_type_answers_by_axis() -> None:
    type_ = tokens(197, 768)
    assert type_.size("D") == 768 and type_.numel == 197 * 768
    assert type_.resize(L=50) is tokens(50, 768)
    assert repr(type_) == "L=197 D=768"
    with pytest.raises(TypeRuleError, match=r"^expected a value with axis C, got L=197 D=768$"):
        type_.size("C")


def test_types_are_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        tokens(1, 1).shape = (2, 2)


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [
        (("C",), (0,), "float"),
        (("C",), (True,), "float"),
        (("C",), (2.0,), "float"),
        (("C",), (MAX_SIZE + 1,), "float"),
        (("C", "H"), (MAX_SIZE, 2), "float"),
        (("C", "C"), (1, 1), "float"),
        (("C",), (1, 1), "float"),
        (("C",), (1,), "complex"),
    ],
)
def test_bad_types_are_refused(axes: tuple[str, ...], shape: tuple[int, ...], dtype: str) -> None:
    Type(("C",), (2,))  # equal under == to some of the bad ones: a hit must not let them through
    Type(("C",), (1,))
    with pytest.raises(TypeRuleError, match=r"^expected"):
        Type(axes, shape, dtype)
