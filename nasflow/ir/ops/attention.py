"""Attention."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type

__all__ = ["Attention"]


MOST_PAIRS: Final = 2**16
"""Pairs of a query and a key up to which attention may be written out."""


@operation
class Attention(Operation):
    """Attend: softmax(q k^T * scale + bias) v. (..., L, D), (..., S, D), (..., S, E) -> (..., L, E).

    Of the leading axes the last is the heads; those before it (windows, frames) are attended
    within separately. A fourth input is a bias added before the softmax, broadcast over leading
    axes. ``scale`` defaults to 1/sqrt(D); ``causal`` hides later positions; ``dropout`` acts on
    the weights in training. Vaswani et al. (2017), equation 1. Lowered to PyTorch's fused kernels,
    but for short sequences with values of another width than the keys, see ``_written_out``.
    """

    scale: Operand = None
    causal: Operand = False
    dropout: Operand = 0.0
    arity: ClassVar[tuple[int, int]] = (3, 4)

    def infer(self, *types: Type) -> Type:
        q, k, v = types[:3]
        if min(len(t.shape) for t in (q, k, v)) < 2 or q.shape[-1] != k.shape[-1]:
            raise TypeRuleError(
                f"Attention: expected queries and keys of one width, got {q!r}, {k!r}"
            )
        if k.shape[-2] != v.shape[-2] or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
            raise TypeRuleError(
                f"Attention: expected a value for each key and equal leading axes, got {q!r}, {k!r}, "
                f"{v!r}"
            )
        if len(types) == 4:
            self._check_bias(types[3], (*q.shape[:-1], k.shape[-2]))
        return Type((*q.axes[:-1], v.axes[-1]), (*q.shape[:-1], v.shape[-1]))

    def _check_bias(self, bias: Type, shape: tuple[int, ...]) -> None:
        pairs = zip(reversed(bias.shape), reversed(shape), strict=False)
        short = bias.batched and len(bias.shape) < len(shape)
        if len(bias.shape) > len(shape) or short or any(b not in (1, s) for b, s in pairs):
            raise TypeRuleError(f"Attention: expected a bias for {shape}, got {bias!r}")

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        q, k, v = place.inputs[:3]
        place.agree("sums products of", (q[-1], k[-1]))
        for axis in range(len(q) - 2):
            place.agree("attends between", (q[axis], k[axis], v[axis]))
        return ((*q[:-1], v[-1]),)

    def macs(self, *types: Type) -> int:
        q, k, v = types[:3]
        return math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])

    def source(self, *types: Type) -> Source:
        q, k, v = types[:3]
        pairs = q.shape[-2] * k.shape[-2]
        if q.shape[-1] != v.shape[-1] and not self.causal and pairs <= MOST_PAIRS:
            return self._written_out(*types)
        constants: dict[str, object] = {}
        # The fused kernels take one leading axis beside the batch; further ones join the batch.
        outer = len(q.shape) - 3
        fold = f".flatten(0, {outer})" if outer > 0 else ""
        text = ", ".join(f"{{{i}}}{fold}" for i in range(3))
        if len(types) == 4:
            text += ", attn_mask={3}" + self._fitted(types[3], outer)
        if self.dropout:
            text += ", dropout_p={dropout} if self.training else 0.0"
            constants["dropout"] = self.dropout
        text += ", is_causal=True" if self.causal else ""
        if self.scale is not None:
            text += ", scale={scale}"
            constants["scale"] = self.scale
        text = f"F.scaled_dot_product_attention({text})"
        if outer > 0:
            sizes = {
                name.lower(): size for name, size in zip(q.axes, q.shape[:outer], strict=False)
            }
            text += f".unflatten(0, (-1, {', '.join(f'{{{name}}}' for name in sizes)}))"
            constants |= sizes
        return Source(text, constants)  # type: ignore[arg-type]

    def _written_out(self, *types: Type) -> Source:
        """Return the equation itself.

        On a CPU (PyTorch 2.13, one thread) values of another width leave the fused kernel for a slow
        path, of whose time this takes 0.5 to 0.8 in eval mode and 0.75 to 0.95 in training, over 16 to
        784 tokens and widths of 16 to 128. Padding the keys to the width of the values is as fast in
        eval mode and slower in training with a bias. Other devices have kernels for such widths,
        which long sequences need: written out, the scores of all pairs are kept.
        """
        constants: dict[str, object] = {"width": types[0].shape[-1]}
        scale = "/ {width} ** 0.5"
        if self.scale is not None:
            scale, constants = "* {scale}", {"scale": self.scale}
        text = f"({{0}} {scale}) @ {{1}}.transpose(-2, -1)"
        text += " + {3}" if len(types) == 4 else ""
        text = f"({text}).softmax(dim=-1)"
        if self.dropout:
            text = f"F.dropout({text}, {{dropout}}, self.training)"
            constants["dropout"] = self.dropout
        return Source(f"{text} @ {{2}}", constants)  # type: ignore[arg-type]

    def _fitted(self, bias: Type, outer: int) -> str:
        """Return what fits a bias to a batch that the ``outer`` leading axes have joined.

        With three axes it would leave the fused kernel of CPUs, hence an axis for the batch.
        """
        rank = len(bias.shape)
        if bias.batched:
            return f".flatten(0, {outer})" if outer > 0 else ""
        if rank <= 3 or set(bias.shape[:-3]) == {1}:
            return ".unsqueeze(0)" if rank == 3 else f".flatten(0, {rank - 4})" if rank > 4 else ""
        joined = f".flatten(0, {outer - 1})" if outer > 1 else ""
        return joined + ".repeat({0}.shape[0], 1, 1, 1)"

    def window(self, *types: Type) -> None:
        return None
