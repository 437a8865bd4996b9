"""Windows of a map as tokens."""

from __future__ import annotations

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.ops.convolution import slide
from nasflow.ir.span import places
from nasflow.ir.types import Type

__all__ = ["Unfold"]


@operation
class Unfold(Operation):
    """Make each window a token, windows may overlap: (C, H, W) -> (L, D = C * kernel * kernel).

    Yuan et al. (2021), section 3.1, call it a soft split.
    """

    kernel: Operand
    stride: Operand = 1
    padding: Operand = 0

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.axes != ("C", "H", "W") or any(type(value) is not int for value in self.attributes()):
            raise TypeRuleError(
                f"Unfold: expected (C H W) and integers, got {x!r}, {self.attributes()}"
            )
        kernel, stride, padding = (int(value) for value in self.attributes())  # type: ignore[arg-type]
        channels, *sides = x.shape
        rows, columns = (slide(side, kernel, stride, (padding, padding)) for side in sides)
        return Type(("L", "D"), (rows * columns, channels * kernel**2))

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        assert isinstance(self.kernel, int)
        (length, _) = place.outputs[0].shape
        window = place.merge("D", [place.inputs[0][0], places(self.kernel**2)])
        return ((places(length), window),)

    def source(self, *types: Type) -> Source:
        names = ("kernel", "stride", "padding")
        return Source(
            "F.unfold({0}, {kernel}, stride={stride}, padding={padding}).transpose(1, 2)",
            dict(zip(names, self.attributes(), strict=True)),  # type: ignore[arg-type]
        )

    def window(self, *types: Type) -> tuple[int, int]:
        assert isinstance(self.kernel, int) and isinstance(self.stride, int)
        return (self.kernel, self.stride)
