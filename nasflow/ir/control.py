"""The parts of a network that decisions choose: switches, picks and repeats."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nasflow.errors import SpaceError
from nasflow.ir.closing import OPEN, known
from nasflow.ir.expression import (
    Apply,
    Decision,
    Dimension,
    Expression,
    Operand,
    Scalar,
    evaluate,
    leaves,
    same,
)
from nasflow.ir.trace import (
    Body,
    Step,
    Value,
    declared,
    pairs,
    qualified,
    record,
    scope,
    trace,
)

MAX_TIMES: Final = 10_000
"""Repetitions of one body; no network has nearly as many layers."""


def _branch_gate(index: Operand) -> Callable[[Scalar], Expression | None]:
    """Return what gates the branch of a key: nothing where the condition depends on a type."""
    typed = any(isinstance(leaf, Dimension) for leaf in leaves(index))
    return lambda key: None if typed else Apply("eq", index, key)


def switch(
    index: Operand, branches: Mapping[Any, Callable[..., Any]] | None = None, /, **named: Any
) -> Callable[..., Any]:
    """Return a function of values that runs the branch whose key equals ``index``.

    Branches are functions of values, given by keyword or as a mapping where keys are no names.
    Decisions made inside a branch exist only where it is taken.
    """
    table: dict[Any, Callable[..., Any]] = {**(branches or {}), **named}
    if isinstance(index, Decision):
        missing = [option for option in index.options if option not in table]
        if missing:
            raise SpaceError(
                f"switch on {index!r}: expected a branch for each option, no {missing}"
            )
    if not isinstance(index, Expression):
        chosen: Callable[..., Any] = table[index]
        return chosen
    gate_of = _branch_gate(index)
    prefix = index.name.rpartition("/")[2] if isinstance(index, Decision) else "when"

    def call(*values: Value, name: str | None = None) -> Any:
        label = qualified(name or prefix)
        wanted = known(index)
        taken = [key for key in table if wanted is OPEN or same(key, wanted)] or list(table)
        bodies = tuple([trace(_key_name(key), table[key], values, gate_of(key)) for key in taken])
        arities = {len(body.outputs) for body in bodies}
        if len(arities) != 1:
            raise SpaceError(
                f"switch {label!r}: branches give differing numbers of values {arities}"
            )
        step = Step("switch", label, pairs(values, label), (index, tuple(taken)), bodies)
        step.arity = arities.pop()
        return record(step)

    return call


def _key_name(key: Scalar) -> str:
    text = re.sub(r"[^a-z0-9]+", "_", str(key).lower()).strip("_")
    return text or "branch"


def when(
    condition: Operand, then: Callable[..., Any], otherwise: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function of values that runs ``then`` where the condition holds.

    The condition may look at sizes of values (``x.dim("C") != out``); such a condition never
    makes decisions conditional, so a space stays countable.
    """
    if not isinstance(condition, Expression):
        chosen = then if condition else otherwise
        return lambda *values, name="when": chosen(*values)
    run = switch(condition, {True: then, False: otherwise})
    return lambda *values, name="when": run(*values, name=name)


def pick(index: Operand, values: Sequence[Value], name: str = "pick") -> Value:
    """Return the value at position ``index`` of ``values``."""
    if isinstance(index, int):
        return values[index]
    step = Step("pick", qualified(name), pairs(values, name), index)
    value: Value = record(step)
    return value


def repeat(body: Callable[..., Any], times: Operand, name: str = "blocks") -> Callable[..., Any]:
    """Return a function of values that applies ``body`` to its own result ``times`` times.

    ``body`` may take the iteration ``i`` (an int) and the count ``n`` by keyword. It is traced once,
    or once per iteration up to the largest count where it takes ``i`` or makes decisions. Decisions
    made inside are one per iteration and exist only where the iteration runs; decisions made outside
    are tied over all of them.
    """
    wanted = set(inspect.signature(body).parameters) & {"i", "n"}
    limit = _largest(times)
    if limit > MAX_TIMES:
        raise SpaceError(f"repeat {name!r}: expected at most {MAX_TIMES:,} times, got {limit:,}")

    def call(*values: Value, name: str = name) -> Any:
        label = qualified(name)
        bodies: list[Body] = []
        for i in range(limit):
            if i and (count := known(times)) is not OPEN and i >= count:
                break
            settings = {key: value for key, value in (("i", i), ("n", times)) if key in wanted}
            gate = Apply("gt", times, i) if isinstance(times, Expression) else None
            made = declared()
            with scope(name):
                bodies.append(trace(str(i), functools.partial(body, **settings), values, gate))
            if "i" not in wanted and declared() == made:
                bodies *= limit  # every iteration is this one; its gate covers the later ones'
                break
        for traced in bodies:
            if len(traced.outputs) != len(values):
                raise SpaceError(
                    f"repeat {label!r}: expected {len(values)} results from its body (as many as "
                    f"it takes), got {len(traced.outputs)}"
                )
        step = Step("repeat", label, pairs(values, label), times, tuple(bodies), len(values))
        return record(step)

    return call


def _largest(times: Operand) -> int:
    """Return the largest count that an expression over decisions can give."""
    if isinstance(times, int):
        return times
    decisions = {id(leaf): leaf for leaf in leaves(times)}
    found = list(decisions.values())
    if not isinstance(times, Expression) or not found:
        raise SpaceError(f"repeat: expected a count, got {times!r}")
    domains = []
    for leaf in found:
        if not isinstance(leaf, Decision):
            raise SpaceError("repeat: the count must depend on decisions only, not on sizes")
        domains.append(leaf.options)
    best = 0
    for values in itertools.product(*domains):
        known = dict(zip(map(id, found), values, strict=True))
        count = evaluate(times, lambda leaf: known[id(leaf)])  # noqa: B023  # used at once
        if type(count) is not int or count < 0:
            raise SpaceError(f"repeat: expected a count of 0 or more, got {count!r}")
        best = max(best, count)
    return best
