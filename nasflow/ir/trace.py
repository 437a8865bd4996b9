"""Build a space by running plain Python: values, steps, and the blocks they are recorded in.

Calling an operation on values records a step; nothing is computed and no type is known yet. A value
links to the step that made it, so what an author leaves unused simply never belongs to the space.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from nasflow.errors import SpaceError
from nasflow.ir.expression import (
    PLAIN,
    Decision,
    Dimension,
    Expression,
    Operand,
    Scalar,
    check_operand,
    is_open,
    leaves,
)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*\Z")
"""Names of scopes, nodes and decisions; they become Python attributes in generated source."""
MAX_NAME: Final = 80
MAX_OPTIONS: Final = 10_000

_order: Final = itertools.count()


class Region:
    """The inside of a block while it is traced."""

    __slots__ = ()


class Here(NamedTuple):
    """Where tracing stands.

    Attributes:
        region: the block that is being traced; None outside of any.
        scope, decisions: names in front of those of nodes and of decisions.
        gate: the conditions under which the block is reached.
    """

    region: Region | None = None
    scope: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    gate: tuple[Expression, ...] = ()


_here: ContextVar[Here] = ContextVar("here", default=Here())  # noqa: B039  # immutable
_declared: ContextVar[int] = ContextVar("declared", default=0)


def declared() -> int:
    """Return how many decisions were made so far: tells whether a body makes any."""
    return _declared.get()


class Value:
    """A value of the network under construction: one output of a step."""

    __slots__ = ("index", "step")

    def __init__(self, step: Step, index: int = 0) -> None:
        self.step = step
        self.index = index

    def dim(self, axis: str) -> Dimension:
        """Return the size of ``axis`` as an expression, known when a point is bound."""
        return Dimension(self, axis)

    def __repr__(self) -> str:
        return self.step.name + (f"[{self.index}]" if self.index else "")


@dataclass(frozen=True, slots=True)
class Gated:
    """A value that a variadic operation takes only where ``when`` holds."""

    value: Value
    when: Operand


@dataclass(eq=False, slots=True)
class Step:
    """One recorded action. ``inputs`` are (value, gate) pairs; a gate of None means always."""

    kind: str  # "formal", "input", "op", "call", "pick", "switch" or "repeat"
    name: str
    inputs: list[tuple[Value, Operand]] = field(default_factory=list)
    payload: Any = None  # op: the operation; call: Body; pick: index; switch/repeat: see below
    bodies: tuple[Body, ...] = ()
    arity: int = 1
    shared: object = None
    open: tuple[Operand, ...] = ()  # op: those of its attributes that hold an expression
    here: Here = field(default_factory=_here.get)
    order: int = field(default_factory=_order.__next__)

    def outputs(self) -> tuple[Value, ...]:
        """Return the values this step makes."""
        if self.arity == 1:
            return (Value(self),)
        return tuple([Value(self, i) for i in range(self.arity)])


@dataclass(eq=False, slots=True)
class Body:
    """A traced block: its formal inputs, the outer values it captured, its live steps, outputs."""

    name: str
    formals: tuple[Step, ...]
    captured: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]
    arguments: dict[str, Operand]
    input_names: tuple[str, ...] = ()  # of formals, then captured values


@functools.lru_cache(10_000)
def check_name(name: str) -> str:
    """Return ``name`` if it may name a scope, node or decision, else raise SpaceError."""
    if len(name) > MAX_NAME or not NAME.match(name):
        raise SpaceError(
            f"name {name[:MAX_NAME]!r}: expected at most {MAX_NAME} lower-case letters, digits "
            "and underscores"
        )
    return name


@contextmanager
def scope(*names: str) -> Iterator[None]:
    """Prefix the names of the nodes and decisions made inside."""
    checked = tuple(check_name(name) for name in names)
    region, outer, decisions, gate = _here.get()
    token = _here.set(Here(region, outer + checked, decisions + checked, gate))
    try:
        yield
    finally:
        _here.reset(token)


def qualified(name: str) -> str:
    """Return a node name with its scopes, joined by underscores."""
    return "_".join((*_here.get().scope, check_name(name)))


def choice(
    name: str,
    *options: Scalar,
    ordered: bool = False,
    searched: bool = True,
    default: Scalar = None,
) -> Decision:
    """Declare a decision among ``options``; its full name is prefixed by the scopes around it.

    ``ordered`` tells strategies that neighbouring options are alike. ``searched=False`` makes a
    setting that named points may use and search leaves at ``default``.
    """
    path = "/".join((*_here.get().decisions, check_name(name)))
    for option in options:
        check_operand(option)
    _declared.set(_declared.get() + 1)
    return Decision(path, options, ordered=ordered, searched=searched, default=default)


def integer(
    name: str,
    low: int,
    high: int,
    step: int = 1,
    *,
    searched: bool = True,
    default: int | None = None,
) -> Decision:
    """Declare an integer decision, from ``low`` to ``high`` inclusive."""
    options = range(low, high + 1, step)
    if len(options) > MAX_OPTIONS:
        raise SpaceError(
            f"decision {name!r}: expected at most {MAX_OPTIONS:,} options, got {len(options):,}; "
            "take a larger step"
        )
    return choice(name, *options, ordered=True, searched=searched, default=default)


def record(step: Step) -> Any:
    """Return the value(s) of a step: one Value, or a tuple where it makes several."""
    outputs = step.outputs()
    return outputs[0] if len(outputs) == 1 else outputs


def pairs(values: Sequence[Value | Gated], what: str) -> list[tuple[Value, Operand]]:
    """Return values with their gates; raises SpaceError for anything else."""
    found: list[tuple[Value, Operand]] = []
    for value in values:
        if isinstance(value, Value):
            found.append((value, None))
        elif isinstance(value, Gated):
            found.append((value.value, value.when))
        else:
            raise SpaceError(f"{what}: expected values, got {type(value).__name__} {value!r}")
    return found


def apply(
    operation: Any, values: Sequence[Value | Gated], *, name: str | None = None, arity: int = 1
) -> Any:
    """Record an operation applied to values; see :meth:`nasflow.ir.Operation.__call__`."""
    label = qualified(name or _snake_case(type(operation).__name__))
    held = []
    for attribute in operation.attributes():
        if attribute.__class__ not in PLAIN:
            check_operand(attribute)
            if is_open(attribute):
                held.append(attribute)
    step = Step("op", label, pairs(values, label), operation, arity=arity, open=tuple(held))
    return record(step)


@functools.lru_cache(10_000)
def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def source(name: str, axes: tuple[str, ...], shape: tuple[Operand, ...], dtype: str) -> Value:
    """Record an input of the network; sizes may be expressions."""
    value: Value = record(Step("input", check_name(name), payload=(axes, shape, dtype)))
    return value


def image(
    channels: Operand = 3, size: Operand | tuple[Operand, Operand] = 224, name: str = "image"
) -> Value:
    """Return an image input, (C, H, W); ``size`` is a side or a (height, width) pair, in pixels."""
    height, width = size if isinstance(size, tuple) else (size, size)
    return source(name, ("C", "H", "W"), (channels, height, width), "float")


def video(
    channels: Operand = 3, frames: Operand = 16, size: Operand = 224, name: str = "video"
) -> Value:
    """Return a video input, (C, T, H, W)."""
    return source(name, ("C", "T", "H", "W"), (channels, frames, size, size), "float")


def ids(length: Operand, name: str = "ids") -> Value:
    """Return a sequence of token ids, (L,), of integers."""
    return source(name, ("L",), (length,), "int")


def boxes(count: Operand, name: str = "boxes") -> Value:
    """Return boxes as an input, (R, D=4): corners x1, y1, x2, y2 in pixels of an image."""
    return source(name, ("R", "D"), (count, 4), "float")


# -- blocks -------------------------------------------------------------------------------------


def trace(
    name: str,
    function: Callable[..., Any],
    values: Sequence[Value],
    gate: Expression | None = None,
    called: Sequence[str] | None = None,
) -> Body:
    """Run ``function`` on formal values and keep what its results need.

    Inside, node names start afresh, decision names continue and the gate deepens. ``called`` names
    the formals; by default they have the names of the function's parameters.
    """
    outer = _here.get()
    region = Region()
    gates = outer.gate if gate is None else (*outer.gate, gate)
    token = _here.set(Here(region, (), (*outer.decisions, check_name(name)), gates))
    try:
        formals = tuple([Step("formal", f"x{i}") for i in range(len(values))])
        result = function(*[Value(step) for step in formals])
    finally:
        _here.reset(token)
    outputs = result if isinstance(result, tuple) else (result,)
    for output in outputs:
        if not isinstance(output, Value):
            raise SpaceError(f"block {name!r}: expected values as results, got {output!r}")
    captured, steps = close(outputs, region)
    if called is None:
        called = _parameters(function)
    wanted = [*called[: len(values)], *[f"x{i}" for i in range(len(called), len(values))]]
    names = _input_names((*wanted, *[value.step.name for value in captured]))
    return Body(name, formals, captured, steps, outputs, {}, names)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's positional parameters, as far as they are known cheaply."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


@functools.lru_cache(10_000)
def _input_names(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return distinct names for a block's inputs, close to those wanted."""
    names: list[str] = []
    for i, name in enumerate(wanted):
        plain = name if len(name) <= MAX_NAME and NAME.match(name) else f"x{i}"
        while plain in names:
            plain = f"x{i}" if plain != f"x{i}" else f"x{i}_"
        names.append(plain)
    return tuple(names)


def close(
    outputs: Sequence[Value], region: Region | None
) -> tuple[tuple[Value, ...], tuple[Step, ...]]:
    """Return the outer values that the outputs need, and the steps of ``region``, formals aside."""
    steps: dict[int, Step] = {}
    captured: dict[tuple[int, int], Value] = {}
    pending = list(outputs)
    while pending:
        value = pending.pop()
        step = value.step
        if step.here.region is not region:
            captured.setdefault((step.order, value.index), value)
        elif step.order not in steps:
            steps[step.order] = step
            for read, gate in step.inputs:
                pending.append(read)
                if gate is not None:
                    pending.extend(_dimension_values(gate))
            for body in step.bodies:
                pending.extend(body.captured)
            for operand in operands(step):
                pending.extend(_dimension_values(operand))
    ordered = tuple([steps[order] for order in sorted(steps) if steps[order].kind != "formal"])
    return tuple([captured[key] for key in sorted(captured)]), ordered


def _dimension_values(operand: Operand) -> list[Value]:
    return [leaf.value for leaf in leaves(operand) if isinstance(leaf, Dimension)]


def operands(step: Step) -> tuple[Operand, ...]:
    """Return the expressions of a step other than the gates of its inputs."""
    if step.kind == "op":
        return step.open
    if step.kind == "input":
        return tuple(step.payload[1])
    if step.kind in ("pick", "repeat"):
        return (step.payload,)
    if step.kind == "switch":
        return (step.payload[0],)
    return ()


R = TypeVar("R")


def block(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function of values a named sub-graph: one node here, one class in written source.

    Positional arguments that are values become the block's inputs; all others are settings. A
    ``name`` keyword names the node (by default the function's name).
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        name = kwargs.pop("name", None) or function.__name__.strip("_")
        if "name" in signature.parameters:
            raise SpaceError(
                f"block {function.__name__}: 'name' is the node's; rename the argument"
            )
        positions = [i for i, arg in enumerate(args) if isinstance(arg, Value)]
        keys = [key for key, arg in kwargs.items() if isinstance(arg, Value)]
        values = [args[i] for i in positions] + [kwargs[key] for key in keys]

        def run(*formals: Value) -> Any:
            inner, named = list(args), dict(kwargs)
            for i, formal in zip(positions, formals, strict=False):
                inner[i] = formal
            named.update(zip(keys, formals[len(positions) :], strict=True))
            return function(*inner, **named)

        label = qualified(name)
        called = _called(signature, args, kwargs)
        body = trace(name, run, values, called=called)
        kind = function.__name__.strip("_")
        body.name = kind if NAME.match(kind) else "block"  # a lambda has no name
        body.arguments = _settings(signature, args, kwargs)
        step = Step("call", label, pairs(values, label), body, (body,), len(body.outputs))
        return record(step)

    return call


def _called(
    signature: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[str, ...]:
    """Return the parameters that a block's values are passed as, in the order of its inputs."""
    names: list[str] = []
    for i, (arg, name) in enumerate(zip(args, _positional(signature, len(args)), strict=True)):
        if isinstance(arg, Value):
            names.append(name or f"x{i}")
    return (*names, *(key for key, arg in kwargs.items() if isinstance(arg, Value)))


def _positional(signature: inspect.Signature, count: int) -> list[str]:
    """Return the names of the first ``count`` positional parameters; "" inside ``*args``."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, p in signature.parameters.items() if p.kind in kinds][:count]
    return names + [""] * (count - len(names))


def _settings(
    signature: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> dict[str, Operand]:
    """Return the settings a block was called with, as names for its source.

    They are plain values, and expressions over decisions alone.
    """
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    found: dict[str, Operand] = {}
    for key, value in bound.arguments.items():
        decided = isinstance(value, Expression) and all(
            isinstance(leaf, Decision) for leaf in leaves(value)
        )
        if decided or isinstance(value, (bool, int, float, str)):
            found[key] = value
    return found


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a block that uses one set of weights wherever it is called within one block."""
    key = object()
    traced = block(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = traced(*args, **kwargs)
        first = result[0] if isinstance(result, tuple) else result
        first.step.shared = key
        return result

    return call
