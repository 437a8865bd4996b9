"""What a declaration of an operation may not do is refused where it is written."""

from __future__ import annotations

import pytest

from nasflow import ir
from nasflow.errors import SpaceError


@pytest.mark.parametrize("name", ["window", "macs", "fields"])
def test_an_attribute_cannot_hide_what_every_operation_has(name: str) -> None:
    cls = type("Hiding", (ir.Operation,), {"__annotations__": {name: "ir.Operand"}})
    with pytest.raises(SpaceError, match=f"'Hiding': an attribute cannot be called '{name}'"):
        ir.operation(cls)
