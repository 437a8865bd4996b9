"""Trace only what one network takes: a whole space need not be built for a single point.

Inside :meth:`Closing.tracing` a switch whose index the point decides traces that branch alone, and
a repeat no more iterations than run. What is built is a space of fewer decisions in which the point
means the same network, typed and checked like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from nasflow.errors import SpaceError
from nasflow.ir.expression import Decision, Dimension, Expression, Operand, Scalar, evaluate, same

OPEN: Final[Any] = object()
"""What is not known while tracing."""


class _Unknown(Exception):
    """An expression mentions a size, or a decision that the point does not set."""


class Closing:
    """The point whose network is wanted, and which of its decisions tracing relied on."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self.point = point
        self.assumed: dict[Decision, Scalar] = {}

    def fits(self, point: Mapping[str, Any]) -> bool:
        """Whether what was traced for this point holds another point's network, too."""
        return all(same(_value(d, point), value) for d, value in self.assumed.items())

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Trace only what the point takes."""
        token = _closing.set(self)
        try:
            yield
        finally:
            _closing.reset(token)


_closing: ContextVar[Closing | None] = ContextVar("closing", default=None)


def known(operand: Operand) -> Any:
    """Return an operand's value where the point that is traced for decides it, else OPEN."""
    closing = _closing.get()
    if closing is None or not isinstance(operand, Expression):
        return OPEN
    assumed: dict[Decision, Scalar] = {}

    def lookup(leaf: Decision | Dimension) -> Scalar:
        value = OPEN if isinstance(leaf, Dimension) else _value(leaf, closing.point)
        if value is OPEN:
            raise _Unknown
        assert isinstance(leaf, Decision)
        assumed[leaf] = value
        return value  # type: ignore[no-any-return]

    try:
        found = evaluate(operand, lookup)
    except (_Unknown, SpaceError):
        return OPEN
    closing.assumed.update(assumed)
    return found


def _value(decision: Decision, point: Mapping[str, Any]) -> Any:
    """Return the option that a point takes; OPEN where it does not set one."""
    if decision.name not in point:
        return OPEN if decision.searched else decision.default
    wanted = point[decision.name]
    return next((option for option in decision.options if same(option, wanted)), OPEN)
