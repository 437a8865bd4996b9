"""Every operation, one class each, in files by kind."""

from __future__ import annotations

from nasflow.ir.ops.activation import *  # noqa: F403
from nasflow.ir.ops.activation import __all__ as _activation
from nasflow.ir.ops.attention import *  # noqa: F403
from nasflow.ir.ops.attention import __all__ as _attention
from nasflow.ir.ops.combine import *  # noqa: F403
from nasflow.ir.ops.combine import __all__ as _combine
from nasflow.ir.ops.convolution import *  # noqa: F403
from nasflow.ir.ops.convolution import __all__ as _convolution
from nasflow.ir.ops.linear import *  # noqa: F403
from nasflow.ir.ops.linear import __all__ as _linear
from nasflow.ir.ops.neighbours import *  # noqa: F403
from nasflow.ir.ops.neighbours import __all__ as _neighbours
from nasflow.ir.ops.norm import *  # noqa: F403
from nasflow.ir.ops.norm import __all__ as _norm
from nasflow.ir.ops.pool import *  # noqa: F403
from nasflow.ir.ops.pool import __all__ as _pool
from nasflow.ir.ops.regularise import *  # noqa: F403
from nasflow.ir.ops.regularise import __all__ as _regularise
from nasflow.ir.ops.shape import *  # noqa: F403
from nasflow.ir.ops.shape import __all__ as _shape

__all__: list[str] = []
for _names in (
    _activation, _attention, _combine, _convolution, _linear, _neighbours, _norm, _pool, _regularise, _shape,
):  # fmt: skip
    __all__ += _names
