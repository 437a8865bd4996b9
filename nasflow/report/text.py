"""Points as text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping


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


def _text(value: object) -> str:
    return "(" + ",".join(map(str, value)) + ")" if isinstance(value, list | tuple) else str(value)
