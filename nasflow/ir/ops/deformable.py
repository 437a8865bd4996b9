"""Attention to a few places that the query itself names."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.ops.query import pixels_of
from nasflow.ir.types import Type

__all__ = ["DeformableAttention", "MultiscaleDeformableAttention"]


@operation
class DeformableAttention(Operation):
    """Sum what each pixel's head sees at its own places: (C, H, W), (L, heads * K * 2), (L, heads * K) -> (L, C).

    Query l is pixel (l // W, l % W). The second input tells for each head and each of its K places how
    far right and down of the query it lies, in pixels; the third how much it counts. Between
    pixels values are interpolated, outside the map they are 0. Each head sees its share of C.
    Zhu et al. (2021), equation 2, without the two linear maps.
    """

    heads: Operand
    arity: ClassVar[tuple[int, int]] = (3, 3)
    support: ClassVar[str] = '''
def deformable_attention(values: Tensor, offsets: Tensor, weights: Tensor, heads: int) -> Tensor:
    """Sum what each pixel's heads see at places around it, (N, C, H, W) to (N, H * W, C)."""
    batch, _, height, width = values.shape
    rows, columns = (torch.arange(side, device=values.device) for side in (height, width))
    query = torch.stack((columns.repeat(height), rows.repeat_interleave(width)), dim=-1)
    places = query[:, None, None] + offsets.unflatten(-1, (heads, -1, 2))
    grid = (2 * places + 1) / torch.tensor((width, height), device=values.device) - 1
    grid = grid.transpose(1, 2).flatten(0, 1).to(values.dtype)
    seen = F.grid_sample(values.unflatten(1, (heads, -1)).flatten(0, 1), grid, align_corners=False)
    weights = weights.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)
    summed = (seen * weights.unsqueeze(1)).sum(dim=-1)
    return summed.unflatten(0, (batch, heads)).flatten(1, 2).transpose(1, 2)
'''

    def infer(self, *types: Type) -> Type:
        values, offsets, weights = types
        if values.axes != ("C", "H", "W") or type(self.heads) is not int or self.heads < 1:
            raise TypeRuleError(
                f"DeformableAttention: expected a map (C H W) and heads from 1, got {values!r} and "
                f"{self.heads!r}"
            )
        channels, height, width = values.shape
        if channels % self.heads:
            raise TypeRuleError(
                f"DeformableAttention: heads={self.heads} does not divide the {channels} channels"
            )
        if len(weights.shape) != 2 or weights.shape[1] % self.heads:
            raise TypeRuleError(
                f"DeformableAttention: expected weights for {self.heads} heads, got {weights!r}"
            )
        wanted = (height * width, 2 * weights.shape[1])
        if offsets.shape != wanted or weights.shape[0] != wanted[0]:
            raise TypeRuleError(
                f"DeformableAttention: expected offsets {wanted}, two for each weight of each pixel, "
                f"got {offsets!r} and {weights!r}"
            )
        return Type(("L", "D"), (height * width, channels))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        values, _, weights = place.inputs
        return ((weights[0], values[0]),)

    def source(self, *types: Type) -> Source:
        return Source("deformable_attention({0}, {1}, {2}, {heads})", {"heads": self.heads})  # type: ignore[dict-item]

    def window(self, *types: Type) -> None:
        return None


@operation
class MultiscaleDeformableAttention(Operation):
    """Sum what each query's heads see at their own places on several maps. Zhu et al. (2021), equation 3.

    Inputs: the maps' pixels (L, D), level by level; where queries are (Q, 2), or their boxes (Q, 4), in parts of
    the image; offsets (Q, heads * levels * K * 2) and weights (Q, heads * levels * K); the result is (Q, D).
    Offsets are in pixels of each map, and for boxes in halves of their sides, shared out over the K places.
    Between pixels values are interpolated, outside a map they are 0. Each head sees its share of D.
    """

    heads: Operand
    sizes: Operand
    arity: ClassVar[tuple[int, int]] = (4, 4)
    support: ClassVar[str] = '''
def multiscale_deformable_attention(
    values: Tensor,
    where: Tensor,
    offsets: Tensor,
    weights: Tensor,
    heads: int,
    sizes: tuple[tuple[int, int], ...],
) -> Tensor:
    """Sum what each query's heads see at places on several maps, (N, Q, D)."""
    offsets = offsets.unflatten(-1, (heads, len(sizes), -1, 2))
    where = where[..., None, None, None, :]
    if where.shape[-1] == 2:
        sides = offsets.new_tensor([(width, height) for height, width in sizes])
        places = where + offsets / sides.unsqueeze(1)
    else:
        places = where[..., :2] + offsets * where[..., 2:] * (0.5 / offsets.shape[-2])
    grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)
    weights = weights.unflatten(-1, (heads, len(sizes), -1)).transpose(1, 2).flatten(0, 1)
    values = values.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1)
    maps = values.flatten(0, 1).split([height * width for height, width in sizes], dim=-1)
    levels = []
    for level, size in enumerate(sizes):
        pixels = maps[level].unflatten(-1, size)
        seen = F.grid_sample(pixels, grid[:, :, level].to(pixels.dtype), align_corners=False)
        levels.append((seen * weights[:, None, :, level]).sum(dim=-1))
    summed = torch.stack(levels).sum(dim=0)
    return summed.unflatten(0, values.shape[:2]).flatten(1, 2).transpose(1, 2)
'''

    def infer(self, *types: Type) -> Type:
        values, where, offsets, weights = types
        pixels = pixels_of("MultiscaleDeformableAttention", self.sizes)
        if len(values.shape) != 2 or values.shape[0] != pixels:
            raise TypeRuleError(
                f"MultiscaleDeformableAttention: expected {pixels} pixels of maps {self.sizes!r}, got {values!r}"
            )
        if type(self.heads) is not int or self.heads < 1 or values.shape[1] % self.heads:
            raise TypeRuleError(
                f"MultiscaleDeformableAttention: expected heads that divide {values!r}, got {self.heads!r}"
            )
        looks = weights.shape[-1]
        assert isinstance(self.sizes, tuple)
        if looks % (self.heads * len(self.sizes)) or offsets.shape[-1] != 2 * looks:
            raise TypeRuleError(
                f"MultiscaleDeformableAttention: expected weights for {self.heads} heads on {len(self.sizes)} maps and "
                f"two offsets for each, got {weights!r} and {offsets!r}"
            )
        queries = {x.shape[0] for x in (where, offsets, weights)}
        if len(queries) != 1 or where.shape[1:] not in ((2,), (4,)):
            raise TypeRuleError(
                f"MultiscaleDeformableAttention: expected a place or box for each query, got {types[1:]!r}"
            )
        return Type(("L", "D"), (weights.shape[0], values.shape[1]))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        values, _, _, weights = place.inputs
        return ((weights[0], values[1]),)

    def source(self, *types: Type) -> Source:
        constants = {"heads": self.heads, "sizes": self.sizes}
        return Source("multiscale_deformable_attention({all}, {heads}, {sizes})", constants)  # type: ignore[arg-type]

    def window(self, *types: Type) -> None:
        return None
