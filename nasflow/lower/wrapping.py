"""Break long statements over lines the way ruff does."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

WIDTH: Final = 100
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_CLOSE: Final = frozenset(_OPEN.values())
_LOOSEST_FIRST: Final = ((" if ", " else "), (" + ", " - "), (" * ", " @ ", " // "))
_LEAD: Final = re.compile(r"(return |[\w., ]+ \+?= )")


def wrap(text: str, indent: int, tail: str = "") -> list[str]:
    """Return a statement as lines of at most WIDTH columns where brackets allow it."""
    pad = " " * indent
    if indent + len(text) + len(tail) <= WIDTH:
        return [pad + text + tail]
    lead = _LEAD.match(text)
    if lead is not None:
        value = text[lead.end() :]
        parts = _split(value)
        if len(parts) > 1:
            lines = [line for part in parts for line in wrap(part, indent + 4, ",")]
            return [pad + lead.group() + "(", *lines, pad + ")" + tail]
        if not _ends_in_call(value, indent + lead.end()):
            return [pad + lead.group() + "(", *_operands(value, indent + 4), pad + ")" + tail]
    pairs = _brackets(text)
    if not pairs:
        return [pad + text + tail]
    # The last bracket whose line, and what follows it, fit.
    fitting = [
        (start, end)
        for start, end in pairs
        if indent + start + 1 <= WIDTH and indent + len(text) - end + len(tail) <= WIDTH
    ]
    start, end = pairs[0] if text.startswith("def ") else (fitting or pairs)[-1]
    head, foot = pad + text[: start + 1], pad + text[end:] + tail
    return [head, *_inside(text[start + 1 : end], indent + 4, text[start] == "["), foot]


def _inside(inner: str, indent: int, is_list: bool) -> list[str]:
    """Break what a bracket holds: on one line, by the clauses of a comprehension, or by commas."""
    clauses = _cut(inner, (" for ",))
    if len(clauses) > 1:
        if indent + len(inner) <= WIDTH:
            return [" " * indent + inner]
        return [line for clause in clauses for line in wrap(clause, indent)]
    parts = [part for part in _split(inner) if part]
    loops = len(parts) > 1 and any(part.startswith("*(") for part in parts)
    if indent + len(inner) <= WIDTH and not loops:
        return [" " * indent + inner]
    if len(parts) == 1 and not is_list and not inner.endswith(",") and parts[0][0] != "*":
        return _operands(parts[0], indent)
    return [line for part in parts for line in wrap(part, indent, ",")]


def _operands(text: str, indent: int) -> list[str]:
    """Break an expression before its outermost operators, or before the calls of a chain."""
    if indent + len(text) <= WIDTH:
        return [" " * indent + text]
    for marks in _LOOSEST_FIRST:
        parts = _cut(text, marks)
        if len(parts) > 1:
            return [line for part in parts for line in wrap(part, indent)]
    links = _links(text)
    if len(links) > 2:
        return [line for link in links for line in wrap(link, indent)]
    return wrap(text, indent)


def _ends_in_call(value: str, column: int) -> bool:
    """Return whether a value is best broken inside its last bracket, as ruff decides it."""
    operators = next((n for marks in _LOOSEST_FIRST if (n := len(_cut(value, marks)) - 1)), 0)
    if operators > 1 or len(_links(value)) > 2:
        return False
    pairs = _brackets(value)
    if operators and (not pairs or pairs[-1][1] != len(value) - 1):
        return False
    return not pairs or column + pairs[-1 if operators else 0][0] + 1 <= WIDTH


def _links(text: str) -> list[str]:
    """Return ``x.a()``, ``.b()`` and ``.c()`` of a chain of method calls."""
    cuts = [
        i
        for i, depth in _scan(text)
        if depth == 0 and text[i] == "." and i and text[i - 1] in _CLOSE
    ]
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def _scan(text: str) -> list[tuple[int, int]]:
    """Return (position, depth) of every character outside strings; brackets at outer depth."""
    found = []
    depth = 0
    quote = ""
    i = 0
    while i < len(text):
        c = text[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = ""
        elif c in "\"'":
            quote = c
        else:
            if c in _CLOSE:
                depth -= 1
            found.append((i, depth))
            if c in _OPEN:
                depth += 1
        i += 1
    return found


def _brackets(text: str) -> list[tuple[int, int]]:
    """Return the spans of the outermost brackets that hold something."""
    found = []
    start = -1
    for i, depth in _scan(text):
        if depth == 0 and text[i] in _OPEN:
            start = i
        elif depth == 0 and text[i] in _CLOSE and i > start + 1:
            found.append((start, i))
    return found


def _split(text: str) -> list[str]:
    """Return what outermost commas separate."""
    cuts = [i for i, depth in _scan(text) if depth == 0 and text[i] == ","]
    edges = [-1, *cuts, len(text)]
    return [text[a + 1 : b].strip() for a, b in pairwise(edges)]


def _cut(text: str, words: tuple[str, ...]) -> list[str]:
    """Return the text cut in front of outermost words, each part beginning with its word."""
    cuts = [i for i, depth in _scan(text) if depth == 0 and text.startswith(words, i)]
    edges = [0, *cuts, len(text)]
    return [text[a:b].strip() for a, b in pairwise(edges)]
