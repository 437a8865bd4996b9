"""Operations that join several values or take one apart."""

from __future__ import annotations

import itertools
from typing import ClassVar, Final

from nasflow.errors import SpaceError, TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.span import join, part, places
from nasflow.ir.types import Type

__all__ = ["Add", "Concat", "Multiply", "Scale", "Split", "Subtract"]

MANY: Final = 1 << 16


def broadcast(who: str, types: tuple[Type, ...]) -> Type:
    """Return the type of an element-wise combination; sizes of 1 stretch, as in PyTorch.

    Values of fewer axes align with the last axes; a value without a batch serves every sample.
    """
    widest = max(types, key=lambda t: (len(t.shape), t.batched))
    shape = list(widest.shape)
    for other in types:
        offset = len(shape) - len(other.shape)
        for i, size in enumerate(other.shape):
            if shape[offset + i] == 1:
                shape[offset + i] = size
            elif size not in (1, shape[offset + i]):
                raise TypeRuleError(f"{who}: expected equal types, got {widest!r} and {other!r}")
        if other.batched and offset:
            raise TypeRuleError(f"{who}: expected equal axes, got {widest!r} and {other!r}")
    return Type(widest.axes, tuple(shape), widest.dtype, any(t.batched for t in types))


def aligned(who: str, place: Place) -> tuple[Spans, ...]:
    """Return the entries of an element-wise combination: those that all inputs agree on.

    Values are combined entry by entry. Where they hold different entries of their biggest axes
    (the states of a searched cell), the result counts as the ones that come first, and the place
    is noted.
    """
    (out,) = place.outputs
    spans = []
    for i, size in enumerate(out.shape):
        back = i - len(out.shape)
        given = [s[back] for s in place.inputs if len(s) >= -back and len(s[back]) == size]
        spans.append(place.agree(who, given))
    return (tuple(spans),)


class _Elementwise(Operation):
    arity: ClassVar[tuple[int, int]] = (1, MANY)
    commutative: ClassVar[bool] = True
    sign: ClassVar[str]

    def infer(self, *types: Type) -> Type:
        return broadcast(type(self).__name__, types)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return aligned(f"{type(self).__name__} combines", place)

    def source(self, *types: Type) -> Source:
        return Source(f" {self.sign} ".join(f"{{{i}}}" for i in range(len(types))))


@operation
class Add(_Elementwise):
    """Add values element by element; sizes of 1 stretch."""

    sign: ClassVar[str] = "+"


@operation
class Multiply(_Elementwise):
    """Multiply values element by element; sizes of 1 stretch."""

    sign: ClassVar[str] = "*"


@operation
class Subtract(Operation):
    """Take the second value from the first, element by element; sizes of 1 stretch."""

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, *types: Type) -> Type:
        return broadcast("Subtract", types)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return aligned("Subtract combines", place)

    def source(self, *types: Type) -> Source:
        return Source("{0} - {1}")


@operation
class Scale(Operation):
    """Multiply by a constant number: any -> the same."""

    factor: Operand

    def infer(self, *types: Type) -> Type:
        return types[0]

    def source(self, *types: Type) -> Source:
        return Source("{0} * {factor}", {"factor": self.factor})  # type: ignore[dict-item]


@operation
class Concat(Operation):
    """Join values along an axis (``"C"`` by default); all other axes must agree.

    A value without a batch (a class token) joins every sample.
    """

    axis: Operand = "C"
    arity: ClassVar[tuple[int, int]] = (1, MANY)

    def infer(self, *types: Type) -> Type:
        first = types[0]
        name = str(self.axis)
        size = 0
        for other in types:
            if (
                other.axes != first.axes
                or other.resize(**{name: 1}).shape != first.resize(**{name: 1}).shape
            ):
                raise TypeRuleError(
                    f"Concat on {name}: expected other axes to agree, got {first!r} and {other!r}"
                )
            size += other.size(name)
        joined = first.resize(**{name: size})
        return Type(joined.axes, joined.shape, joined.dtype, any(t.batched for t in types))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        name = str(self.axis)
        position = types[0].axes.index(name)
        spans = tuple(inner[position] for inner in place.inputs)
        if any(span.loose for span in spans):
            return (place.result(**{name: places(sum(map(len, spans)))}),)
        joined = join(spans, *place.offsets("input", spans), place.path)
        return (place.result(**{name: joined}),)

    def source(self, *types: Type) -> Source:
        if len(types) == 1:
            return Source("{0}")
        first = next((i for i, t in enumerate(types) if t.batched), None)
        dim = types[0].axes.index(str(self.axis)) + int(first is not None)
        if first is None or all(t.batched for t in types):
            return Source("torch.cat([{all}], dim={dim})", {"dim": dim})
        spread = f".expand({{{first}}}.shape[0]{', -1' * len(types[0].axes)})"
        parts = (f"{{{i}}}" + ("" if t.batched else spread) for i, t in enumerate(types))
        return Source(f"torch.cat([{', '.join(parts)}], dim={{dim}})", {"dim": dim})


@operation
class Split(Operation):
    """Cut an axis into ``parts`` of equal size, or of the sizes listed; gives that many values."""

    parts: Operand
    axis: Operand = "C"

    def results(self) -> int:
        if isinstance(self.parts, tuple):
            return len(self.parts)
        if not isinstance(self.parts, int):
            raise SpaceError(f"Split: the number of parts cannot be open, got {self.parts!r}")
        return self.parts

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        name = str(self.axis)
        size = x.size(name)
        if isinstance(self.parts, tuple):
            sizes = self.parts
        else:
            assert isinstance(self.parts, int)
            sizes = (size // self.parts,) * self.parts
        if sum(sizes) != size:
            raise TypeRuleError(f"Split: expected parts that sum to {size}, got {self.parts!r}")
        return tuple(x.resize(**{name: part}) for part in sizes)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        name = str(self.axis)
        span = place.span(0, name)
        if not isinstance(self.parts, tuple):
            assert isinstance(self.parts, int)
            _, span = place.groups(span, self.parts, "a split")
            return tuple(place.result(i, **{name: span}) for i in range(self.parts))
        ends = list(itertools.accumulate(self.parts))
        spans = [part(span, end - size, end) for size, end in zip(self.parts, ends, strict=True)]
        return tuple(place.result(i, **{name: inner}) for i, inner in enumerate(spans))

    def source(self, *types: Type) -> Source:
        (x,) = types
        dim = x.axes.index(str(self.axis)) - len(x.axes)
        if isinstance(self.parts, tuple):
            return Source("{0}.split({sizes}, dim={dim})", {"sizes": self.parts, "dim": dim})
        return Source("{0}.chunk({parts}, dim={dim})", {"parts": self.parts, "dim": dim})  # type: ignore[dict-item]
