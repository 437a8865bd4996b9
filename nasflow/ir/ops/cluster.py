"""Clusters of points, and where the points lie."""

from __future__ import annotations

import math
from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import places, prefix
from nasflow.ir.types import Type

__all__ = ["Cluster", "Coordinates"]


@operation
class Cluster(Operation):
    """Give each point what its cluster has in common: (..., N, D) -> (..., N, V).

    Inputs are points (..., N, D) and their values (..., N, V), centres (..., M, D) and their values
    (..., M, V), and two numbers (1,), a scale and an offset of cosines. A point belongs to the centre
    it is most like; a cluster averages its values, weighted by how like they are, and hands the
    result back by the same weights. Ma et al. (2023), "Image as Set of Points", section 3.2.
    """

    arity: ClassVar[tuple[int, int]] = (6, 6)
    support: ClassVar[str] = '''
def cluster(
    points: Tensor, values: Tensor, centres: Tensor, gathered: Tensor, scale: Tensor, offset: Tensor
) -> Tensor:
    """Average the values of each centre's points, (..., N, V), and hand them back to the points."""
    cosine = F.normalize(centres, dim=-1) @ F.normalize(points, dim=-1).transpose(-2, -1)
    likeness, centre = torch.sigmoid(offset + scale * cosine).max(dim=-2)
    likeness, centre = likeness.unsqueeze(-1), centre.unsqueeze(-1)
    total = torch.ones_like(gathered[..., :1]).scatter_add(-2, centre, likeness)
    centre = centre.expand_as(values)
    average = gathered.scatter_add(-2, centre, likeness * values) / total
    return likeness * average.gather(-2, centre)
'''

    def infer(self, *types: Type) -> Type:
        points, values, centres, gathered, *numbers = types
        shapes = [type_.shape for type_ in (points, values, centres, gathered)]
        if min(map(len, shapes)) < 2 or len({shape[:-2] for shape in shapes}) > 1:
            raise TypeRuleError(f"Cluster: expected equal leading axes, got {types[:4]}")
        (n, d), (values_n, v), (m, centres_d), (gathered_m, gathered_v) = (
            shape[-2:] for shape in shapes
        )
        if (values_n, centres_d, gathered_m, gathered_v) != (n, d, m, v):
            raise TypeRuleError(
                f"Cluster: expected points {n} x {d}, values {n} x {v}, centres {m} x {d} and their "
                f"values {m} x {v}, got {types[:4]}"
            )
        if any(number.shape != (1,) or number.batched for number in numbers):
            raise TypeRuleError(f"Cluster: expected a scale and an offset, got {types[4:]}")
        return values

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        points, values, centres, gathered = place.inputs[:4]
        place.agree("compares", (points[-1], centres[-1]))
        return ((*values[:-1], place.agree("averages", (values[-1], gathered[-1]))),)

    def macs(self, *types: Type) -> int:
        points, _, centres = types[:3]
        return math.prod(points.shape) * centres.shape[-2]

    def source(self, *types: Type) -> Source:
        return Source("cluster({all})")

    def window(self, *types: Type) -> None:
        return None


@operation
class Coordinates(Operation):
    """Give the place of each pixel, from -0.5 to 0.5 down and across: -> (C = 2, H, W).

    Ma et al. (2023), section 3.1.
    """

    height: Operand
    width: Operand
    arity: ClassVar[tuple[int, int]] = (0, 0)
    support: ClassVar[str] = '''
class Coordinates(nn.Module):
    """Hold the row and the column of each pixel, from -0.5 to 0.5, (2, height, width)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        sides = (torch.linspace(-0.5, 0.5, side) for side in (height, width))
        self.register_buffer("grid", torch.stack(torch.meshgrid(*sides, indexing="ij")), persistent=False)

    def forward(self) -> Tensor:
        return self.grid
'''

    def infer(self, *types: Type) -> Type:
        return Type(("C", "H", "W"), (2, self.height, self.width), batched=False)  # type: ignore[arg-type]

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        _, height, width = place.outputs[0].shape
        return ((prefix(2, 2), places(height), places(width)),)

    def source(self, *types: Type) -> Source:
        return module("Coordinates", ("height", self.height), ("width", self.width))  # type: ignore[arg-type]
