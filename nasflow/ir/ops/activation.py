"""Element-wise non-linearities and softmax."""

from __future__ import annotations

from typing import Final

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type

__all__ = ["Activation", "Softmax"]

FORMS: Final = {
    "relu": "F.relu({0})",
    "relu6": "F.relu6({0})",
    "gelu": "F.gelu({0})",
    "gelu_tanh": 'F.gelu({0}, approximate="tanh")',
    "silu": "F.silu({0})",
    "hard_swish": "F.hardswish({0})",
    "hard_sigmoid": "F.hardsigmoid({0})",
    "sigmoid": "torch.sigmoid({0})",
    "tanh": "torch.tanh({0})",
    "elu": "F.elu({0})",
    "leaky_relu": "F.leaky_relu({0})",
    "squared_relu": "F.relu({0}).square()",
    "softplus": "F.softplus({0})",
}
"""Each non-linearity and how PyTorch writes it."""


@operation
class Activation(Operation):
    """Apply a non-linearity of FORMS to every element: any -> the same."""

    form: Operand = "relu"

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if self.form not in FORMS:
            raise TypeRuleError(
                f"Activation: expected one of {', '.join(FORMS)}, got {self.form!r}"
            )
        if x.dtype != "float":
            raise TypeRuleError(f"Activation: expected floats, got {x!r}")
        return x

    def source(self, *types: Type) -> Source:
        return Source(FORMS[str(self.form)])


@operation
class Softmax(Operation):
    """Normalise the exponentials along an axis: any -> the same. ``axis`` is a name, e.g. ``"D"``."""

    axis: Operand = "D"

    def infer(self, *types: Type) -> Type:
        (x,) = types
        x.size(str(self.axis))
        return x

    def source(self, *types: Type) -> Source:
        (x,) = types
        return Source("{0}.softmax(dim={dim})", {"dim": x.axes.index(str(self.axis)) - len(x.axes)})

    def window(self, *types: Type) -> None:
        return None
