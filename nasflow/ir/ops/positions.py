"""Positions: ids, masks and tables that tell attention where tokens are to each other."""

from __future__ import annotations

import math
from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import places, prefix
from nasflow.ir.types import Type

__all__ = [
    "ClippedOffsets",
    "PairDistances",
    "RelativePositions",
    "RelativeScores",
    "ShiftedWindowMask",
    "SinusoidalPositions",
]


@operation
class RelativePositions(Operation):
    """Give for each pair of pixels in a window the row of a table of relative positions: -> (L, S) ids.

    In a window of ``side`` x ``side`` pixels, pixel (y, x) sees pixel (v, u) at row
    (y - v + side - 1) * (2 side - 1) + x - u + side - 1, of (2 side - 1)^2 rows.
    Liu et al. (2021), section 3.2.
    """

    side: Operand
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class RelativePositions(nn.Module):
    """Hold which relative position each pair of pixels in a window has."""

    def __init__(self, window: int) -> None:
        super().__init__()
        y, x = torch.arange(window).repeat_interleave(window), torch.arange(window).repeat(window)
        rows = (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
        self.register_buffer("rows", rows, persistent=False)

    def forward(self) -> Tensor:
        return self.rows
'''

    def infer(self, *types: Type) -> Type:
        if type(self.side) is not int or self.side < 1:
            raise TypeRuleError(f"RelativePositions: expected a side from 1, got {self.side!r}")
        return Type(("L", "S"), (self.side**2, self.side**2), "int", batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (tuple(map(places, place.outputs[0].shape)),)

    def source(self, *types: Type) -> Source:
        return module("RelativePositions", ("window", self.side))  # type: ignore[arg-type]


@operation
class RelativeScores(Operation):
    """Score pairs of a query and a pixel by how far apart they are: two (..., L, R) -> (..., L, S).

    L are the queries of a square block and S the pixels of a window of ``side`` = (R + 1) / 2, rows
    first. The inputs are each query's scores of R vertical and R horizontal steps: query (y, x) and
    pixel (v, u) get the first at v - y + side - 1 plus the second at u - x + side - 1.
    Vaswani et al. (2021), section 2; the count of steps is that of timm's code.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)
    support: ClassVar[str] = '''
class RelativeScores(nn.Module):
    """Add up the scores of vertical and horizontal steps from each query to each pixel of a window."""

    def __init__(self, block: int, window: int) -> None:
        super().__init__()
        steps = torch.arange(window) - torch.arange(block)[:, None] + window - 1
        self.register_buffer("down", steps.repeat_interleave(block, 0), persistent=False)
        self.register_buffer("across", steps.repeat(block, 1), persistent=False)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> Tensor:
        down = vertical.gather(-1, self.down.expand(*vertical.shape[:-1], -1))
        across = horizontal.gather(-1, self.across.expand(*horizontal.shape[:-1], -1))
        return (down.unsqueeze(-1) + across.unsqueeze(-2)).flatten(-2)
'''

    def infer(self, *types: Type) -> Type:
        vertical, horizontal = types
        if vertical != horizontal or len(vertical.shape) < 2:
            raise TypeRuleError(f"RelativeScores: expected equal types, got {types!r}")
        queries, steps = vertical.shape[-2:]
        block, window = math.isqrt(queries), (steps + 1) // 2
        if block**2 != queries or steps % 2 == 0 or block > window:
            raise TypeRuleError(
                f"RelativeScores: expected a square of queries and an odd count of steps to a window "
                f"no smaller, got {vertical!r}"
            )
        return Type((*vertical.axes[:-1], "S"), (*vertical.shape[:-1], window**2))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return ((*place.inputs[0][:-1], places(place.outputs[0].size("S"))),)

    def source(self, *types: Type) -> Source:
        queries, steps = types[0].shape[-2:]
        sides = ("block", math.isqrt(queries)), ("window", (steps + 1) // 2)
        return module("RelativeScores", *sides)

    def window(self, *types: Type) -> None:
        return None


@operation
class PairDistances(Operation):
    """Give for each pair of pixels the row of a table of absolute distances: -> (L, S) ids.

    On a map of ``side`` x ``side`` pixels, pixel (y, x) sees pixel (v, u) at row
    |y - v| * side + |x - u|, of side^2 rows; L are every ``stride``-th pixel of both axes.
    Graham et al. (2021), equation 1.
    """

    side: Operand
    stride: Operand = 1
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class PairDistances(nn.Module):
    """Hold which absolute distance each pair of pixels has."""

    def __init__(self, side: int, stride: int = 1) -> None:
        super().__init__()
        axis = torch.arange(side)
        keys = torch.cartesian_prod(axis, axis)
        queries = torch.cartesian_prod(axis[::stride], axis[::stride])
        apart = (queries[:, None] - keys).abs()
        self.register_buffer("rows", apart[..., 0] * side + apart[..., 1], persistent=False)

    def forward(self) -> Tensor:
        return self.rows
'''

    def infer(self, *types: Type) -> Type:
        side, stride = self.side, self.stride
        if type(side) is not int or type(stride) is not int or min(side, stride) < 1:
            raise TypeRuleError(
                f"PairDistances: expected a side and a stride from 1, got {side!r}, {stride!r}"
            )
        return Type(("L", "S"), ((-(-side // stride)) ** 2, side**2), "int", batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (tuple(map(places, place.outputs[0].shape)),)

    def source(self, *types: Type) -> Source:
        return module("PairDistances", ("side", self.side), stride=(self.stride, 1))  # type: ignore[arg-type]


@operation
class ClippedOffsets(Operation):
    """Give for each pair of tokens how far apart they are along one axis of a map: -> (L, S) ids.

    Token 0 is a class token, which is at 0 to all; the others are the pixels of a ``side`` x ``side``
    map. Pixels d apart (rows, or with ``axis="W"`` columns) are at d + limit + 1, d clipped to
    -limit..limit: there are 2 limit + 2 ids. Chen et al. (2021), AutoFormer, released code.
    """

    side: Operand
    limit: Operand
    axis: Operand = "H"
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class ClippedOffsets(nn.Module):
    """Hold how far apart each pair of tokens is along one axis; the first is a class token."""

    def __init__(self, side: int, limit: int, axis: str = "H") -> None:
        super().__init__()
        pixel = torch.arange(side * side)
        along = pixel // side if axis == "H" else pixel % side
        apart = (along - along[:, None]).clamp(-limit, limit) + limit + 1
        self.register_buffer("apart", F.pad(apart, (1, 0, 1, 0)), persistent=False)

    def forward(self) -> Tensor:
        return self.apart
'''

    def infer(self, *types: Type) -> Type:
        side, limit = self.side, self.limit
        if type(side) is not int or type(limit) is not int or side < 1 or limit < 0:
            raise TypeRuleError(
                f"ClippedOffsets: expected a side from 1 and a limit from 0, got {side!r}, {limit!r}"
            )
        if self.axis not in ("H", "W"):
            raise TypeRuleError(f"ClippedOffsets: expected axis H or W, got {self.axis!r}")
        return Type(("L", "S"), (side**2 + 1,) * 2, "int", batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (tuple(map(places, place.outputs[0].shape)),)

    def source(self, *types: Type) -> Source:
        pairs = (("side", self.side), ("limit", self.limit))
        return module("ClippedOffsets", *pairs, axis=(self.axis, "H"))  # type: ignore[arg-type]


@operation
class ShiftedWindowMask(Operation):
    """Give a bias that separates what a cyclic shift brought together: -> (W, H, L, S), H = 1 head.

    A map of ``height`` x ``width`` pixels, rolled by ``shift``, is cut into W windows of
    ``side`` x ``side``; pairs of pixels that were not neighbours get -100.
    Liu et al. (2021), section 3.2 and released code.
    """

    height: Operand
    width: Operand
    side: Operand
    shift: Operand
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class ShiftedWindowMask(nn.Module):
    """Hold -100 for pairs of pixels that only a cyclic shift brought into one window, else 0."""

    def __init__(self, height: int, width: int, window: int, shift: int) -> None:
        super().__init__()
        y, x = (self.regions(size, window, shift) for size in (height, width))
        region = (3 * y[:, None] + x).reshape(height // window, window, width // window, window)
        region = region.transpose(1, 2).reshape(-1, 1, window * window)
        apart = region.unsqueeze(-1) != region.unsqueeze(-2)
        self.register_buffer("mask", torch.where(apart, -100.0, 0.0), persistent=False)

    @staticmethod
    def regions(size: int, window: int, shift: int) -> Tensor:
        """Number the parts of an axis: up to the last window, in it, and what came round."""
        i = torch.arange(size)
        return (i >= size - window).int() + (i >= size - shift).int()

    def forward(self) -> Tensor:
        return self.mask
'''

    def infer(self, *types: Type) -> Type:
        height, width, side, shift = self.attributes()
        if not all(type(value) is int for value in self.attributes()):
            raise TypeRuleError(f"ShiftedWindowMask: expected integers, got {self.attributes()!r}")
        assert isinstance(height, int) and isinstance(width, int)
        assert isinstance(side, int) and isinstance(shift, int)
        if side < 1 or height % side or width % side or not 0 <= shift < side:
            raise TypeRuleError(
                f"ShiftedWindowMask: expected windows that fill {height} x {width} and a smaller "
                f"shift, got side={side} shift={shift}"
            )
        count = (height // side) * (width // side)
        return Type(("W", "H", "L", "S"), (count, 1, side**2, side**2), batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (tuple(map(places, place.outputs[0].shape)),)

    def source(self, *types: Type) -> Source:
        names = ("height", "width", "window", "shift")
        pairs = zip(names, self.attributes(), strict=True)
        return module("ShiftedWindowMask", *pairs)  # type: ignore[arg-type]


@operation
class SinusoidalPositions(Operation):
    """Give sines and cosines of each position at geometric wavelengths: -> (L, D).

    Entry (p, 2i) is sin(p / 10000^(2i / width)), entry (p, 2i + 1) its cosine.
    Vaswani et al. (2017), section 3.5.
    """

    length: Operand
    width: Operand
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class SinusoidalPositions(nn.Module):
    """Hold sines and cosines of each position, (length, width)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
        angles = torch.arange(length)[:, None] * rates
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]
        self.register_buffer("table", table, persistent=False)

    def forward(self) -> Tensor:
        return self.table
'''

    def infer(self, *types: Type) -> Type:
        return Type(("L", "D"), (self.length, self.width), batched=False)  # type: ignore[arg-type]

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        length, width = place.outputs[0].shape
        return ((places(length), prefix(width, width)),)

    def source(self, *types: Type) -> Source:
        pairs = (("length", self.length), ("width", self.width))
        return module("SinusoidalPositions", *pairs)  # type: ignore[arg-type]
