"""What an operation declares of its weights: shape, how it starts, and how each axis shrinks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from nasflow.errors import TypeRuleError
from nasflow.ir.expression import Scalar

SHRINK_RULES: Final = ("prefix", "centre", "transform", "interpolate", "copy")
"""How a child takes its part of an axis: the first entries; the middle; the middle, mapped by a learned
matrix at each size on the way (all axes so declared at once); resampled; its own copy."""

LAWS: Final = (
    "zeros",
    "ones",
    "constant",
    "normal",
    "trunc_normal",
    "uniform",
    "kaiming_normal_fan_in",
    "kaiming_normal_fan_out",
    "kaiming_uniform_fan_in",
    "torch",
    "xavier_uniform",
    "xavier_normal",
    "fan_in_uniform",
    "fan_out_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "identity",
    "values",
)
"""Initialisation laws. constant, normal, trunc_normal, uniform and orthogonal take one number: the value,
the standard deviation, the bound, the gain. kaiming_* have gain sqrt(2), lecun_* variance 1/fan in (Caffe
calls the uniform one xavier); ``torch`` is PyTorch's own default for convolution and linear; fan_*_uniform
have bound 1/sqrt(fan). identity copies channels (Yu & Koltun, 2016, equation 5): their number, of which all
others are multiples, and the standard deviation of the noise elsewhere. ``values`` lists every entry."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a weight's axis, such as the 3, the heads and the head width of a fused qkv.

    ``source`` names the input whose axis this factor follows, as ``"0:C"`` for the C axis of the
    first input; empty for a size of the operation's own.
    """

    size: int
    shrink: str = "prefix"
    source: str = ""


@dataclass(frozen=True, slots=True)
class Init:
    """How a weight starts: a law and its number(s); see LAWS."""

    law: str
    values: tuple[float, ...] = ()


def init(attribute: Scalar) -> Init:
    """Return the law that an operation's attribute names: ``"zeros"``, ``("normal", 0.02)``, ...

    Raises:
        TypeRuleError: there is no such law.
    """
    law, *values = attribute if isinstance(attribute, tuple) else (attribute,)
    if law not in LAWS:
        raise TypeRuleError(f"expected an initialisation law among {LAWS}, got {law!r}")
    return Init(law, tuple(values))


ZEROS: Final = Init("zeros")
ONES: Final = Init("ones")


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor that an operation owns.

    Attributes:
        name: its name in the module's state dict, relative to the operation; empty where the
            operation is itself a bare tensor.
        axes: for each axis of the tensor its factors, outermost first.
        init: how it starts.
        trainable: False for buffers and constants; only trainable weights count as parameters.
        persistent: False for buffers that a state dict leaves out.
        copy: (which, of how many) where a supernet keeps several copies and a child has one of them.
    """

    name: str
    axes: tuple[tuple[Factor, ...], ...]
    init: Init = field(default=ZEROS)
    trainable: bool = True
    persistent: bool = True
    copy: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(math.prod(factor.size for factor in axis) for axis in self.axes)

    @property
    def numel(self) -> int:
        """Number of elements of the tensor."""
        return math.prod(self.shape)


def axis(size: int, source: str = "", shrink: str = "prefix") -> tuple[Factor, ...]:
    """Return an axis of a single factor."""
    return (Factor(size, shrink, source),)
