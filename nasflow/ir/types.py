"""The type of a value: named axes with sizes, and what its elements are. The batch is implicit."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from nasflow.errors import TypeRuleError

DTYPES: Final = ("float", "int", "bool")
MAX_SIZE: Final = 1 << 40
"""Largest axis and largest number of elements; beyond it a size is taken for a mistake."""


class Type:
    """Describe a value: axis names, sizes, dtype, and whether it carries the batch.

    Types are interned: two equal types are one object, so that comparing and hashing them is free.
    ``batched`` is False for values that do not depend on the input, such as a weight that is used
    as a value (a position table, a class token).

    >>> Type(("C", "H", "W"), (3, 32, 32))
    C=3 H=32 W=32
    """

    __slots__ = ("axes", "batched", "dtype", "numel", "shape")
    _interned: ClassVar[dict[tuple[object, ...], Type]] = {}

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    batched: bool
    numel: int  # elements of one sample

    def __new__(
        cls,
        axes: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: str = "float",
        batched: bool = True,
    ) -> Type:
        key = (axes, shape, dtype, batched)
        found = cls._interned.get(key)
        # Sizes 2, 2.0 and True hash alike, so a hit proves nothing until the kinds are known.
        if found is not None and all(type(size) is int for size in shape):
            return found
        _check(axes, shape, dtype)
        self = super().__new__(cls)
        for name, value in zip(("axes", "shape", "dtype", "batched"), key, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "numel", math.prod(shape))
        return cls._interned.setdefault(key, self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Type is immutable; cannot set {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return (Type, (self.axes, self.shape, self.dtype, self.batched))

    def __repr__(self) -> str:
        text = " ".join(f"{axis}={size}" for axis, size in zip(self.axes, self.shape, strict=True))
        text += "" if self.dtype == "float" else f" {self.dtype}"
        return (text or "scalar") + ("" if self.batched else " (no batch)")

    def size(self, axis: str) -> int:
        """Return the size of ``axis``; raises TypeRuleError when the type has no such axis."""
        try:
            return self.shape[self.axes.index(axis)]
        except ValueError:
            raise TypeRuleError(f"expected a value with axis {axis}, got {self!r}") from None

    def resize(self, **sizes: int) -> Type:
        """Return this type with some axes given new sizes."""
        for axis in sizes:
            self.size(axis)
        pairs = zip(self.axes, self.shape, strict=True)
        shape = tuple(sizes.get(axis, size) for axis, size in pairs)
        return Type(self.axes, shape, self.dtype, self.batched)


def _check(axes: tuple[str, ...], shape: tuple[int, ...], dtype: str) -> None:
    if len(axes) != len(shape) or len(set(axes)) != len(axes):
        raise TypeRuleError(f"expected one size for each distinct axis of {axes}, got {shape}")
    if dtype not in DTYPES:
        raise TypeRuleError(f"expected a dtype among {DTYPES}, got {dtype!r}")
    for axis, size in zip(axes, shape, strict=True):
        if type(size) is not int or not 1 <= size <= MAX_SIZE:
            raise TypeRuleError(
                f"expected axis {axis} to be an integer from 1 to {MAX_SIZE}, got {size!r}"
            )
    if math.prod(shape) > MAX_SIZE:
        raise TypeRuleError(f"expected at most {MAX_SIZE} elements, got {axes} = {shape}")


def tokens(length: int, width: int) -> Type:
    """Return the type of a sequence of tokens, (L, D)."""
    return Type(("L", "D"), (length, width))
