"""Attention whose cost grows with the number of tokens, not with its square."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.types import Type
from nasflow.ir.weight import Init, Weight, axis

__all__ = ["LinearAttention", "RandomFeatures"]


@operation
class RandomFeatures(Operation):
    """Map tokens to positive features whose products are those of a softmax on average: (L, D) -> (L, M).

    Feature m of x is exp(w_m x - |x|^2 / 2) / sqrt(count). The directions w are drawn orthogonal, of
    length sqrt(count), and never trained. Choromanski et al. (2021), lemma 1 and section 2.4.
    """

    count: Operand
    support: ClassVar[str] = '''
class RandomFeatures(nn.Module):
    """Map tokens to positive random features, (N, L, width) to (N, L, count)."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(count, width))

    def forward(self, x: Tensor) -> Tensor:
        length = x.square().sum(dim=-1, keepdim=True) / 2
        return torch.exp(x @ self.weight.T - length) / len(self.weight) ** 0.5
'''

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.axes != ("L", "D") or type(self.count) is not int or self.count < 1:
            raise TypeRuleError(
                f"RandomFeatures: expected (L D) and a count from 1, got {x!r} and {self.count!r}"
            )
        return x.resize(D=self.count)

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        (x,) = types
        assert isinstance(self.count, int)
        rows, columns = axis(self.count), axis(x.shape[-1], source="0:D")
        return (Weight("weight", (rows, columns), Init("orthogonal", (self.count**0.5,)), False),)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        rows, _ = place.take(place.declared[0])
        return (place.result(D=rows),)

    def macs(self, *types: Type) -> int:
        assert isinstance(self.count, int)
        return types[0].numel * self.count

    def source(self, *types: Type) -> Source:
        return module("RandomFeatures", ("width", types[0].shape[-1]), ("count", self.count))  # type: ignore[arg-type]


@operation
class LinearAttention(Operation):
    """Attend by products of positive features: (L, M), (S, M), (S, D) -> (L, D).

    Result l is the mean of the values, value s weighted by the product of query features l and key
    features s; no (L, S) matrix is made. Choromanski et al. (2021), equation 4.
    """

    arity: ClassVar[tuple[int, int]] = (3, 3)
    support: ClassVar[str] = '''
def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Average values weighted by products of positive features, (N, L, M) to (N, L, D)."""
    total = query @ key.sum(dim=-2).unsqueeze(-1)
    return query @ (key.transpose(-2, -1) @ value) / (total + 1e-8)
'''

    def infer(self, *types: Type) -> Type:
        query, key, value = types
        if len(query.shape) != 2 or query.shape[1:] != key.shape[1:] or len(value.shape) != 2:
            raise TypeRuleError(
                f"LinearAttention: expected queries and keys of one width, got {query!r}, {key!r}"
            )
        if key.shape[0] != value.shape[0]:
            raise TypeRuleError(
                f"LinearAttention: expected a value for each key, got {key!r} and {value!r}"
            )
        return query.resize(**{query.axes[1]: value.shape[1]})

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        query, key, value = place.inputs
        place.agree("sums products of", (query[1], key[1]))
        place.agree("attends between", (key[0], value[0]))
        return ((query[0], value[1]),)

    def macs(self, *types: Type) -> int:
        (length, count), (keys, _), (_, width) = (type_.shape for type_ in types)
        return length * count + keys * count * width + length * count * width

    def source(self, *types: Type) -> Source:
        return Source("linear_attention({0}, {1}, {2})")

    def window(self, *types: Type) -> None:
        return None
