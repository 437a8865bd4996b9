"""An operation is declared once; checking, counting, running and writing it follow from that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform

from nasflow.errors import GraphError, SpaceError, TypeRuleError, nearest
from nasflow.ir import trace
from nasflow.ir.expression import Operand, Scalar
from nasflow.ir.flow import Place, Spans
from nasflow.ir.types import Type
from nasflow.ir.weight import Weight

OPERATIONS: Final[dict[str, type[Operation]]] = {}
"""Every declared operation by name."""
PLAIN_CALL: Final = "{self}({all})"
"""The expression of what is built and called with the inputs alone, see :class:`Source`."""


@dataclass(frozen=True, slots=True)
class Call:
    """The construction of what an operation keeps, such as ``nn.Conv2d(3, 64, 7, stride=2)``.

    Attributes:
        callee: ``nn.Conv2d``, a class of the operation's ``support``, or ``parameter`` or
            ``buffer`` for a bare tensor.
        positional: (name, value) of the arguments written by position.
        keyword: (name, value, default) of those written by name, left out at their default.
    """

    callee: str
    positional: tuple[tuple[str, Scalar], ...] = ()
    keyword: tuple[tuple[str, Scalar, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """How an operation is written in PyTorch.

    Attributes:
        forward: an expression in which ``{0}``, ``{1}`` are the inputs, ``{all}`` all of them
            joined by commas, ``{self}`` what ``build`` made, and other names ``constants``.
        constants: plain values that stand in ``forward``.
        build: what the module keeps between calls, if anything.
    """

    forward: str
    constants: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))
    build: Call | None = None


def module(
    callee: str, *positional: tuple[str, Scalar], **keyword: tuple[Scalar, Scalar]
) -> Source:
    """Return the source of an operation that is an ``nn.Module``; keywords are (value, default)."""
    named = tuple((name, value, default) for name, (value, default) in keyword.items())
    return Source(PLAIN_CALL, build=Call(callee, positional, named))


class Operation:
    """Base of all operations: frozen attributes and what follows from them.

    A subclass is decorated with :func:`operation`, lists its attributes, and overrides what it
    needs. While a space is built an attribute may be an expression; every method below is called
    only once all attributes are plain values.
    """

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most inputs."""
    commutative: ClassVar[bool] = False
    """Whether the order of the inputs is of no consequence."""
    support: ClassVar[str] = ""
    """Source of a class or function that the written module needs (PyTorch only)."""

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes, in the order of declaration; set by :func:`operation`."""

    def infer(self, *types: Type) -> Type | tuple[Type, ...]:
        """Return the type(s) of the result; raise TypeRuleError where the inputs do not fit."""
        raise NotImplementedError

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        """Return the tensors the operation owns at these input types."""
        return ()

    def macs(self, *types: Type) -> int:
        """Return multiply-adds for one sample: convolution, linear, matmul and attention only."""
        return 0

    def source(self, *types: Type) -> Source:
        """Return how the operation is written in PyTorch."""
        raise NotImplementedError

    def results(self) -> int:
        """Return how many values the operation makes; must not depend on decisions."""
        return 1

    def window(self, *types: Type) -> tuple[int, int] | None:
        """Return (extent, stride) in pixels of what one output sees; None sees everything."""
        return (1, 1)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        """Return the index sets of the results' axes in a child of a supernet, and take weights.

        By default weights follow what they declare, and an axis that keeps its name and size keeps
        its entries; raises SpaceError where there is no such axis. See :mod:`nasflow.ir.flow`.
        """
        for weight in place.declared:
            place.take(weight)
        return tuple(place.result(i) for i in range(len(place.outputs)))

    def attributes(self) -> tuple[Operand, ...]:
        """Return the attributes in the order of declaration."""
        return tuple([getattr(self, name) for name in self.fields])

    def __call__(self, *values: trace.Value | trace.Gated, name: str | None = None) -> Any:
        """Apply the operation to values of a space under construction.

        Returns one Value, or a tuple where the operation makes several. ``name`` names the node;
        by default it is the operation's own name.
        """
        fewest, most = self.arity
        if not fewest <= len(values) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise SpaceError(f"{type(self).__name__}: expected {wanted} inputs, got {len(values)}")
        return trace.apply(self, values, name=name, arity=self.results())


T = TypeVar("T", bound=Operation)


@dataclass_transform(frozen_default=True, eq_default=False)
def operation(cls: type[T]) -> type[T]:
    """Declare an operation class: freeze its attributes and make it known by its name.

    Raises SpaceError for an attribute named like something every operation has, and for a name
    that another operation has.
    """
    made = dataclass(frozen=True, eq=False)(cls)
    made.fields = tuple(field.name for field in dataclasses.fields(made))  # type: ignore[arg-type]
    for name in made.fields:
        if hasattr(Operation, name):  # it would hide a method, or take it for its default
            raise SpaceError(
                f"operation {cls.__name__!r}: an attribute cannot be called {name!r}, which every "
                "operation has; choose another name"
            )
    other = OPERATIONS.get(cls.__name__)
    if other is not None and other.__module__ != cls.__module__:
        raise SpaceError(
            f"operation {cls.__name__!r} is declared in {other.__module__} and {cls.__module__}"
        )
    OPERATIONS[cls.__name__] = made
    return made


def find(name: str) -> type[Operation]:
    """Return the operation of that name; raises GraphError with the nearest name."""
    try:
        return OPERATIONS[name]
    except KeyError:
        hint = nearest(name, OPERATIONS)
        raise GraphError(f"unknown operation {name!r}{hint}") from None


class Applied:
    """An operation at given input types: checked, typed and counted once, shared by all graphs."""

    __slots__ = (
        "idle", "inputs", "key", "macs", "moves", "op", "outputs", "params", "piece", "reach", "rule",
        "weights",
    )  # fmt: skip

    op: Operation
    inputs: tuple[Type, ...]
    outputs: tuple[Type, ...]
    weights: tuple[Weight, ...]
    params: int
    macs: int
    key: tuple[Any, ...]
    idle: bool  # gives its one input as it is: a pad by nothing, a sum of one value
    rule: Any  # see nasflow.ir.rules; made when first asked for
    piece: Any  # likewise
    moves: dict[str, Any]  # see nasflow.ir.absorb; likewise
    reach: Any  # see nasflow.ir.cost; likewise

    def __init__(self, op: Operation, inputs: tuple[Type, ...]) -> None:
        fewest, most = op.arity
        if not fewest <= len(inputs) <= most:
            raise TypeRuleError(f"expected {fewest} to {most} inputs, got {len(inputs)}")
        inferred = op.infer(*inputs)
        self.op = op
        self.inputs = inputs
        self.outputs = inferred if isinstance(inferred, tuple) else (inferred,)
        self.weights = op.weights(*inputs)
        self.params = sum(weight.numel for weight in self.weights if weight.trainable)
        self.macs = op.macs(*inputs)
        self.key = (type(op).__name__, op.attributes(), inputs)
        self.idle = (
            self.outputs == inputs and not self.weights and op.source(*inputs).forward == "{0}"
        )
        self.rule = self.piece = self.reach = None
        self.moves = {}


_applied: Final[dict[tuple[Any, ...], Applied]] = {}


def applied(
    cls: type[Operation], attributes: tuple[Scalar, ...], inputs: tuple[Type, ...]
) -> Applied:
    """Return the operation with these attributes at these input types, made once."""
    key = (cls, attributes, tuple(map(type, attributes)), inputs)
    found = _applied.get(key)
    if found is None:
        if len(_applied) > 1_000_000:  # bounds memory in searches of many days
            _applied.clear()
        found = _applied[key] = Applied(cls(*attributes), inputs)
    return found
