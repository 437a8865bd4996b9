"""Linear maps, matrix products, and weights that are values."""

from __future__ import annotations

import math
from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Call, Operation, Source, module, operation
from nasflow.ir.types import Type
from nasflow.ir.weight import Factor, Weight, axis, init

__all__ = ["Embedding", "Linear", "Lookup", "Matmul", "Parameter"]


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
        return (weight, Weight("bias", (rows,), init(self.bias_init or default)))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        rows, _ = place.take(place.declared[0])
        for bias in place.declared[1:]:
            place.take(bias, rows)
        return (place.result(**{types[0].axes[-1]: rows}),)

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

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        (a, b), transpose = place.inputs, bool(self.transpose)
        place.agree("sums products of", (a[-1], b[-1 if transpose else -2]))
        outer = a if len(a) > 2 or len(b) == 2 else b
        return ((*outer[:-2], a[-2], b[-2 if transpose else -1]),)

    def macs(self, *types: Type) -> int:
        return self.infer(*types).numel * types[0].shape[-1]

    def source(self, *types: Type) -> Source:
        a, b = types
        alike = a.batched == b.batched and a.shape[:-2] == b.shape[:-2]
        if alike or any(len(x.shape) == 2 and not x.batched for x in types):
            return Source("{0} @ {1}.transpose(-2, -1)" if self.transpose else "{0} @ {1}")
        # `@` would take a leading axis for the batch, and copies a table for each sample.
        first, second = _letters(a, "mk"), _letters(b, "nk" if self.transpose else "kn")
        result = _letters(self.infer(a, b), "mn")
        return Source(f'torch.einsum("{first}, {second} -> {result}", {{0}}, {{1}})')

    def window(self, *types: Type) -> None:
        return None


def _letters(x: Type, matrix: str) -> str:
    """Return the axes of a value for einsum: its batch, what leads, and those of a matrix."""
    return "b" * x.batched + "cdefghij"[: len(x.shape) - 2] + matrix


@operation
class Parameter(Operation):
    """Give a trainable tensor as a value without a batch: a position table, a class token, a scale.

    ``axes`` names the axes of ``shape``. ``shrink`` is how a child takes its part, one of
    :data:`nasflow.ir.weight.SHRINK_RULES` for all axes or a tuple of one for each. ``copy`` is
    (which, of how many) where a supernet keeps several such tensors and a child has one of them.
    """

    axes: Operand
    shape: Operand
    init: Operand = "zeros"
    shrink: Operand = "prefix"
    trainable: Operand = True
    copy: Operand = None
    arity: ClassVar[tuple[int, int]] = (0, 0)

    def infer(self, *types: Type) -> Type:
        if not isinstance(self.axes, tuple) or not isinstance(self.shape, tuple):
            raise TypeRuleError(
                f"Parameter: expected axes and sizes, got {self.axes!r}, {self.shape!r}"
            )
        if self.copy is not None:
            self._check_copy()
        return Type(self.axes, self.shape, batched=False)

    def _check_copy(self) -> None:
        found = self.copy if isinstance(self.copy, tuple) else ()
        if not (
            len(found) == 2 and all(type(n) is int for n in found) and 0 <= found[0] < found[1]
        ):
            raise TypeRuleError(
                f"Parameter: expected copy as (which, of how many), got {self.copy!r}"
            )

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        shape = self.infer().shape
        rules = self.shrink if isinstance(self.shrink, tuple) else (self.shrink,) * len(shape)
        axes = tuple(axis(n, shrink=str(rule)) for n, rule in zip(shape, rules, strict=True))
        law, trainable = init(self.init), bool(self.trainable)  # type: ignore[arg-type]
        return (Weight("", axes, law, trainable, copy=self.copy),)  # type: ignore[arg-type]

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.take(place.declared[0]),)

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

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        table = place.inputs[1] if len(types) == 2 else place.take(place.declared[0])
        return ((*place.inputs[0], table[1]),)

    def source(self, *types: Type) -> Source:
        if len(types) == 2:
            return Source("F.embedding({0}, {1})")
        return module("nn.Embedding", ("num_embeddings", self.count), ("embedding_dim", self.width))  # type: ignore[arg-type]


@operation
class Lookup(Operation):
    """Look ids up in each row of a table: ids (L, S), table (H, V), both without a batch -> (H, L, S).

    So attention gets a bias for each head and each pair of tokens.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, *types: Type) -> Type:
        ids, table = types
        if ids.dtype != "int" or ids.batched or len(ids.shape) != 2:
            raise TypeRuleError(f"Lookup: expected ids of two axes without a batch, got {ids!r}")
        if len(table.shape) != 2 or table.batched:
            raise TypeRuleError(f"Lookup: expected a table without a batch, got {table!r}")
        return Type((table.axes[0], *ids.axes), (table.shape[0], *ids.shape), batched=False)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        ids, table = place.inputs
        return ((table[0], *ids),)

    def source(self, *types: Type) -> Source:
        # On a CPU this takes half the time of table[:, ids], backward a third, and a tenth of what
        # F.embedding takes, whose result would have the heads last.
        sizes = dict(zip(("queries", "keys"), types[0].shape, strict=True))
        text = "{1}.index_select(1, {0}.flatten()).unflatten(1, ({queries}, {keys}))"
        return Source(text, sizes)
