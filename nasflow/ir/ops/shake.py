"""Random mixtures of branches."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.ops.combine import aligned
from nasflow.ir.types import Type

__all__ = ["Shake"]


@operation
class Shake(Operation):
    """Mix two branches in random shares for each sample in training, half and half otherwise.

    Gastaldi (2017), "Shake-Shake regularization" (arXiv 1705.07485), section 1.2: gradients are
    mixed in shares of their own.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)
    commutative: ClassVar[bool] = True
    support: ClassVar[str] = '''
class Shake(nn.Module):
    """Mix two branches in random shares in training, with other shares for the gradients."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if not self.training:
            return 0.5 * (a + b)
        shape = (a.shape[0], *[1] * (a.ndim - 1))
        forward, backward = a.new_empty(2, *shape).uniform_()
        seen = forward * a + (1 - forward) * b
        learned = backward * a + (1 - backward) * b
        return learned + (seen - learned).detach()
'''

    def infer(self, *types: Type) -> Type:
        first, second = types
        if first is not second or first.dtype != "float":
            raise TypeRuleError(f"Shake: expected equal types, got {first!r} and {second!r}")
        return first

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return aligned("Shake mixes", place)

    def source(self, *types: Type) -> Source:
        return module("Shake")
