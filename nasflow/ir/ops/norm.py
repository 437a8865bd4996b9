"""Normalisation and learned scales."""

from __future__ import annotations

from typing import ClassVar

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Operand
from nasflow.ir.operation import Operation, Source, module, operation
from nasflow.ir.types import Type
from nasflow.ir.weight import ONES, ZEROS, Weight, axis, init

__all__ = ["Affine", "BatchNorm", "GroupNorm", "LayerNorm", "LocalResponseNorm"]


def _spatial(x: Type, who: str) -> None:
    if x.dtype != "float" or x.axes[:1] != ("C",):
        raise TypeRuleError(f"{who}: expected a value with channels first, got {x!r}")


@operation
class Affine(Operation):
    """Scale and shift each entry of the last axis, without statistics: (..., D) -> the same.

    Touvron et al. (2021), ResMLP, equation 1.
    """

    support: ClassVar[str] = '''
class Affine(nn.Module):
    """Scale and shift each entry of the last axis."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(size))
        self.beta = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, self.alpha, x)
'''

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.dtype != "float" or not x.axes:
            raise TypeRuleError(f"Affine: expected floats with an axis, got {x!r}")
        return x

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        (x,) = types
        shape = (axis(x.shape[-1], source=f"0:{x.axes[-1]}"),)
        return (Weight("alpha", shape, ONES), Weight("beta", shape, ZEROS))

    def source(self, *types: Type) -> Source:
        return module("Affine", ("size", types[0].shape[-1]))


@operation
class BatchNorm(Operation):
    """Normalise each channel over the batch: (C, ...), (D,) or tokens (..., D) -> the same.

    Ioffe & Szegedy (2015); of tokens each feature, over the batch and all tokens.
    ``init`` starts the scale; ``("constant", 0.0)`` or ``"zeros"`` makes a residual branch start as
    nothing. ``momentum`` is PyTorch's: the share of the new statistics.
    """

    eps: Operand = 1e-5
    momentum: Operand = 0.1
    affine: Operand = True
    init: Operand = "ones"
    support: ClassVar[str] = '''
class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of each feature over all tokens, (N, ..., D)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).view_as(x)
'''

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.dtype != "float" or (x.axes[:1] != ("C",) and x.axes[-1:] != ("D",)):
            raise TypeRuleError(f"BatchNorm: expected channels first or tokens, got {x!r}")
        return x

    @staticmethod
    def channels(x: Type) -> str:
        """Return the axis of which each entry is normalised."""
        return "C" if x.axes[0] == "C" else "D"

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        (x,) = types
        name = self.channels(x)
        channels = (axis(x.size(name), source=f"0:{name}"),)
        running = (
            Weight("running_mean", channels, ZEROS, trainable=False),
            Weight("running_var", channels, ONES, trainable=False),
            Weight("num_batches_tracked", (), ZEROS, trainable=False),
        )
        if not self.affine:
            return running
        scale = Weight("weight", channels, init(self.init))  # type: ignore[arg-type]
        return (scale, Weight("bias", channels, ZEROS), *running)

    def source(self, *types: Type) -> Source:
        (x,) = types
        name, rank = self.channels(x), len(x.shape)
        tokens = name == "D" and rank > 1
        return module(
            "TokenBatchNorm" if tokens else f"nn.BatchNorm{max(rank - 1, 1)}d",
            ("num_features", x.size(name)),
            eps=(self.eps, 1e-5),  # type: ignore[arg-type]
            momentum=(self.momentum, 0.1),  # type: ignore[arg-type]
            affine=(bool(self.affine), True),
        )


@operation
class GroupNorm(Operation):
    """Normalise groups of channels within a sample: (C, ...) -> the same. Wu & He (2018)."""

    groups: Operand = 1
    eps: Operand = 1e-5

    def infer(self, *types: Type) -> Type:
        (x,) = types
        _spatial(x, "GroupNorm")
        if type(self.groups) is not int or self.groups < 1 or x.shape[0] % self.groups:
            raise TypeRuleError(f"GroupNorm groups={self.groups!r} does not divide C={x.shape[0]}")
        return x

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        channels = (axis(types[0].shape[0], source="0:C"),)
        return (Weight("weight", channels, ONES), Weight("bias", channels, ZEROS))

    def source(self, *types: Type) -> Source:
        return module(
            "nn.GroupNorm",
            ("num_groups", self.groups),  # type: ignore[arg-type]
            ("num_channels", types[0].shape[0]),
            eps=(self.eps, 1e-5),  # type: ignore[arg-type]
        )


@operation
class LayerNorm(Operation):
    """Normalise the last axis, or with ``axis="C"`` the channels of a map: any -> the same.

    Ba et al. (2016). The channel form keeps the map's layout, as ConvNeXt has it.
    """

    eps: Operand = 1e-5
    channels_first: Operand = False
    support: ClassVar[str] = '''
class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map, (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return super().forward(x).permute(0, 3, 1, 2)
'''

    def _size(self, x: Type) -> tuple[int, str]:
        return (x.shape[0], x.axes[0]) if self.channels_first else (x.shape[-1], x.axes[-1])

    def infer(self, *types: Type) -> Type:
        (x,) = types
        if x.dtype != "float" or not x.axes:
            raise TypeRuleError(f"LayerNorm: expected floats with an axis, got {x!r}")
        if self.channels_first and x.axes != ("C", "H", "W"):
            raise TypeRuleError(f"LayerNorm: expected (C H W) with channels_first, got {x!r}")
        return x

    def weights(self, *types: Type) -> tuple[Weight, ...]:
        size, name = self._size(types[0])
        shape = (axis(size, source=f"0:{name}"),)
        return (Weight("weight", shape, ONES), Weight("bias", shape, ZEROS))

    def source(self, *types: Type) -> Source:
        callee = "LayerNorm2d" if self.channels_first else "nn.LayerNorm"
        size, _ = self._size(types[0])
        return module(callee, ("normalized_shape", size), eps=(self.eps, 1e-5))  # type: ignore[arg-type]


@operation
class LocalResponseNorm(Operation):
    """Divide by a power of the mean square over ``size`` neighbouring channels: (C, ...) -> the same.

    Krizhevsky et al. (2012), section 3.3, with PyTorch's convention that ``alpha`` is divided by ``size``.
    """

    size: Operand = 5
    alpha: Operand = 1e-4
    beta: Operand = 0.75
    k: Operand = 1.0

    def infer(self, *types: Type) -> Type:
        (x,) = types
        _spatial(x, "LocalResponseNorm")
        if type(self.size) is not int or self.size < 1:
            raise TypeRuleError(f"LocalResponseNorm: expected a size from 1, got {self.size!r}")
        return x

    def source(self, *types: Type) -> Source:
        form = "F.local_response_norm({0}, {size}, alpha={alpha}, beta={beta}, k={k})"
        names = ("size", "alpha", "beta", "k")
        return Source(form, dict(zip(names, self.attributes(), strict=True)))  # type: ignore[arg-type]
