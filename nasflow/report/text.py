"""Points and operations as text that a person reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasflow.ir import Operation


def decisions(point: Mapping[str, object]) -> str:
    """Return a point with one line for each scope: ``normal/block0  left=0 left_op=separable_3x3 ...``."""
    scopes: dict[str, list[str]] = {}
    for name, value in point.items():
        scope, _, leaf = name.rpartition("/")
        scopes.setdefault(scope, []).append(f"{leaf}={_text(value)}")
    width = max((len(scope) for scope in scopes), default=0)
    return "\n".join(
        f"  {scope.ljust(width)}  {' '.join(values)}".rstrip() for scope, values in scopes.items()
    )


def operation(op: Operation, hidden: tuple[str, ...] = ()) -> str:
    """Return an operation as ``Conv2d 64, kernel=3``: attributes without a default, then those not at it.

    `hidden` names attributes to leave out.
    """
    parts = []
    for field in dataclasses.fields(op):  # type: ignore[arg-type]  # `operation` makes dataclasses
        value = getattr(op, field.name)
        if field.name in hidden:
            continue
        if field.default is dataclasses.MISSING:
            parts.append(_text(value))
        elif value != field.default:
            parts.append(f"{field.name}={_text(value)}")
    return f"{type(op).__name__} {', '.join(parts)}".strip()


def _text(value: object) -> str:
    return "(" + ",".join(map(str, value)) + ")" if isinstance(value, list | tuple) else str(value)
