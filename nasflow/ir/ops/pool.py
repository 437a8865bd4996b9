"""Pooling over windows and over whole axes."""

from __future__ import annotations

from typing import Final

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.ops.convolution import borders, joined, slide, spread
from nasflow.ir.span import places
from nasflow.ir.types import Type

__all__ = ["AdaptiveAvgPool", "AvgPool", "Max", "MaxPool", "Mean", "Subsample"]

RANKS: Final = {("C", "L"): 1, ("C", "H", "W"): 2, ("C", "T", "H", "W"): 3}


class _Pool(Operation):
    kernel: Operand
    stride: Operand
    padding: Operand
    ceil: Operand

    def _window(self, x: Type) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]:
        rank = RANKS.get(x.axes)
        if rank is None:
            raise TypeRuleError(f"{type(self).__name__}: expected channels and space, got {x!r}")
        kernel = spread(self.kernel, rank, "kernel")  # type: ignore[arg-type]
        stride = spread(self.stride, rank, "stride")  # type: ignore[arg-type]
        pads = borders(self.padding, x.shape[1:], kernel, stride, (1,) * rank)
        # An odd pixel at the end is PyTorch's ceil mode, which leaves it out of averages too.
        partial = bool(self.ceil) or any(before != after for before, after in pads)
        return kernel, stride, tuple(before for before, _ in pads), partial

    def infer(self, *types: Type) -> Type:
        (x,) = types
        *window, partial = self._window(x)
        sizes = []
        for size, kernel, stride, padding in zip(x.shape[1:], *window, strict=True):
            if 2 * padding > kernel:
                raise TypeRuleError(
                    f"expected padding up to half of kernel={kernel}, got {padding}"
                )
            out = slide(size, kernel, stride, (padding, padding))
            # PyTorch's rule: a last window may start inside the input or its left padding only.
            remainder = (size + 2 * padding - kernel) % stride
            if partial and remainder and out * stride < size + padding:
                out += 1
            sizes.append(out)
        return Type(x.axes, (x.shape[0], *sizes))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.result(**place.sizes()),)

    def window(self, *types: Type) -> tuple[int, int]:
        kernel, stride, _, _ = self._window(types[0])
        return kernel[-1], stride[-1]

    def _arguments(self, x: Type) -> tuple[str, dict[str, object]]:
        *window, partial = self._window(x)
        kernel, stride, padding = map(joined, window)
        constants: dict[str, object] = {"kernel": kernel, "stride": stride}
        text = "{kernel}, {stride}"
        if padding != 0:
            constants["padding"] = padding
            text += ", padding={padding}"
        return text + (", ceil_mode=True" if partial else ""), constants


@operation
class MaxPool(_Pool):
    """Take the largest entry of each window: (C, *space) -> (C, *space')."""

    kernel: Operand
    stride: Operand = 1
    padding: Operand = "half"
    ceil: Operand = False

    def source(self, *types: Type) -> Source:
        text, constants = self._arguments(types[0])
        rank = RANKS[types[0].axes]
        return Source(f"F.max_pool{rank}d({{0}}, {text})", constants)  # type: ignore[arg-type]


@operation
class AvgPool(_Pool):
    """Average each window: (C, *space) -> (C, *space').

    ``count_padding`` counts padded zeros in the divisor, as PyTorch does by default.
    """

    kernel: Operand
    stride: Operand = 1
    padding: Operand = "half"
    ceil: Operand = False
    count_padding: Operand = False

    def source(self, *types: Type) -> Source:
        text, constants = self._arguments(types[0])
        rank = RANKS[types[0].axes]
        if not self.count_padding and "padding" in constants:
            text += ", count_include_pad=False"
        return Source(f"F.avg_pool{rank}d({{0}}, {text})", constants)  # type: ignore[arg-type]


@operation
class AdaptiveAvgPool(Operation):
    """Average windows that share a map out evenly: (C, H, W) -> (C, side, side)."""

    side: Operand

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.axes != ("C", "H", "W") or type(self.side) is not int or self.side < 1:
            raise TypeRuleError(f"AdaptiveAvgPool: expected (C H W) and a side from 1, got {x!r}")
        return x.resize(H=self.side, W=self.side)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.result(**place.sizes()),)

    def source(self, *types: Type) -> Source:
        return Source("F.adaptive_avg_pool2d({0}, {side})", {"side": self.side})  # type: ignore[dict-item]

    def window(self, *types: Type) -> tuple[int, int]:
        (_, _, width) = types[0].shape
        assert isinstance(self.side, int)
        return (-(-width // self.side), max(width // self.side, 1))


@operation
class Mean(Operation):
    """Average over whole axes, ``("H", "W")`` by default; ``keep`` leaves them with size 1."""

    axes: Operand = ("H", "W")
    keep: Operand = False

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if not isinstance(self.axes, tuple):
            raise TypeRuleError(f"Mean: expected names of axes, got {self.axes!r}")
        if self.keep:
            return x.resize(**dict.fromkeys(self.axes, 1))
        for name in self.axes:
            x.size(name)
        kept = [(a, s) for a, s in zip(x.axes, x.shape, strict=True) if a not in self.axes]
        return Type(tuple(a for a, _ in kept), tuple(s for _, s in kept))

    def source(self, *types: Type) -> Source:
        (x,) = types
        assert isinstance(self.axes, tuple)
        dims = tuple(x.axes.index(name) + 1 for name in self.axes)
        form = "{0}.mean(dim={dims}" + (", keepdim=True)" if self.keep else ")")
        return Source(form, {"dims": dims if len(dims) > 1 else dims[0]})

    def window(self, *types: Type) -> None:
        return None


@operation
class Max(Operation):
    """Take the largest entry along a whole axis, or several; ``keep`` leaves them with size 1."""

    axis: Operand
    keep: Operand = False

    def _axes(self) -> tuple[str, ...]:
        return tuple(map(str, self.axis)) if isinstance(self.axis, tuple) else (str(self.axis),)

    def infer(self, *types: Type) -> Type:
        (x,) = types
        left = x.resize(**dict.fromkeys(self._axes(), 1))
        if self.keep:
            return left
        kept = [(a, s) for a, s in zip(x.axes, x.shape, strict=True) if a not in self._axes()]
        return Type(tuple(a for a, _ in kept), tuple(s for _, s in kept), x.dtype, x.batched)

    def source(self, *types: Type) -> Source:
        (x,) = types
        dims = tuple(x.axes.index(name) + int(x.batched) for name in self._axes())
        form = "{0}.amax({dim}, keepdim=True)" if self.keep else "{0}.amax({dim})"
        return Source(form, {"dim": dims if len(dims) > 1 else dims[0]})

    def window(self, *types: Type) -> None:
        return None


@operation
class Subsample(Operation):
    """Keep every ``stride``-th pixel, starting ``offset`` pixels in (zeros beyond the border).

    (C, H, W) or (H, W, D); an ``offset`` is for the former.
    """

    stride: Operand = 2
    offset: Operand = 0

    def infer(self, *types: Type) -> Type:
        (x,) = types
        assert isinstance(self.stride, int)
        if self.offset and x.axes[-2:] != ("H", "W"):
            raise TypeRuleError(f"Subsample: expected (C H W) with an offset, got {x!r}")
        size = {axis: -(-x.size(axis) // self.stride) for axis in ("H", "W")}
        return x.resize(**size)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (
            place.result(
                H=places(place.outputs[0].size("H")), W=places(place.outputs[0].size("W"))
            ),
        )

    def source(self, *types: Type) -> Source:
        constants = {"stride": self.stride}
        if not self.offset:
            before = ":, " * (1 + types[0].axes.index("H"))
            return Source(f"{{0}}[{before}::{{stride}}, ::{{stride}}]", constants)  # type: ignore[arg-type]
        form = (
            "F.pad({0}, (0, {offset}, 0, {offset}))[:, :, {offset}::{stride}, {offset}::{stride}]"
        )
        return Source(form, {**constants, "offset": self.offset})  # type: ignore[dict-item]

    def window(self, *types: Type) -> tuple[int, int]:
        assert isinstance(self.stride, int)
        return (1, self.stride)
