"""Build a space by running plain Python: values, blocks, switches, picks and repeats.

Calling an operation on values records a step; nothing is computed and no type is known yet. A value
links to the step that made it, so what an author leaves unused simply never belongs to the space.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from nasflow.errors import SpaceError
from nasflow.ir.expression import (
    Apply,
    Decision,
    Dimension,
    Expression,
    Operand,
    Scalar,
    check_operand,
    evaluate,
    is_open,
    leaves,
)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*\Z")
"""Names of scopes, nodes and decisions; they become Python attributes in generated source."""
MAX_NAME: Final = 80

_order: Final = itertools.count()
_scope: ContextVar[tuple[str, ...]] = ContextVar("scope", default=())
_decision_scope: ContextVar[tuple[str, ...]] = ContextVar("decision_scope", default=())
_region: ContextVar[Region | None] = ContextVar("region", default=None)
_declared: ContextVar[int] = ContextVar("declared", default=0)
"""How many decisions were made so far: tells whether a body makes any."""
_gate: ContextVar[tuple[Expression, ...]] = ContextVar("gate", default=())


class Region:
    """The inside of a block while it is traced; ``parent`` is the block around it."""

    __slots__ = ("parent",)

    def __init__(self, parent: Region | None) -> None:
        self.parent = parent


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
    region: Region | None = field(default_factory=_region.get)
    gate: tuple[Expression, ...] = field(default_factory=_gate.get)
    order: int = field(default_factory=lambda: next(_order))
    open: tuple[Operand, ...] | None = None  # see `operands`

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
    tokens = (
        _scope.set(_scope.get() + checked),
        _decision_scope.set(_decision_scope.get() + checked),
    )
    try:
        yield
    finally:
        _scope.reset(tokens[0])
        _decision_scope.reset(tokens[1])


@contextmanager
def _inside(name: str, gate: Expression | None = None) -> Iterator[Region]:
    """Trace a block: node names start afresh, decision names continue, the gate deepens."""
    region = Region(_region.get())
    tokens = (
        _region.set(region),
        _scope.set(()),
        _decision_scope.set((*_decision_scope.get(), check_name(name))),
        _gate.set(_gate.get() if gate is None else (*_gate.get(), gate)),
    )
    try:
        yield region
    finally:
        for variable, token in zip((_region, _scope, _decision_scope, _gate), tokens, strict=True):
            variable.reset(token)  # type: ignore[attr-defined]  # each token is its variable's own


def qualified(name: str) -> str:
    """Return a node name with its scopes, joined by underscores."""
    return "_".join((*_scope.get(), check_name(name)))


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
    path = "/".join((*_decision_scope.get(), check_name(name)))
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
    options = tuple(range(low, high + 1, step))
    return choice(name, *options, ordered=True, searched=searched, default=default)


def record(step: Step) -> Any:
    """Return the value(s) of a step: one Value, or a tuple where it makes several."""
    outputs = step.outputs()
    return outputs[0] if len(outputs) == 1 else outputs


def _pairs(values: Sequence[Value | Gated], what: str) -> list[tuple[Value, Operand]]:
    pairs: list[tuple[Value, Operand]] = []
    for value in values:
        if isinstance(value, Gated):
            pairs.append((value.value, value.when))
        elif isinstance(value, Value):
            pairs.append((value, None))
        else:
            raise SpaceError(f"{what}: expected values, got {type(value).__name__} {value!r}")
    return pairs


def apply(
    operation: Any, values: Sequence[Value | Gated], *, name: str | None = None, arity: int = 1
) -> Any:
    """Record an operation applied to values; see :meth:`nasflow.ir.Operation.__call__`."""
    label = qualified(name or re.sub(r"(?<!^)(?=[A-Z])", "_", type(operation).__name__).lower())
    inputs = _pairs(values, label)
    return record(Step("op", label, inputs, operation, arity=arity))


def source(name: str, axes: tuple[str, ...], shape: tuple[Operand, ...], dtype: str) -> Value:
    """Record an input of the network; sizes may be expressions."""
    value: Value = record(Step("input", check_name(name), payload=(axes, shape, dtype)))
    return value


def image(channels: Operand = 3, size: Operand = 224, name: str = "image") -> Value:
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


# -- blocks -------------------------------------------------------------------------------------


def _trace(
    name: str,
    function: Callable[..., Any],
    values: Sequence[Value],
    gate: Expression | None = None,
    called: Sequence[str] | None = None,
) -> Body:
    """Run ``function`` on formal values and keep what its results need.

    ``called`` names the formals; by default they have the names of the function's parameters.
    """
    with _inside(name, gate) as region:
        formals = tuple(Step("formal", f"x{i}") for i in range(len(values)))
        result = function(*(Value(step) for step in formals))
    outputs = result if isinstance(result, tuple) else (result,)
    for output in outputs:
        if not isinstance(output, Value):
            raise SpaceError(f"block {name!r}: expected values as results, got {output!r}")
    captured, steps, mapped = close(outputs, region, formals)
    if called is None:
        called = _parameters(function)
    wanted = [*called[: len(values)], *[f"x{i}" for i in range(len(called), len(values))]]
    names = _input_names([*wanted, *(value.step.name for value in captured)])
    return Body(name, formals, captured, steps, mapped, {}, names)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's positional parameters, as far as they are known cheaply."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


def _input_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return distinct names for a block's inputs, close to those wanted."""
    names: list[str] = []
    for i, name in enumerate(wanted):
        plain = name if len(name) <= MAX_NAME and NAME.match(name) else f"x{i}"
        while plain in names:
            plain = f"x{i}" if plain != f"x{i}" else f"x{i}_"
        names.append(plain)
    return tuple(names)


def close(
    outputs: Sequence[Value], region: Region | None, formals: Sequence[Step]
) -> tuple[tuple[Value, ...], tuple[Step, ...], tuple[Value, ...]]:
    """Collect the steps of ``region`` that the outputs need, and the outer values they use."""
    steps: dict[int, Step] = {}
    captured: dict[tuple[int, int], Value] = {}
    pending = list(outputs)
    while pending:
        value = pending.pop()
        step = value.step
        if step.region is not region:
            captured.setdefault((step.order, value.index), value)
        elif step.order not in steps:
            steps[step.order] = step
            pending.extend(used_values(step))
    ordered = tuple(steps[order] for order in sorted(steps) if steps[order].kind != "formal")
    outer = tuple(captured[key] for key in sorted(captured))
    return outer, ordered, tuple(outputs)


def used_values(step: Step) -> Iterator[Value]:
    """Yield every value that a step reads: inputs, captures, and those whose sizes it mentions."""
    for value, gate in step.inputs:
        yield value
        if gate is not None:
            yield from _dimension_values(gate)
    for body in step.bodies:
        yield from body.captured
    for operand in operands(step):
        yield from _dimension_values(operand)


def _dimension_values(operand: Operand) -> Iterator[Value]:
    for leaf in leaves(operand):
        if isinstance(leaf, Dimension):
            yield leaf.value


OPEN: Final = (Expression, tuple)
"""What an operand that holds a decision or a dimension can be."""


def operands(step: Step) -> tuple[Operand, ...]:
    """Return the expressions of a step other than the gates of its inputs.

    Of an operation's attributes only those that are open: most are plain values.
    """
    if step.kind == "op":
        if step.open is None:
            attributes = step.payload.attributes()
            step.open = tuple([a for a in attributes if isinstance(a, OPEN) and is_open(a)])
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
        body = _trace(name, run, values, called=called)
        kind = function.__name__.strip("_")
        body.name = kind if NAME.match(kind) else "block"  # a lambda has no name
        body.arguments = _settings(signature, args, kwargs)
        step = Step("call", label, _pairs(values, label), body, (body,), len(body.outputs))
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
        bodies = tuple(
            _trace(_key_name(key), branch, values, gate_of(key)) for key, branch in table.items()
        )
        arities = {len(body.outputs) for body in bodies}
        if len(arities) != 1:
            raise SpaceError(
                f"switch {label!r}: branches give differing numbers of values {arities}"
            )
        step = Step("switch", label, _pairs(values, label), (index, tuple(table)), bodies)
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
    step = Step("pick", qualified(name), _pairs(values, name), index)
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

    def call(*values: Value, name: str = name) -> Any:
        label = qualified(name)
        bodies: list[Body] = []
        for i in range(limit):
            settings = {key: value for key, value in (("i", i), ("n", times)) if key in wanted}
            gate = Apply("gt", times, i) if isinstance(times, Expression) else None
            made = _declared.get()
            with scope(name):
                bodies.append(_trace(str(i), functools.partial(body, **settings), values, gate))
            if "i" not in wanted and _declared.get() == made:
                bodies *= limit  # every iteration is this one; its gate covers the later ones'
                break
        for traced in bodies:
            if len(traced.outputs) != len(values):
                raise SpaceError(
                    f"repeat {label!r}: expected {len(values)} results from its body (as many as "
                    f"it takes), got {len(traced.outputs)}"
                )
        step = Step("repeat", label, _pairs(values, label), times, tuple(bodies), len(values))
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
