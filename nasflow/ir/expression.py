"""A closed language of expressions over decisions and input dimensions.

An expression may stand in any attribute of an operation. It holds no Python function, so it can be
stored, compared, counted over and compiled; its only leaves are constants, decisions and dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from nasflow.errors import SpaceError

Scalar = bool | int | float | str | None | tuple[Any, ...]


def make_divisible(value: float, divisor: int = 8, floor: float = 0.9) -> int:
    """Round to the nearest multiple of ``divisor``, never below ``floor`` times the value.

    The rounding of channels in MobileNetV2 and EfficientNet (Tan & Le, 2019, released code).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < floor * value else rounded


def _table(key: Scalar, *pairs: Scalar) -> Scalar:
    for option, result in zip(pairs[::2], pairs[1::2], strict=True):
        if option == key and isinstance(option, bool) == isinstance(key, bool):
            return result
    raise SpaceError(f"table: expected a key among {pairs[::2]}, got {key!r}")


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "div": lambda a, b: a / b,
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: a**b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda *a: all(a),
    "or": lambda *a: any(a),
    "not": lambda a: not a,
    "min": min,
    "max": max,
    "where": lambda c, a, b: a if c else b,
    "member": lambda a, *options: a in options,
    "tuple": lambda *a: a,
    "item": lambda a, i: a[i],
    "table": _table,
    "make_divisible": make_divisible,
    "ceil": lambda a: math.ceil(a),
    "floor": lambda a: math.floor(a),
    "round": lambda a: int(a + 0.5),
}
"""Everything an expression can compute."""


class Expression:
    """A value that is known once the decisions are closed. Operators build larger expressions."""

    __slots__ = ()

    def __add__(self, other: Operand) -> Apply:
        return Apply("add", self, other)

    def __radd__(self, other: Operand) -> Apply:
        return Apply("add", other, self)

    def __sub__(self, other: Operand) -> Apply:
        return Apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Apply:
        return Apply("sub", other, self)

    def __mul__(self, other: Operand) -> Apply:
        return Apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Apply:
        return Apply("mul", other, self)

    def __floordiv__(self, other: Operand) -> Apply:
        return Apply("floordiv", self, other)

    def __rfloordiv__(self, other: Operand) -> Apply:
        return Apply("floordiv", other, self)

    def __truediv__(self, other: Operand) -> Apply:
        return Apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Apply:
        return Apply("div", other, self)

    def __mod__(self, other: Operand) -> Apply:
        return Apply("mod", self, other)

    def __pow__(self, other: Operand) -> Apply:
        return Apply("pow", self, other)

    def __rpow__(self, other: Operand) -> Apply:
        return Apply("pow", other, self)

    def __lt__(self, other: Operand) -> Apply:
        return Apply("lt", self, other)

    def __le__(self, other: Operand) -> Apply:
        return Apply("le", self, other)

    def __gt__(self, other: Operand) -> Apply:
        return Apply("gt", self, other)

    def __ge__(self, other: Operand) -> Apply:
        return Apply("ge", self, other)

    def __eq__(self, other: object) -> Apply:  # type: ignore[override]  # builds an expression
        return Apply("eq", self, other)  # type: ignore[arg-type]  # Apply checks it

    def __ne__(self, other: object) -> Apply:  # type: ignore[override]  # builds an expression
        return Apply("ne", self, other)  # type: ignore[arg-type]  # Apply checks it

    def __and__(self, other: Operand) -> Apply:
        return Apply("and", self, other)

    def __or__(self, other: Operand) -> Apply:
        return Apply("or", self, other)

    def __invert__(self) -> Apply:
        return Apply("not", self)

    def __getitem__(self, index: int) -> Apply:
        return Apply("item", self, index)

    __hash__ = object.__hash__

    def __iter__(self) -> NoReturn:
        # Without this Python would fall back on __getitem__ and loop for ever.
        raise SpaceError(f"{self!r} is open until a point closes it; it cannot be iterated over")

    def __bool__(self) -> NoReturn:
        raise SpaceError(
            f"{self!r} is open until a point closes it and has no truth value while the space is "
            "built; use ir.where for a value, ir.switch or ir.when for a part of the network"
        )


Operand = Expression | Scalar


class Apply(Expression):
    """A function of the closed language applied to operands."""

    __slots__ = ("args", "function", "leaves")

    def __init__(self, function: str, *args: Operand) -> None:
        check_operand(args)
        self.function = function
        self.args = args
        self.leaves = leaves(args)

    def __repr__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.args))})"


class Decision(Expression):
    """A value that a point sets: one of ``options``.

    Attributes:
        name: full path, scopes joined by ``/``.
        options: the admissible values; for an integer decision all of them, ascending.
        ordered: whether neighbouring options are alike (integers, widths), for mutations.
        searched: False for a setting that named points may use and search leaves at ``default``.
        default: the value of an unsearched decision where a point does not set it.
    """

    __slots__ = ("default", "name", "options", "ordered", "searched")

    def __init__(
        self,
        name: str,
        options: Sequence[Scalar],
        *,
        ordered: bool = False,
        searched: bool = True,
        default: Scalar = None,
    ) -> None:
        kept = tuple(options)
        if not kept or len(set(kept)) != len(kept):  # 1 and True count as equal
            raise SpaceError(f"decision {name!r}: expected distinct options, got {kept!r}")
        default = kept[0] if default is None else default
        if default not in kept:
            few = len(kept) <= 12
            listed = f"{kept}" if few else f"({kept[0]!r}, {kept[1]!r}, ... {kept[-1]!r})"
            raise SpaceError(
                f"decision {name!r}: expected a default among {listed}, got {default!r}"
            )
        self.name = name
        self.options = kept
        self.ordered = ordered
        self.searched = searched
        self.default = default

    @property
    def offered(self) -> tuple[Scalar, ...]:
        """What a search may take: the options, or the default alone where it is not searched."""
        return self.options if self.searched else (self.default,)

    def __repr__(self) -> str:
        return self.name


class Dimension(Expression):
    """The size of an axis of a value, known when the point is bound."""

    __slots__ = ("axis", "value")

    def __init__(self, value: Any, axis: str) -> None:
        self.value = value
        self.axis = axis

    def __repr__(self) -> str:
        return f"dim({self.value!r}, {self.axis!r})"


PLAIN: Final = frozenset((bool, int, str, type(None)))
"""What an operand can be without a look inside."""


def check_operand(arg: object) -> None:
    """Raise SpaceError unless ``arg`` is an expression or a JSON scalar (or a tuple of them)."""
    if isinstance(arg, tuple):
        for item in arg:
            if item.__class__ not in PLAIN:
                check_operand(item)
    elif isinstance(arg, float) and not math.isfinite(arg):
        raise SpaceError(f"expected a finite number in an expression, got {arg!r}")
    elif not (arg is None or isinstance(arg, (Expression, bool, int, float, str))):
        raise SpaceError(f"expected an expression or a plain value, got {type(arg).__name__}")


def leaves(operand: Operand) -> tuple[Decision | Dimension, ...]:
    """Return every decision and dimension that an expression mentions once, in order."""
    if isinstance(operand, Apply):
        return operand.leaves
    if isinstance(operand, (Decision, Dimension)):
        return (operand,)
    if not isinstance(operand, tuple):
        return ()
    found: dict[Decision | Dimension, None] = {}
    for item in operand:
        if isinstance(item, (Expression, tuple)):
            found.update(dict.fromkeys(leaves(item)))
    return tuple(found)


def same(first: object, second: object) -> bool:
    """Whether two option values are equal, telling True from 1."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second


def is_open(operand: Operand) -> bool:
    """Whether the operand still holds a decision or a dimension."""
    return bool(leaves(operand))


def evaluate(operand: Operand, lookup: Callable[[Decision | Dimension], Scalar]) -> Scalar:
    """Compute an operand, asking ``lookup`` for each decision and dimension."""
    if isinstance(operand, (Decision, Dimension)):
        return lookup(operand)
    if isinstance(operand, Apply):
        args = [evaluate(arg, lookup) for arg in operand.args]
        try:
            result: Scalar = FUNCTIONS[operand.function](*args)
        except (ArithmeticError, TypeError, IndexError) as error:
            raise SpaceError(f"{operand!r} of {args}: {error}") from None
        return result
    if isinstance(operand, tuple):
        return tuple(evaluate(item, lookup) for item in operand)
    assert not isinstance(operand, Expression)
    return operand


_INFIX: Final = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "div": "/", "mod": "%", "pow": "**",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "and", "or": "or",
}  # fmt: skip


def to_python(operand: Operand, leaf: Callable[[Decision | Dimension], str]) -> str:
    """Return Python source that computes the operand; ``leaf`` names decisions and dimensions.

    Functions are reached through the name ``F``, bound to FUNCTIONS.
    """
    if isinstance(operand, (Decision, Dimension)):
        return leaf(operand)
    if isinstance(operand, tuple):
        items = [repr(i) if i.__class__ in PLAIN else to_python(i, leaf) for i in operand]
        return f"({', '.join(items)},)" if items else "()"
    if not isinstance(operand, Apply):
        return repr(operand)
    args = [repr(a) if a.__class__ in PLAIN else to_python(a, leaf) for a in operand.args]
    if operand.function in _INFIX and len(args) == 2:
        return f"({args[0]} {_INFIX[operand.function]} {args[1]})"
    if operand.function == "where":
        return f"({args[1]} if {args[0]} else {args[2]})"
    return f"F[{operand.function!r}]({', '.join(args)})"


def where(condition: Operand, then: Operand, otherwise: Operand) -> Apply:
    """Return ``then`` where the condition holds, else ``otherwise``."""
    return Apply("where", condition, then, otherwise)


def table(key: Operand, values: Mapping[Any, Operand]) -> Apply:
    """Return the value that ``values`` has for ``key``."""
    return Apply("table", key, *(item for pair in values.items() for item in pair))


def minimum(*operands: Operand) -> Apply:
    """Return the smallest operand."""
    return Apply("min", *operands)


def maximum(*operands: Operand) -> Apply:
    """Return the largest operand."""
    return Apply("max", *operands)


def member(operand: Operand, *options: Operand) -> Apply:
    """Whether the operand equals one of the options."""
    return Apply("member", operand, *options)


def round_to(value: Operand, divisor: Operand = 8, floor: float = 0.9) -> Apply | int:
    """Round to a multiple of ``divisor``: see :func:`make_divisible`."""
    if isinstance(value, (int, float)) and isinstance(divisor, int):
        return make_divisible(value, divisor, floor)
    return Apply("make_divisible", value, divisor, floor)


def round_to_8(value: Operand) -> Apply | int:
    """Round channels to a multiple of 8: see :func:`make_divisible`."""
    return round_to(value, 8)


def ceil(value: Operand) -> Apply | int:
    """Round up to an integer."""
    return math.ceil(value) if isinstance(value, (int, float)) else Apply("ceil", value)


def floor(value: Operand) -> Apply | int:
    """Round down to an integer."""
    return math.floor(value) if isinstance(value, (int, float)) else Apply("floor", value)


def nearest_integer(value: Operand) -> Apply | int:
    """Round to the nearest integer, halves up."""
    return int(value + 0.5) if isinstance(value, (int, float)) else Apply("round", value)
