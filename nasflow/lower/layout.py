"""Break long statements over lines the way ruff and black do."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 100
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_CLOSE: Final = frozenset(_OPEN.values())


def wrap(text: str, indent: int, tail: str = "") -> list[str]:
    """Return a statement as lines of at most WIDTH columns where brackets allow it."""
    pad = " " * indent
    if indent + len(text) + len(tail) <= WIDTH:
        return [pad + text + tail]
    value = _parenthesised(text)
    if value is not None:
        return [pad + value[0] + "(", *_operands(value[1], indent + 4), pad + ")" + tail]
    pair = _last_bracket(text)
    if pair is None:
        return [pad + text + tail]
    start, end = pair
    inner = text[start + 1 : end]
    head, foot = pad + text[: start + 1], pad + text[end:] + tail
    # The commas of a comprehension are not between things of the bracket.
    loop = len(_split_word(inner, " for ")) > 1
    parts = [inner] if loop else _split(inner, ",")
    if len(inner) + indent + 4 <= WIDTH and len(parts) > 0 and not _must_explode(inner, parts):
        return [head, f"{pad}    {inner}", foot]
    body: list[str] = []
    if loop or (len(parts) == 1 and not text[start] == "["):
        body = _break_single(parts[0], indent + 4)
    else:
        for part in parts:
            body += wrap(part, indent + 4, ",")
    return [head, *body, foot]


_OPERATORS: Final = (" + ", " - ", " * ", " @ ", " if ", " else ")


def _parenthesised(text: str) -> tuple[str, str] | None:
    """Return (what stands before it, the value) of a statement whose value is no single call."""
    for lead in ("return ", "= "):
        at = len(lead) if text.startswith(lead) else text.find(f" {lead}") + len(lead) + 1
        if (text.startswith(lead) or f" {lead}" in text) and "(" not in text[:at]:
            value = text[at:]
            if any(len(_split_word(value, mark)) > 1 for mark in _OPERATORS):
                return text[:at], value
    return None


def _operands(text: str, indent: int) -> list[str]:
    """Break an expression before its outermost operators unless it fits on a line."""
    if indent + len(text) <= WIDTH:
        return [" " * indent + text]
    for marks in ((" if ", " else "), (" + ", " - "), (" * ", " @ ")):
        cuts = sorted(
            (i, mark)
            for mark in marks
            for i, depth in _scan(text)
            if depth == 0 and text.startswith(mark, i)
        )
        if not cuts:
            continue
        edges = [i for i, _ in cuts] + [len(text)]
        lines = wrap(text[: edges[0]], indent)
        for a, b in zip(edges, edges[1:], strict=False):
            lines += wrap(text[a:b].strip(), indent)
        return lines
    return wrap(text, indent)


def _must_explode(inner: str, parts: list[str]) -> bool:
    """Return whether a bracket holds starred loops, which read best one on each line."""
    return len(parts) > 1 and any(part.startswith("*(") for part in parts)


def _break_single(text: str, indent: int) -> list[str]:
    """Break the only thing in a bracket: before ``for`` of a comprehension, else inside it."""
    clauses = _split_word(text, " for ")
    if len(clauses) > 1:
        lines = wrap(clauses[0], indent)
        for clause in clauses[1:]:
            lines += wrap(f"for {clause}", indent)
        return lines
    return wrap(text, indent)


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


def _last_bracket(text: str) -> tuple[int, int] | None:
    """Return the span of the last outermost bracket that holds something."""
    best = None
    start = -1
    for i, depth in _scan(text):
        if depth == 0 and text[i] in _OPEN:
            start = i
        elif depth == 0 and text[i] in _CLOSE and i > start + 1:
            best = (start, i)
    return best


def _split(text: str, mark: str) -> list[str]:
    cuts = [i for i, depth in _scan(text) if depth == 0 and text[i] == mark]
    edges = [-1, *cuts, len(text)]
    parts = [text[a + 1 : b].strip() for a, b in zip(edges, edges[1:], strict=False)]
    return [part for part in parts if part]


def _split_word(text: str, word: str) -> list[str]:
    cuts = [i for i, depth in _scan(text) if depth == 0 and text.startswith(word, i)]
    if not cuts:
        return [text]
    edges = [*cuts, len(text)]
    return [text[: cuts[0]]] + [
        text[a + len(word) : b] for a, b in zip(edges, edges[1:], strict=False)
    ]
