"""Attention to a few places that the query itself names."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type

__all__ = ["DeformableAttention"]


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
