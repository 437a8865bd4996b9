"""The typed graph IR: types, operations, decisions, spaces and graphs. Imports no torch."""

from __future__ import annotations

from nasflow.errors import SpaceError
from nasflow.ir.control import pick, repeat, switch, when
from nasflow.ir.expression import (
    Decision,
    Expression,
    Operand,
    Scalar,
    ceil,
    floor,
    maximum,
    member,
    minimum,
    nearest_integer,
    round_to,
    round_to_8,
    table,
    where,
)
from nasflow.ir.graph import Graph, Node
from nasflow.ir.model import Model
from nasflow.ir.operation import Applied, Call, Operation, Source, operation
from nasflow.ir.ops.activation import *  # noqa: F403
from nasflow.ir.ops.attention import *  # noqa: F403
from nasflow.ir.ops.cluster import *  # noqa: F403
from nasflow.ir.ops.combine import *  # noqa: F403
from nasflow.ir.ops.convolution import *  # noqa: F403
from nasflow.ir.ops.deformable import *  # noqa: F403
from nasflow.ir.ops.linear import *  # noqa: F403
from nasflow.ir.ops.neighbours import *  # noqa: F403
from nasflow.ir.ops.norm import *  # noqa: F403
from nasflow.ir.ops.performer import *  # noqa: F403
from nasflow.ir.ops.pool import *  # noqa: F403
from nasflow.ir.ops.positions import *  # noqa: F403
from nasflow.ir.ops.query import *  # noqa: F403
from nasflow.ir.ops.region import *  # noqa: F403
from nasflow.ir.ops.regularise import *  # noqa: F403
from nasflow.ir.ops.resample import *  # noqa: F403
from nasflow.ir.ops.shake import *  # noqa: F403
from nasflow.ir.ops.shape import *  # noqa: F403
from nasflow.ir.ops.tokens import *  # noqa: F403
from nasflow.ir.ops.unfold import *  # noqa: F403
from nasflow.ir.scaling import Factors, factors
from nasflow.ir.space import Point, Space
from nasflow.ir.trace import (
    Gated,
    Value,
    block,
    boxes,
    choice,
    ids,
    image,
    integer,
    scope,
    shared,
    video,
)
from nasflow.ir.types import Type
from nasflow.ir.weight import Factor, Init, Weight

__all__ = [
    "Applied",
    "Call",
    "Decision",
    "Expression",
    "Factor",
    "Factors",
    "Gated",
    "Graph",
    "Init",
    "Model",
    "Node",
    "Operand",
    "Operation",
    "Point",
    "Scalar",
    "Source",
    "Space",
    "SpaceError",
    "Type",
    "Value",
    "Weight",
    "block",
    "boxes",
    "ceil",
    "choice",
    "factors",
    "floor",
    "ids",
    "image",
    "integer",
    "maximum",
    "member",
    "minimum",
    "nearest_integer",
    "operation",
    "pick",
    "repeat",
    "round_to",
    "round_to_8",
    "scope",
    "shared",
    "switch",
    "table",
    "video",
    "when",
    "where",
]
