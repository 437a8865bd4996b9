"""What queries need that look at several maps: where pixels lie, waves of a place, the best of many tokens."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import places, prefix
from nasflow.ir.types import Type

__all__ = [
    "Detach",
    "PixelAnchors",
    "PixelPlaces",
    "SinusoidalFeatures",
    "TopK",
]


def pixels_of(who: str, sizes: Operand) -> int:
    """Return how many pixels maps of these (height, width) have together."""
    if not isinstance(sizes, tuple) or not sizes:
        raise TypeRuleError(f"{who}: expected the sizes of some maps, got {sizes!r}")
    for size in sizes:
        if not isinstance(size, tuple) or len(size) != 2 or min(size) < 1:
            raise TypeRuleError(f"{who}: expected sizes (height, width), got {size!r}")
    return sum(height * width for height, width in sizes)


@operation
class Detach(Operation):
    """Pass a value on and its gradient not: any -> the same."""

    def infer(self, *types: Type) -> Type:
        return types[0]

    def source(self, *types: Type) -> Source:
        return Source("{0}.detach()")


@operation
class TopK(Operation):
    """Number the ``count`` largest entries, largest first: (L,) -> ids (count,)."""

    count: Operand

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if len(x.shape) != 1 or type(self.count) is not int or not 1 <= self.count <= x.shape[0]:
            raise TypeRuleError(f"TopK: expected up to all of (L), got {self.count!r} of {x!r}")
        return Type(x.axes, (self.count,), "int")

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return ((places(place.outputs[0].shape[0]),),)

    def source(self, *types: Type) -> Source:
        return Source("{0}.topk({count}, dim=-1).indices", {"count": self.count})  # type: ignore[dict-item]

    def window(self, *types: Type) -> None:
        return None


@operation
class PixelPlaces(Operation):
    """Give the place of each pixel of all maps, in parts of the map's width and height: -> (L, D = 2).

    ``sizes`` are (height, width) of the maps; a pixel's place, across and down, lies ``shift`` of a pixel in.
    """

    sizes: Operand
    shift: Operand = 0.5
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class PixelPlaces(nn.Module):
    """Hold across and down of each pixel of several maps, in parts of their sides, (L, 2)."""

    def __init__(self, sizes: tuple[tuple[int, int], ...], shift: float = 0.5) -> None:
        super().__init__()
        found = []
        for height, width in sizes:
            down, across = (torch.arange(side) for side in (height, width))
            x = ((across + shift) / width).repeat(height)
            y = ((down + shift) / height).repeat_interleave(width)
            found.append(torch.stack((x, y), dim=-1))
        self.register_buffer("places", torch.cat(found), persistent=False)

    def forward(self) -> Tensor:
        return self.places
'''

    def infer(self, *types: Type) -> Type:
        return Type(("L", "D"), (pixels_of("PixelPlaces", self.sizes), 2), batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return ((places(place.outputs[0].shape[0]), prefix(2, 2)),)

    def source(self, *types: Type) -> Source:
        return module("PixelPlaces", ("sizes", self.sizes), shift=(self.shift, 0.5))  # type: ignore[arg-type]


@operation
class PixelAnchors(Operation):
    """Give a box around each pixel of all maps, as logits, and whether it counts: -> (L, 4), (L, 1).

    Boxes are centre across and down, width and height, in parts of the image; their sides are ``side`` on the
    first map and double from map to map. A box of which a number is outside 0.01 to 0.99 does not count (0, not
    1), and its logits are those of 0.999, where the released code has infinity. Zhu et al. (2021), Deformable
    DETR, appendix A.4, and released code.
    """

    sizes: Operand
    side: Operand = 0.05
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class PixelAnchors(nn.Module):
    """Hold the logits of a box around each pixel of several maps, (L, 4), and whether it counts, (L, 1)."""

    def __init__(self, sizes: tuple[tuple[int, int], ...], side: float = 0.05) -> None:
        super().__init__()
        found = []
        for level, (height, width) in enumerate(sizes):
            x = ((torch.arange(width) + 0.5) / width).repeat(height)
            y = ((torch.arange(height) + 0.5) / height).repeat_interleave(width)
            extent = torch.full_like(x, side * 2**level)
            found.append(torch.stack((x, y, extent, extent), dim=-1))
        boxes = torch.cat(found)
        counts = ((boxes > 0.01) & (boxes < 0.99)).all(dim=-1, keepdim=True)
        logits = torch.logit(boxes.where(counts, torch.tensor(0.999)))
        self.register_buffer("logits", logits, persistent=False)
        self.register_buffer("counts", counts.to(logits.dtype), persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.logits, self.counts
'''

    def results(self) -> int:
        return 2

    def infer(self, *types: Type) -> tuple[Type, ...]:
        count = pixels_of("PixelAnchors", self.sizes)
        return tuple(Type(("L", "D"), (count, size), batched=False) for size in (4, 1))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return tuple(
            (places(type_.shape[0]), prefix(type_.shape[1], type_.shape[1]))
            for type_ in place.outputs
        )

    def source(self, *types: Type) -> Source:
        return module("PixelAnchors", ("sizes", self.sizes), side=(self.side, 0.05))  # type: ignore[arg-type]


@operation
class SinusoidalFeatures(Operation):
    """Turn each number into sines and cosines of ``width`` wavelengths: (L, D) -> (L, D * width).

    Entry 2i of a number p in 0 to 1 is sin(2 pi p / temperature^(2i / width)), entry 2i + 1 its cosine.
    Carion et al. (2020), DETR, appendix A.4; Liu et al. (2022), DAB-DETR, section 4.1.
    """

    width: Operand
    temperature: Operand = 10000.0
    support: ClassVar[str] = '''
def sinusoidal_features(x: Tensor, width: int, temperature: float) -> Tensor:
    """Turn each number into sines and cosines, (..., L, D) to (..., L, D * width)."""
    exponents = torch.arange(0, width, 2, device=x.device, dtype=x.dtype) / width
    angles = (2 * math.pi * x).unsqueeze(-1) / temperature**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)
'''

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if len(x.shape) != 2 or type(self.width) is not int or self.width < 2 or self.width % 2:
            raise TypeRuleError(
                f"SinusoidalFeatures: expected (L D) and an even width, got {x!r} and {self.width!r}"
            )
        return x.resize(D=x.shape[1] * self.width)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        size = place.outputs[0].size("D")
        return (place.result(D=prefix(size, size)),)

    def source(self, *types: Type) -> Source:
        constants = {"width": self.width, "temperature": self.temperature}
        return Source("sinusoidal_features({0}, {width}, {temperature})", constants)  # type: ignore[arg-type]
