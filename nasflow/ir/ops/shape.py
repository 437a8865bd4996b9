"""Operations that move elements without changing them."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Final

from nasflow.errors import SpaceError, TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.span import Span, part, places, plain
from nasflow.ir.types import Type

__all__ = ["Expand", "Flatten", "Pad", "Rearrange", "Roll", "Slice", "Unbind"]

_ITEM: Final = re.compile(r"(?:([A-Z])=)?(?:\(([a-z0-9_ ]*)\)|([a-z_][a-z0-9_]*))\s*")


def _parse(side: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return (axis name, factor names) for each axis of one side of a pattern."""
    items = []
    position = 0
    side = side.strip()
    while position < len(side):
        match = _ITEM.match(side, position)
        if match is None:
            raise TypeRuleError(f"Rearrange: cannot read {side[position:]!r} in a pattern")
        label, group, single = match.groups()
        factors = tuple(group.split()) if group is not None else (single,)
        items.append((label or (single.upper() if single else "X"), factors))
        position = match.end()
    return items


@operation
class Rearrange(Operation):
    """Reorder, split and merge axes by a pattern; the batch is left out.

    ``"c (h p) (w q) -> L=(h w) D=(c p q)"`` cuts a map into patches as tokens: each side lists the
    axes in order, parentheses hold the factors of an axis, outermost first, and ``L=`` names an
    axis of the result (a lone factor names its axis by its capital). ``sizes`` are (name, size)
    pairs for the factors that the input's type does not fix.
    """

    pattern: Operand
    sizes: Operand = ()

    def _solve(
        self, x: Type
    ) -> tuple[list[tuple[str, ...]], dict[str, int], list[tuple[str, tuple[str, ...]]]]:
        left, _, right = str(self.pattern).partition("->")
        taken, given = _parse(left), _parse(right)
        if len(taken) != len(x.shape):
            raise TypeRuleError(
                f"Rearrange {self.pattern!r}: expected {len(taken)} axes, got {x!r}"
            )
        sizes: dict[str, int] = dict(self.sizes)  # type: ignore[arg-type]
        for (_, factors), size in zip(taken, x.shape, strict=True):
            unknown = [name for name in factors if name not in sizes]
            known = math.prod(sizes[name] for name in factors if name in sizes)
            if len(unknown) > 1 or known < 1 or size % known or (not unknown and known != size):
                raise TypeRuleError(
                    f"Rearrange {self.pattern!r}: expected ({' '.join(factors)}) with {sizes} to "
                    f"make {size}, got {x!r}"
                )
            sizes.update(dict.fromkeys(unknown, size // known))
        before = [name for _, factors in taken for name in factors]
        after = [name for _, factors in given for name in factors]
        if sorted(before) != sorted(after) or len(set(before)) != len(before):
            raise TypeRuleError(
                f"Rearrange {self.pattern!r}: expected the same names on both sides"
            )
        return [factors for _, factors in taken], sizes, given

    def infer(self, *types: Type) -> Type:
        (x,) = types
        _, sizes, given = self._solve(x)
        shape = tuple(math.prod(sizes[name] for name in factors) for _, factors in given)
        return Type(tuple(label for label, _ in given), shape, x.dtype, x.batched)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        (x,) = types
        taken, sizes, given = self._solve(x)
        spans: dict[str, Span] = {}
        for factors, whole in zip(taken, place.inputs[0], strict=True):
            rest = whole
            for name in factors[:-1]:
                spans[name], rest = place.groups(rest, sizes[name], "Rearrange")
            if factors:
                spans[factors[-1]] = rest
        merged = (
            place.merge(label, [spans[name] for name in factors]) if factors else places(1)
            for label, factors in given
        )
        return (tuple(merged),)

    def source(self, *types: Type) -> Source:
        (x,) = types
        taken, sizes, given = self._solve(x)
        before = [name for factors in taken for name in factors]
        after = [name for _, factors in given for name in factors]
        batch = 1 if x.batched else 0
        constants: dict[str, int] = {}
        text = "{0}"
        lead = "-1, " if x.batched else ""
        split = any(len(factors) != 1 for factors in taken)
        merge = any(len(factors) != 1 for _, factors in given)
        order = [before.index(name) + batch for name in after]
        moved = order != sorted(order)
        if split and (moved or not merge):
            text += f".reshape({lead}" + ", ".join(f"{{{name}}}" for name in before) + ")"
            constants.update({name: sizes[name] for name in before})
        if moved:
            text += f".permute({'0, ' if batch else ''}{', '.join(map(str, order))})"
        if merge:
            result = self.infer(x)
            # An axis is called by its letter unless a factor of another size is called so.
            names = []
            for i, (axis, size) in enumerate(zip(result.axes, result.shape, strict=True)):
                name = axis.lower()
                names.append(name if constants.get(name, size) == size else f"to_{i}")
                constants[names[-1]] = size
            text += f".reshape({lead}" + ", ".join(f"{{{name}}}" for name in names) + ")"
        return Source(text, constants)


@operation
class Flatten(Operation):
    """Join all axes into one: any -> (D,)."""

    def infer(self, *types: Type) -> Type:
        return Type(("D",), (types[0].numel,), types[0].dtype)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return ((place.merge("D", place.inputs[0]),),)

    def source(self, *types: Type) -> Source:
        return Source("{0}.flatten(1)")

    def window(self, *types: Type) -> None:
        return None  # what maps the result sees every pixel


def padded(span: Span, before: int, after: int) -> Span:
    """Return an axis with entries added on both sides: in the biggest axis they are added too."""
    if span.loose or not (before or after):
        return places(len(span) + before + after) if span.loose else span
    universe = span.universe + before + after
    ends = range(before), range(universe - after, universe)
    entries = plain([*ends[0], *(e + before for e in span.entries), *ends[1]])
    return Span(entries, universe, origin=f"{span.origin}+{before}+{after}")


@operation
class Pad(Operation):
    """Pad the last axes with zeros (or ``value``); ``amounts`` as PyTorch's F.pad, last axis first."""

    amounts: Operand
    value: Operand = 0.0

    def infer(self, *types: Type) -> Type:
        (x,) = types
        amounts = self.amounts
        if not isinstance(amounts, tuple) or len(amounts) % 2 or len(amounts) > 2 * len(x.shape):
            raise TypeRuleError(f"Pad: expected a pair for each padded axis, got {amounts!r}")
        shape = list(x.shape)
        for i in range(len(amounts) // 2):
            shape[-1 - i] += amounts[2 * i] + amounts[2 * i + 1]
        return Type(x.axes, tuple(shape), x.dtype, x.batched)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        spans = list(place.inputs[0])
        amounts = self.amounts
        assert isinstance(amounts, tuple)
        for i in range(len(amounts) // 2):
            spans[-1 - i] = padded(spans[-1 - i], *amounts[2 * i : 2 * i + 2])
        return (tuple(spans),)

    def source(self, *types: Type) -> Source:
        if not any(self.amounts):  # type: ignore[arg-type]
            return Source("{0}")
        if self.value:
            constants = {"amounts": self.amounts, "value": self.value}
            return Source("F.pad({0}, {amounts}, value={value})", constants)  # type: ignore[arg-type]
        return Source("F.pad({0}, {amounts})", {"amounts": self.amounts})  # type: ignore[dict-item]


@operation
class Roll(Operation):
    """Shift entries along axes, around the ends: any -> the same. ``shifts`` and ``axes`` agree."""

    shifts: Operand
    axes: Operand

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if not isinstance(self.shifts, tuple) or not isinstance(self.axes, tuple):
            raise TypeRuleError(
                f"Roll: expected shifts and axes, got {self.shifts!r}, {self.axes!r}"
            )
        for name in self.axes:
            x.size(name)
        return x

    def source(self, *types: Type) -> Source:
        (x,) = types
        if not any(self.shifts):  # type: ignore[arg-type]
            return Source("{0}")
        dims = tuple(x.axes.index(name) - len(x.axes) for name in self.axes)  # type: ignore[union-attr]
        return Source("{0}.roll({shifts}, dims={dims})", {"shifts": self.shifts, "dims": dims})  # type: ignore[dict-item]


@operation
class Slice(Operation):
    """Keep the entries from ``start`` up to ``stop`` along an axis.

    With ``drop`` a single entry is taken and the axis goes.
    """

    axis: Operand
    start: Operand = 0
    stop: Operand = None
    drop: Operand = False
    arity: ClassVar[tuple[int, int]] = (1, 1)

    def _bounds(self, x: Type) -> tuple[int, int, int]:
        size = x.size(str(self.axis))
        start, stop, _ = slice(self.start, self.stop).indices(size)
        if stop <= start:
            raise TypeRuleError(
                f"Slice: expected entries from {self.start} to {self.stop} of {x!r}"
            )
        return x.axes.index(str(self.axis)), start, stop

    def infer(self, *types: Type) -> Type:
        (x,) = types
        position, start, stop = self._bounds(x)
        if not self.drop:
            return x.resize(**{str(self.axis): stop - start})
        axes, shape = list(x.axes), list(x.shape)
        del axes[position], shape[position]
        return Type(tuple(axes), tuple(shape), x.dtype, x.batched)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        position, start, stop = self._bounds(types[0])
        spans = list(place.inputs[0])
        if self.drop:
            del spans[position]
        else:
            spans[position] = part(spans[position], start, stop)
        return (tuple(spans),)

    def source(self, *types: Type) -> Source:
        (x,) = types
        position, start, stop = self._bounds(x)
        lead = ":, " * (position + int(x.batched))
        if self.drop:
            return Source(f"{{0}}[{lead}{{start}}]", {"start": start})
        if stop - start == x.shape[position]:
            return Source("{0}")
        end = "" if stop == x.shape[position] else "{stop}"
        begin = "{start}" if start else ""
        constants = {"start": start} if start else {}
        if end:
            constants["stop"] = stop
        return Source(f"{{0}}[{lead}{begin}:{end}]", constants)


@operation
class Unbind(Operation):
    """Take an axis apart into one value for each entry: any -> ``count`` values without the axis."""

    axis: Operand
    count: Operand

    def results(self) -> int:
        if type(self.count) is not int:
            raise SpaceError(f"Unbind: the number of values cannot be open, got {self.count!r}")
        return self.count

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        name = str(self.axis)
        if x.size(name) != self.count:
            raise TypeRuleError(f"Unbind: expected {self.count} entries along {name}, got {x!r}")
        kept = [(a, s) for a, s in zip(x.axes, x.shape, strict=True) if a != name]
        axes, shape = tuple(a for a, _ in kept), tuple(s for _, s in kept)
        return (Type(axes, shape, x.dtype, x.batched),) * self.results()

    def source(self, *types: Type) -> Source:
        (x,) = types
        return Source("{0}.unbind({dim})", {"dim": x.axes.index(str(self.axis)) + int(x.batched)})


@operation
class Expand(Operation):
    """Repeat the only entry of an axis ``size`` times, without copying it."""

    axis: Operand
    size: Operand

    def infer(self, *types: Type) -> Type:
        (x,) = types
        name = str(self.axis)
        if x.size(name) != 1:
            raise TypeRuleError(f"Expand: expected a single entry along {name}, got {x!r}")
        return x.resize(**{name: self.size})  # type: ignore[arg-type]

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        name = str(self.axis)
        return (place.result(**{name: places(place.outputs[0].size(name))}),)

    def source(self, *types: Type) -> Source:
        (x,) = types
        sizes = ["-1"] * (len(x.axes) + int(x.batched))
        sizes[x.axes.index(str(self.axis)) + int(x.batched)] = "{size}"
        return Source(f"{{0}}.expand({', '.join(sizes)})", {"size": self.size})  # type: ignore[dict-item]
