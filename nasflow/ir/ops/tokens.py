"""Fewer tokens: those that matter stay."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.span import places
from nasflow.ir.types import Type

__all__ = ["KeepTokens", "SampleTokens", "TakeTokens"]


@operation
class KeepTokens(Operation):
    """Keep the first token and the ``count`` best others; one token sums up the rest: (L, D) -> (count + 2, D).

    The second input has a score for each token but the first, (L - 1,); the others stand in its
    order, and the last token is their sum weighted by the score. Liang et al. (2022), section 3.2.
    """

    count: Operand
    arity: ClassVar[tuple[int, int]] = (2, 2)
    support: ClassVar[str] = '''
class KeepTokens(nn.Module):
    """Keep the first token, those of the highest score and the weighted sum of the others."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor, score: Tensor) -> Tensor:
        order = score.argsort(dim=-1, descending=True)
        others = x[:, 1:].take_along_dim(order.unsqueeze(-1), dim=1)
        rest = score.take_along_dim(order[:, self.count :], dim=1).unsqueeze(1)
        fused = (rest.transpose(1, 2) * others[:, self.count :]).sum(dim=1, keepdim=True)
        return torch.cat((x[:, :1], others[:, : self.count], fused), dim=1)
'''

    def infer(self, *types: Type) -> Type:
        x, score = types
        if x.axes != ("L", "D") or score.shape != (x.shape[0] - 1,):
            raise TypeRuleError(
                f"KeepTokens: expected (L D) and a score for each token but the first, got {x!r} and "
                f"{score!r}"
            )
        if type(self.count) is not int or not 1 <= self.count < x.shape[0] - 1:
            raise TypeRuleError(
                f"KeepTokens: expected to keep 1 to {x.shape[0] - 2} of {x!r} beside the first, got "
                f"{self.count!r}"
            )
        return x.resize(L=self.count + 2)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.result(L=places(place.outputs[0].size("L"))),)

    def source(self, *types: Type) -> Source:
        return module("KeepTokens", ("count", self.count))  # type: ignore[arg-type]

    def window(self, *types: Type) -> None:
        return None


@operation
class SampleTokens(Operation):
    """Draw tokens by how much they matter: (H, L, L), (H, L, D) -> ids (count + 1,), mask (count + 1,).

    A token matters as much as the first token looks at it, times the length of its value, summed
    over heads. ``count`` quantiles of that distribution are taken, at 1/2K, 3/2K, ...; a token met
    again is masked by minus infinity, so that ``count`` bounds how many stay. The first token always
    does. The inputs are attention maps and values, and the mask (L,) of the tokens where some count no more.
    Fayyaz et al. (2022), section 3.2.
    """

    count: Operand
    arity: ClassVar[tuple[int, int]] = (2, 3)
    support: ClassVar[str] = '''
class SampleTokens(nn.Module):
    """Draw the ids of tokens that matter, (N, count + 1), the first always, and mask repeated ones."""

    def __init__(self, count: int) -> None:
        super().__init__()
        quantiles = (torch.arange(count) + 0.5) / count
        self.register_buffer("quantiles", quantiles, persistent=False)

    @torch.no_grad()
    def forward(
        self, maps: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        matters = (maps[:, :, 0, 1:] * values[:, :, 1:].norm(dim=-1)).sum(dim=1)
        if mask is not None:
            matters = matters.masked_fill(mask[:, 1:] < 0, 0.0)
        below = (matters.cumsum(dim=-1) / matters.sum(dim=-1, keepdim=True)).contiguous()
        quantiles = self.quantiles.to(below.dtype).expand(len(below), -1).contiguous()
        ids = torch.searchsorted(below, quantiles).clamp(max=below.shape[-1] - 1) + 1
        again = F.pad(ids[:, 1:] == ids[:, :-1], (2, 0))
        ids = F.pad(ids, (1, 0))
        return ids, torch.zeros_like(ids, dtype=below.dtype).masked_fill(again, -torch.inf)
'''

    def results(self) -> int:
        return 2

    def infer(self, *types: Type) -> tuple[Type, ...]:
        maps, values, *masks = types
        if len(maps.shape) != 3 or len(values.shape) != 3 or maps.shape[:2] != values.shape[:2]:
            raise TypeRuleError(
                f"SampleTokens: expected a map and values for each head, got {maps!r} and {values!r}"
            )
        if any(mask.shape != (maps.shape[-1],) for mask in masks):
            raise TypeRuleError(
                f"SampleTokens: expected a mask of {maps.shape[-1]} tokens, got {masks[0]!r}"
            )
        if type(self.count) is not int or self.count < 1:
            raise TypeRuleError(f"SampleTokens: expected a count from 1, got {self.count!r}")
        shape = (self.count + 1,)
        return (Type(("L",), shape, "int"), Type(("L",), shape))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return tuple((places(type_.shape[0]),) for type_ in place.outputs)

    def source(self, *types: Type) -> Source:
        return module("SampleTokens", ("count", self.count))  # type: ignore[arg-type]

    def window(self, *types: Type) -> None:
        return None


@operation
class TakeTokens(Operation):
    """Take the tokens that ids name, for all leading axes the same: (..., L, D), (K,) -> (..., K, D)."""

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, *types: Type) -> Type:
        x, ids = types
        if len(x.shape) < 2 or not x.batched or len(ids.shape) != 1 or ids.dtype != "int":
            raise TypeRuleError(f"TakeTokens: expected tokens and ids, got {x!r} and {ids!r}")
        return x.resize(**{x.axes[-2]: ids.shape[0]})

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        x, ids = place.inputs
        return ((*x[:-2], ids[0], x[-1]),)

    def source(self, *types: Type) -> Source:
        lead = ", ".join(["None"] * (len(types[0].shape) - 2))
        index = f"{{1}}[:, {lead}, :, None]" if lead else "{1}.unsqueeze(-1)"
        return Source(f"{{0}}.take_along_dim({index}, dim=-2)")

    def window(self, *types: Type) -> None:
        return None
