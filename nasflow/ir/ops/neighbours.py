"""Graphs over tokens: who is whose neighbour, and what the neighbours hold."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import places
from nasflow.ir.types import Type

__all__ = ["Gather", "NearestNeighbours"]


@operation
class NearestNeighbours(Operation):
    """Find for each token the tokens nearest to it, itself first: (L, D) -> (L, K) of ids.

    Nearest by Euclidean distance between features scaled to length 1, which is largest cosine. Of
    the ``k * dilation`` nearest every ``dilation``-th is kept. No gradient passes.
    Han et al. (2022), section 3.1, and Li et al. (2019), section 3.3, for the dilation.
    """

    k: Operand
    dilation: Operand = 1
    support: ClassVar[str] = '''
class NearestNeighbours(nn.Module):
    """Find the ids of every dilation-th of the tokens nearest in direction, (N, L, k)."""

    def __init__(self, k: int, dilation: int = 1) -> None:
        super().__init__()
        self.k = k
        self.dilation = dilation

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = F.normalize(x, dim=-1)
        nearest = (x @ x.transpose(-2, -1)).topk(self.k * self.dilation).indices
        return nearest[..., :: self.dilation]
'''

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.axes != ("L", "D") or x.dtype != "float":
            raise TypeRuleError(f"NearestNeighbours: expected (L D), got {x!r}")
        k, dilation = self.k, self.dilation
        if type(k) is not int or type(dilation) is not int or k < 1 or dilation < 1:
            raise TypeRuleError(
                f"NearestNeighbours: expected k and dilation from 1, got {k!r} and {dilation!r}"
            )
        if k * dilation > x.shape[0]:
            raise TypeRuleError(
                f"NearestNeighbours: expected k * dilation up to the {x.shape[0]} tokens, got "
                f"{k} * {dilation}"
            )
        return Type(("L", "K"), (x.shape[0], k), "int", x.batched)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (tuple(map(places, place.outputs[0].shape)),)

    def macs(self, *types: Type) -> int:
        (x,) = types
        return x.numel * x.shape[0]

    def source(self, *types: Type) -> Source:
        return module("NearestNeighbours", ("k", self.k), dilation=(self.dilation, 1))  # type: ignore[arg-type]

    def window(self, *types: Type) -> None:
        return None


@operation
class Gather(Operation):
    """Take the tokens that ids name: (S, D), (L, K) of ids below S -> (L, K, D)."""

    arity: ClassVar[tuple[int, int]] = (2, 2)
    support: ClassVar[str] = '''
class Gather(nn.Module):
    """Take the tokens of each sample that its ids name: (N, S, D), (N, L, K) to (N, L, K, D)."""

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        first = torch.arange(x.shape[0], device=x.device)[:, None, None] * x.shape[1]
        return F.embedding(ids + first, x.flatten(0, 1))
'''

    def infer(self, *types: Type) -> Type:
        x, ids = types
        if len(x.axes) != 2 or x.dtype != "float" or not x.batched:
            raise TypeRuleError(f"Gather: expected tokens and their width, got {x!r}")
        if len(ids.axes) != 2 or ids.dtype != "int" or not ids.batched:
            raise TypeRuleError(f"Gather: expected two axes of ids, got {ids!r}")
        return Type((*ids.axes, x.axes[-1]), (*ids.shape, x.shape[-1]))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return ((*place.inputs[1], place.inputs[0][-1]),)

    def source(self, *types: Type) -> Source:
        return module("Gather")

    def window(self, *types: Type) -> None:
        return None
