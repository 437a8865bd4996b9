"""What is known of single operations when networks are compared: labels, identities, permutations.

An operation that is not listed here is compared by what it runs, and nothing else is assumed of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Any, Final, NamedTuple

from nasflow.ir.operation import Applied, Source
from nasflow.ir.types import Type

DIGEST: Final = 16
"""Bytes of every digest: equal ones would collide by chance once in 2^64 networks."""


def digest(data: bytes) -> bytes:
    """Return the digest of some bytes."""
    return blake2b(data).digest()[:DIGEST]  # asked for so few, it takes nearly twice as long


class Kind:
    """How an operation treats its inputs. Plain numbers: garbage collection passes over entries then."""

    PLAIN: Final = 0  # their order matters
    SORTED: Final = 1  # their order does not
    SUM: Final = 2  # nor does their grouping
    PRODUCT: Final = 3
    ALIAS: Final = 4  # the result is the input
    ZERO: Final = 5  # the result is zero whatever the inputs are


class Rule(NamedTuple):
    """An operation at its input types, as far as comparing networks goes.

    Attributes:
        kind: a Kind, or for a concatenation its axis.
        label: digest of what it computes.
        own: whether each use is a thing of its own: it has weights, state or randomness.
        keeps_zero: whether zero inputs give zero results.
        labels: those of the entries that it becomes in a form.
    """

    kind: int | str
    label: bytes
    own: bool
    keeps_zero: bool
    labels: tuple[bytes, ...]


Link = tuple[bytes, int | str, bool]
"""Label, kind and ``own`` of an entry that takes the one before it; the first takes a node's inputs."""
Piece = tuple[Sequence[Any], Any, Sequence[Link] | None]
"""What a node's content is as a piece of a form: the labels of its entries; its outline, which stands
for all that the form's shape depends on (None where the shape is not to be remembered); and these
entries as links of a chain, None where they are none."""


def rule(content: Applied) -> Rule:
    """Return the rule of an operation, made once."""
    found: Rule | None = content.rule
    if found is None:
        kind, key, own, keeps_zero = _rule(content)
        labels = () if kind == Kind.ALIAS else (key, *items(len(content.outputs)))
        found = content.rule = Rule(kind, key, own, keeps_zero, labels)
    return found


def piece(content: Applied) -> Piece:
    """Return an operation as a piece of a form, made once; it has no outline where it gives zeros."""
    kind, _, own, _, labels = rule(content)
    linked = type(kind) is int and kind != Kind.ZERO and len(content.outputs) == 1
    chain = tuple([(label, kind, own) for label in labels]) if linked else None
    outline = None if kind == Kind.ZERO else _outline(content, kind, own)
    found: Piece = labels, outline, chain
    content.piece = found
    return found


def _outline(content: Applied, kind: int | str, own: bool) -> int:
    axes = content.inputs[0].axes if content.inputs else ()
    moves = tuple([(axis, permuted(content, axis)) for axis in axes])
    return _outlines.setdefault((kind, own, len(content.outputs), moves), next(_numbers))


_outlines: Final[dict[tuple[Any, ...], int]] = {}
_numbers: Final = count()


@lru_cache(1000)
def items(number: int) -> tuple[bytes, ...]:
    """Return the labels of several results of one operation; none where there is a single one."""
    return tuple([label("item", i) for i in range(number)]) if number > 1 else ()


def _rule(content: Applied) -> tuple[int | str, bytes, bool, bool]:
    op = content.op
    name = type(op).__name__
    if _is_identity(content):
        return Kind.ALIAS, b"", False, True
    if name == "Scale" and op.attributes() == (0,):
        return Kind.ZERO, b"", False, True
    if name == "Concat":
        axis = str(op.attributes()[0])
        return axis, label("concat", axis, content.outputs), False, True
    if op.commutative:
        # The types of the inputs are part of the inputs; their order must not tell.
        kind = {"Add": Kind.SUM, "Multiply": Kind.PRODUCT}.get(name, Kind.SORTED)
        key = label(name, type(op).__module__, op.attributes(), content.outputs)
        return kind, key, _has_state(content, op.source(*content.inputs)), False
    source = op.source(*content.inputs)
    key = label(
        name,
        source.forward,
        sorted(source.constants.items()),
        source.build,
        [(w.name, w.shape, w.init, w.trainable) for w in content.weights],
        content.inputs,
        content.outputs,
    )
    return Kind.PLAIN, key, _has_state(content, source), _keeps_zero(content)


def label(*parts: object) -> bytes:
    """Return the digest of plain values (types, scalars, tuples) that tell operations apart."""
    return digest(repr(parts).encode())


def _has_state(content: Applied, source: Source) -> bool:
    text = source.forward
    return bool(content.weights) or source.build is not None or "training" in text or "rand" in text


# -- operations that do nothing -------------------------------------------------------------------


def _ones(op: Any) -> bool:
    return all(set(_flat(value)) == {1} for value in (op.kernel, op.stride))


def _flat(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


# Asked only where the one result has the type of the one input.
_IDENTITIES: Final[dict[str, Callable[[Any], bool]]] = {
    "Add": lambda op: True,
    "AvgPool": _ones,
    "Concat": lambda op: True,
    "DropPath": lambda op: op.rate == 0,
    "Dropout": lambda op: op.rate == 0,
    "Flatten": lambda op: True,
    "MaxPool": _ones,
    "Mean": lambda op: True,  # over axes of one entry
    "Multiply": lambda op: True,
    "Pad": lambda op: not any(op.amounts),
    "Roll": lambda op: not any(op.shifts),
    "Scale": lambda op: op.factor == 1,
    "Slice": lambda op: True,
    "Split": lambda op: True,  # into one part
    "Subsample": lambda op: op.stride == 1 and not op.offset,
}


def _is_identity(content: Applied) -> bool:
    if len(content.inputs) != 1 or content.outputs != content.inputs:
        return False
    known = _IDENTITIES.get(type(content.op).__name__)
    if known is not None:
        return known(content.op)
    return not content.weights and content.op.source(*content.inputs) == Source("{0}")


_KEEP_ZERO: Final = frozenset({
    "AvgPool", "DropPath", "Dropout", "Flatten", "MaxPool", "Mean", "Rearrange", "Roll", "Scale",
    "Slice", "Split", "Subsample",
})  # fmt: skip
_KEEP_ZERO_FORMS: Final = frozenset({
    "elu", "gelu", "gelu_tanh", "hard_swish", "leaky_relu", "relu", "relu6", "silu",
    "squared_relu", "tanh",
})  # fmt: skip


def _keeps_zero(content: Applied) -> bool:
    name = type(content.op).__name__
    if name == "Activation":
        return content.op.attributes()[0] in _KEEP_ZERO_FORMS
    return name in _KEEP_ZERO


# -- permutations of an axis ----------------------------------------------------------------------

Onward = tuple[tuple[int, str], ...]
"""Where a permuted axis goes: (output, axis) pairs; none where the operation absorbs it."""


def permuted(content: Applied, axis: str) -> Onward | None:
    """Return what becomes of a permutation of the entries along ``axis`` of an input.

    ``()``: the operation gives the same once its own weights are permuted alike (or has none to
    permute). Pairs: its results are permuted, after permuting its own weights. None: anything else.
    """
    handler = _PERMUTED.get(type(content.op).__name__)
    if handler is None or axis not in content.inputs[0].axes:
        return None
    return handler(content.op, content.inputs[0], axis)


def _onward(op: Any, x: Type, axis: str) -> Onward:
    return ((0, axis),)


def _convolution(op: Any, x: Type, axis: str) -> Onward | None:
    if axis != "C":
        return None
    if op.groups == 1:
        return ()
    return ((0, axis),) if op.groups == x.shape[0] else None


def _group_norm(op: Any, x: Type, axis: str) -> Onward | None:
    return ((0, axis),) if axis == "C" and op.groups in (1, x.shape[0]) else None


def _channels_only(op: Any, x: Type, axis: str) -> Onward | None:
    return ((0, axis),) if axis == x.axes[0] == "C" else None


def _batch_norm(op: Any, x: Type, axis: str) -> Onward | None:
    return ((0, axis),) if axis == op.channels(x) else None


def _pad(op: Any, x: Type, axis: str) -> Onward | None:
    padded = x.axes[len(x.axes) - len(op.amounts) // 2 :]
    return None if axis in padded else ((0, axis),)


def _split(op: Any, x: Type, axis: str) -> Onward | None:
    return None if axis == op.axis else tuple((i, axis) for i in range(op.results()))


_PERMUTED: Final[dict[str, Callable[[Any, Type, str], Onward | None]]] = {
    "Activation": _onward,
    "AvgPool": _channels_only,
    "BatchNorm": _batch_norm,
    "Concat": lambda op, x, axis: ((0, axis),) if axis == op.axis else None,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "Conv3d": _convolution,
    "DropPath": _onward,
    "Dropout": _onward,
    "Flatten": lambda op, x, axis: ((0, "D"),),
    "GroupNorm": _group_norm,
    "LayerNorm": _onward,
    "Linear": lambda op, x, axis: () if axis == x.axes[-1] else ((0, axis),),
    "MaxPool": _channels_only,
    "Mean": lambda op, x, axis: () if axis in op.axes else ((0, axis),),
    "Pad": _pad,
    "Roll": lambda op, x, axis: None if axis in op.axes else ((0, axis),),
    "Scale": _onward,
    "Slice": lambda op, x, axis: None if axis == op.axis else ((0, axis),),
    "Softmax": _onward,
    "Split": _split,
    "Subsample": _channels_only,
}
