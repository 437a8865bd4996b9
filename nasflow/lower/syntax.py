"""Expressions of written source, as syntax trees: values can only ever become constants."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Final

from nasflow.errors import GraphError
from nasflow.ir.expression import Scalar

ROOTS: Final = frozenset({"torch", "F", "nn", "math", "self"})
"""Names that the source of an operation may mention, next to its inputs and constants."""
_ALL: Final = "_in_all"
_OWN: Final = "_own"


def name(text: str) -> ast.expr:
    """Return a variable."""
    return ast.Name(text, ast.Load())


def attribute_of(owner: ast.expr, text: str) -> ast.expr:
    """Return an attribute."""
    return ast.Attribute(owner, text, ast.Load())


def dotted(text: str) -> ast.expr:
    """Return ``nn.Conv2d`` and the like."""
    first, *rest = text.split(".")
    found = name(first)
    for part in rest:
        found = attribute_of(found, part)
    return found


def call(
    callee: ast.expr, positional: Sequence[ast.expr], keyword: Mapping[str, ast.expr] | None = None
) -> ast.expr:
    """Return a call."""
    named = [ast.keyword(key, value) for key, value in (keyword or {}).items()]
    return ast.Call(callee, list(positional), named)


def literal(value: Scalar) -> ast.expr:
    """Return a value as a constant; raises GraphError where it is no plain, finite value."""
    if value is None or isinstance(value, bool | int):
        return ast.Constant(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise GraphError(f"expected a finite number, got {value!r}")
        return ast.Constant(value)
    if isinstance(value, str):
        return name(_quoted(value))
    if isinstance(value, tuple):
        return ast.Tuple([literal(item) for item in value], ast.Load())
    raise GraphError(f"expected a plain value, got {type(value).__name__}")


def _quoted(text: str) -> str:
    plain = repr(text)
    if plain[0] == "'" and '"' not in plain:
        return '"' + plain[1:-1].replace("\\'", "'") + '"'
    return plain


def write(expression: ast.expr) -> str:
    """Return the expression as one line of source."""
    return ast.unparse(expression)


@lru_cache(maxsize=256)
def defined(support: str) -> frozenset[str]:
    """Return the names of the classes and functions that an operation's support defines."""
    kinds = ast.ClassDef | ast.FunctionDef
    return frozenset(node.name for node in ast.parse(support).body if isinstance(node, kinds))


@lru_cache(maxsize=4096)
def _parse(forward: str, support: str) -> ast.expr:
    """Return an operation's template as a tree whose placeholders are names."""
    text = ""
    places = set()
    for plain, field, form, conversion in Formatter().parse(forward):
        text += plain
        if field is None:
            continue
        if form or conversion or not (field.isdigit() or field.isidentifier()):
            raise GraphError(f"expected placeholders like {{0}} or {{name}}, got {forward!r}")
        place = _placeholder(field)
        places.add(place)
        text += place
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise GraphError(f"expected the source of an expression, got {forward!r}") from None
    known = places | ROOTS | defined(support)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            raise GraphError(
                f"expected inputs, constants and torch in {forward!r}, got {node.id!r}"
            )
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise GraphError(f"expected public names in {forward!r}, got {node.attr!r}")
        if isinstance(node, ast.Lambda | ast.NamedExpr | ast.Await | ast.Yield):
            raise GraphError(f"expected a plain expression, got {forward!r}")
    return tree


def _placeholder(field: str) -> str:
    if field.isdigit():
        return f"_in_{int(field)}"
    return {"all": _ALL, "self": _OWN}.get(field, f"_constant_{field}")


@lru_cache(maxsize=4096)
def mentions(forward: str, support: str, count: int) -> tuple[int, ...]:
    """Return how often an operation's source mentions each of its ``count`` inputs."""
    found = [node.id for node in ast.walk(_parse(forward, support)) if isinstance(node, ast.Name)]
    return tuple(found.count(_placeholder(str(i))) + found.count(_ALL) for i in range(count))


def fill(
    forward: str,
    inputs: Sequence[ast.expr],
    constants: Mapping[str, ast.expr] | None = None,
    own: ast.expr | None = None,
    support: str = "",
) -> ast.expr:
    """Return an operation's source with its inputs, its constants and what it keeps put in.

    The source may mention torch and what the operation's ``support`` defines, nothing else.

    >>> write(fill("{0} * {factor}", [dotted("x")], {"factor": literal(2)}))
    'x * 2'
    """
    table = {f"_in_{i}": value for i, value in enumerate(inputs)}
    table.update((f"_constant_{key}", value) for key, value in (constants or {}).items())
    if own is not None:
        table[_OWN] = own
    filled = _fill(_parse(forward, support), table, inputs)
    assert isinstance(filled, ast.expr)
    return filled


def _fill(node: ast.AST, table: Mapping[str, ast.expr], inputs: Sequence[ast.expr]) -> ast.AST:
    if isinstance(node, ast.Name):
        found = table.get(node.id, node)
        if found is node and node.id.startswith(("_in_", "_constant_", _OWN)):
            raise GraphError(f"the source of an operation names {node.id[1:]}, which it has not")
        return found
    fields: dict[str, object] = {}
    for key, value in ast.iter_fields(node):
        if isinstance(value, list):
            items: list[object] = []
            for item in value:
                if isinstance(item, ast.Name) and item.id == _ALL:
                    items.extend(inputs)
                else:
                    items.append(_fill(item, table, inputs) if isinstance(item, ast.AST) else item)
            fields[key] = items
        else:
            fields[key] = _fill(value, table, inputs) if isinstance(value, ast.AST) else value
    return type(node)(**fields)
