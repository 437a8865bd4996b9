"""What acts only in training: dropout and stochastic depth."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.types import Type

__all__ = ["Auxiliary", "DropPath", "Dropout"]


def _check(rate: object, who: str) -> None:
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise TypeRuleError(f"{who}: expected a rate from 0 up to 1, got {rate!r}")


@operation
class Dropout(Operation):
    """Zero elements at random in training and scale the rest: any -> the same."""

    rate: Operand = 0.5

    def infer(self, *types: Type) -> Type:
        _check(self.rate, "Dropout")
        return types[0]

    def source(self, *types: Type) -> Source:
        if not self.rate:
            return Source("{0}")
        return module("nn.Dropout", ("p", self.rate))


@operation
class DropPath(Operation):
    """Zero whole samples of a branch at random in training and scale the rest: any -> the same.

    Huang et al. (2016). With ``scheduled`` the rate grows linearly over training: the trainer sets
    ``progress`` from 0 to 1, wherever it is not None (Zoph et al., 2018, section 3: ScheduledDropPath).
    """

    rate: Operand = 0.1
    scheduled: Operand = False
    support: ClassVar[str] = '''
class DropPath(nn.Module):
    """Drop whole samples of a branch in training; ``progress``, unless None, scales the rate."""

    def __init__(self, rate: float, scheduled: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.progress: float | Tensor | None = 0.0 if scheduled else None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        rate = self.rate if self.progress is None else self.rate * self.progress
        keep = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1.0 - rate)
        return x * keep / (1.0 - rate)
'''

    def infer(self, *types: Type) -> Type:
        _check(self.rate, "DropPath")
        return types[0]

    def source(self, *types: Type) -> Source:
        if not self.rate:
            return Source("{0}")
        return module("DropPath", ("rate", self.rate), scheduled=(bool(self.scheduled), False))


@operation
class Auxiliary(Operation):
    """Give the first value, and in training all: a network's logits and those of side classifiers.

    Szegedy et al. (2015). Must be the network's last operation.
    """

    arity: ClassVar[tuple[int, int]] = (2, 3)

    def infer(self, *types: Type) -> Type:
        first, *others = types
        for other in others:
            if first.shape != other.shape:
                raise TypeRuleError(f"Auxiliary: expected equal types, got {first!r} and {other!r}")
        return first

    def source(self, *types: Type) -> Source:
        every = ", ".join(f"{{{i}}}" for i in range(len(types)))
        return Source(f"({every}) if self.training else {{0}}")
