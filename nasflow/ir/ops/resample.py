"""Changing the resolution of maps without weights."""

from __future__ import annotations

from typing import Final

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.flow import Place, Spans
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type

__all__ = ["Resize", "Upsample"]

MODES: Final = ("nearest", "bilinear")


@operation
class Upsample(Operation):
    """Enlarge a map ``factor`` times: (C, H, W) -> (C, factor H, factor W).

    ``mode`` is ``"nearest"`` or ``"bilinear"``, where ``align_corners`` puts the corner pixels of
    both maps in one place.
    """

    factor: Operand = 2
    mode: Operand = "nearest"
    align_corners: Operand = False

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if self.mode not in MODES:
            raise TypeRuleError(f"Upsample: expected one of {', '.join(MODES)}, got {self.mode!r}")
        if type(self.factor) is not int or self.factor < 1:
            raise TypeRuleError(f"Upsample: expected a factor from 1, got {self.factor!r}")
        if x.axes != ("C", "H", "W") or x.dtype != "float":
            raise TypeRuleError(f"Upsample: expected (C H W), got {x!r}")
        return x.resize(H=x.shape[1] * self.factor, W=x.shape[2] * self.factor)

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.result(**place.sizes()),)

    def source(self, *types: Type) -> Source:
        form = "F.interpolate({0}, scale_factor={factor}, mode={mode}"
        if self.align_corners:
            form += ", align_corners=True"
        return Source(form + ")", {"factor": self.factor, "mode": self.mode})  # type: ignore[dict-item]

    def window(self, *types: Type) -> tuple[int, int]:
        # A pixel sees one of the smaller map, or its neighbours too; strides stay whole numbers.
        return (1 if self.mode == "nearest" else 2, 1)


@operation
class Resize(Operation):
    """Read a map at ``height`` x ``width`` places, bilinearly: (C, H, W) -> (C, height, width).

    With ``align_corners`` the corner pixels of both maps lie in one place.
    """

    height: Operand
    width: Operand
    align_corners: Operand = False

    def infer(self, *types: Type) -> Type:
        (x,) = types
        for side in (self.height, self.width):
            if type(side) is not int or side < 1:
                raise TypeRuleError(f"Resize: expected sides from 1, got {side!r}")
        if x.axes != ("C", "H", "W") or x.dtype != "float":
            raise TypeRuleError(f"Resize: expected (C H W), got {x!r}")
        return x.resize(H=self.height, W=self.width)  # type: ignore[arg-type]

    def flow(self, place: Place, *types: Type) -> tuple[Spans, ...]:
        return (place.result(**place.sizes()),)

    def source(self, *types: Type) -> Source:
        form = 'F.interpolate({0}, size=({height}, {width}), mode="bilinear"'
        if self.align_corners:
            form += ", align_corners=True"
        return Source(form + ")", {"height": self.height, "width": self.width})  # type: ignore[dict-item]

    def window(self, *types: Type) -> None:
        return None
