"""Linear maps, matrix products, and weights that are values."""

from __future__ import annotations

import math
from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.operation import Call, Operation, Source, module, operation
from nasflow.ir.types import Type
from nasflow.ir.weight import Factor, Weight, axis, init

__all__ = ["Attention", "Embedding", "Linear", "Matmul", "Parameter"]


@operation
class Linear(Operation):
    """Map the last axis linearly: (..., D) -> (..., out).

    ``factors`` splits the result into named parts for weight sharing, outermost first, such as
    ``(3, heads, width)`` of a fused qkv; their product must be ``out``.
    """

    out: Operand
    bias: Operand = True
    init: Operand = "torch"
    bias_init: Operand = None
    factors: Operand = ()

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if not x.axes or x.dtype != "float":
            raise TypeRuleError(f"Linear: expected a value with a last axis, got {x!r}")
        if type(self.out) is not int or self.out < 1:
            raise TypeRuleError(f"Linear: expected out from 1, got {self.out!r}")
        if self.factors and math.prod(self.factors) != self.out:  # type: ignore[arg-type]
            raise TypeRuleError(f"Linear: expected factors of {self.out}, got {self.factors!r}")
        return x.resize(**{x.axes[-1]: self.out})

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        (x,) = types
        assert isinstance(self.out, int) and isinstance(self.factors, tuple)
        rows = tuple(Factor(size) for size in self.factors) or axis(self.out)
        columns = axis(x.shape[-1], source=f"0:{x.axes[-1]}")
        law = init(self.init)  # type: ignore[arg-type]
        weight = Weight("weight", (rows, columns), law)
        if not self.bias:
            return (weight,)
        default = "torch" if law.law == "torch" else "zeros"
        return (weight, Weight("bias", (rows,), init(self.bias_init or default)))  # type: ignore[arg-type]

    def macs(self, *types: Type) -> int:
        (x,) = types
        assert isinstance(self.out, int)
        return x.numel * self.out

    def source(self, *types: Type) -> Source:
        (x,) = types
        return module(
            "nn.Linear",
            ("in_features", x.shape[-1]),
            ("out_features", self.out),  # type: ignore[arg-type]
            bias=(bool(self.bias), True),
        )

    def window(self, *types: Type) -> tuple[int, int]:
        return (1, 1)


@operation
class Matmul(Operation):
    """Multiply matrices: (..., M, K) x (..., K, N) -> (..., M, N).

    With ``transpose`` the second is (..., N, K). A value without leading axes is used for all.
    """

    transpose: Operand = False
    arity: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, *types: Type) -> Type:
        a, b = types
        inner, columns = (-1, -2) if self.transpose else (-2, -1)
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[inner]:
            raise TypeRuleError(f"Matmul: expected inner sizes to agree, got {a!r} and {b!r}")
        lead, other = a.shape[:-2], b.shape[:-2]
        if lead and other and lead != other:
            raise TypeRuleError(f"Matmul: expected equal leading axes, got {a!r} and {b!r}")
        outer = a if lead or not other else b
        shape = (*outer.shape[:-2], a.shape[-2], b.shape[columns])
        last = b.axes[columns]
        taken = (*outer.axes[:-2], a.axes[-2])
        name = last if last not in taken else "N" if "N" not in taken else "K"
        return Type((*taken, name), shape, batched=a.batched or b.batched)

    def macs(self, *types: Type) -> int:
        return self.infer(*types).numel * types[0].shape[-1]

    def source(self, *types: Type) -> Source:
        return Source("{0} @ {1}.transpose(-2, -1)" if self.transpose else "{0} @ {1}")

    def window(self, *types: Type) -> None:
        return None


@operation
class Attention(Operation):
    """Attend: softmax(q k^T * scale + bias) v, fused. (..., L, D), (..., S, D), (..., S, E) -> (..., L, E).

    A fourth input is a bias added before the softmax, broadcast over leading axes. ``scale``
    defaults to 1/sqrt(D); ``causal`` hides later positions; ``dropout`` acts on the weights in
    training. Vaswani et al. (2017), equation 1.
    """

    scale: Operand = None
    causal: Operand = False
    dropout: Operand = 0.0
    arity: ClassVar[tuple[int, int]] = (3, 4)

    def infer(self, *types: Type) -> Type:
        q, k, v = types[:3]
        if min(len(t.shape) for t in (q, k, v)) < 2 or q.shape[-1] != k.shape[-1]:
            raise TypeRuleError(f"Attention: expected queries and keys of one width, got {q!r}, {k!r}")
        if k.shape[-2] != v.shape[-2] or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
            raise TypeRuleError(
                f"Attention: expected a value for each key and equal leading axes, got {q!r}, {k!r}, "
                f"{v!r}"
            )
        if len(types) == 4:
            shape = (*q.shape[:-1], k.shape[-2])
            bias = types[3].shape
            pairs = zip(reversed(bias), reversed(shape), strict=False)
            if len(bias) > len(shape) or any(b not in (1, s) for b, s in pairs):
                raise TypeRuleError(f"Attention: expected a bias for {shape}, got {types[3]!r}")
        return Type((*q.axes[:-1], v.axes[-1]), (*q.shape[:-1], v.shape[-1]))

    def macs(self, *types: Type) -> int:
        q, k, v = types[:3]
        return math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])

    def source(self, *types: Type) -> Source:
        constants = {}
        extra = ", attn_mask={3}" if len(types) == 4 else ""
        if self.dropout:
            extra += ", dropout_p={dropout} if self.training else 0.0"
            constants["dropout"] = self.dropout
        extra += ", is_causal=True" if self.causal else ""
        if self.scale is not None:
            extra += ", scale={scale}"
            constants["scale"] = self.scale
        forward = "F.scaled_dot_product_attention({0}, {1}, {2}" + extra + ")"
        return Source(forward, constants)  # type: ignore[arg-type]

    def window(self, *types: Type) -> None:
        return None


@operation
class Parameter(Operation):
    """Give a trainable tensor as a value without a batch: a position table, a class token, a scale.

    ``axes`` names the axes of ``shape``; ``ones`` lists positions where the stored tensor has an
    extra axis of size 1, for state dicts that expect it.
    """

    axes: Operand
    shape: Operand
    init: Operand = "zeros"
    shrink: Operand = "prefix"
    trainable: Operand = True
    arity: ClassVar[tuple[int, int]] = (0, 0)

    def infer(self, *types: Type) -> Type:
        if not isinstance(self.axes, tuple) or not isinstance(self.shape, tuple):
            raise TypeRuleError(f"Parameter: expected axes and sizes, got {self.axes!r}, {self.shape!r}")
        return Type(self.axes, self.shape, batched=False)

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        shape = self.infer().shape
        axes = tuple(axis(size, shrink=str(self.shrink)) for size in shape)
        return (Weight("", axes, init(self.init), trainable=bool(self.trainable)),)  # type: ignore[arg-type]

    def source(self, *types: Type) -> Source:
        callee = "parameter" if self.trainable else "buffer"
        return Source("{self}", build=Call(callee, (("shape", self.infer().shape),)))


@operation
class Embedding(Operation):
    """Look up rows of a table: ids (L,) -> (L, width).

    With two inputs the second is the table itself, (V, D), so that it can be tied to another use.
    """

    count: Operand
    width: Operand
    init: Operand = ("normal", 1.0)
    arity: ClassVar[tuple[int, int]] = (1, 2)

    def infer(self, *types: Type) -> Type:
        ids = types[0]
        if ids.dtype != "int":
            raise TypeRuleError(f"Embedding: expected integer ids, got {ids!r}")
        if len(types) == 2 and types[1].shape != (self.count, self.width):
            raise TypeRuleError(
                f"Embedding: expected a table of {self.count} x {self.width}, got {types[1]!r}"
            )
        return Type((*ids.axes, "D"), (*ids.shape, self.width), batched=ids.batched)  # type: ignore[arg-type]

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        if len(types) == 2:
            return ()
        assert isinstance(self.count, int) and isinstance(self.width, int)
        return (Weight("weight", (axis(self.count), axis(self.width)), init(self.init)),)  # type: ignore[arg-type]

    def source(self, *types: Type) -> Source:
        if len(types) == 2:
            return Source("F.embedding({0}, {1})")
        return module("nn.Embedding", ("num_embeddings", self.count), ("embedding_dim", self.width))  # type: ignore[arg-type]
