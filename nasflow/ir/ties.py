"""Tell apart shared entries of a network's form that have equal terms, so that equal networks agree.

First come marks that follow from how each entry is used. They settle nearly all: what is taken by
others differs by that, and what is taken by the same in the same way (both are added to one sum) are
*twins*, which may be exchanged, so that any numbers will do. What is still tied is tried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nasflow.ir.absorb import Free, holds
from nasflow.ir.rules import digest

if TYPE_CHECKING:
    from nasflow.ir.canonical import Form

WORK: Final = 50_000
"""Entries that may be visited to tell equal shared entries apart; then any order is taken."""

Takers = frozenset[tuple[bytes, int]]


def tell_apart(form: Form, free: Free, terms: list[Any]) -> tuple[list[Any], list[bytes]]:
    """Return terms of a form's entries and of its shared ones, all of which differ.

    One tied entry after another is marked, each time the one whose mark gives the least. Where tied
    ones are alike (an automorphism maps one to the other), any choice gives the same in the end.
    """
    marks = _first_marks(form, free, terms)
    work = 0
    while True:
        terms, shared = form.terms(free, marks)
        tied = min(((len(c), term, c) for term, c in _tied(form, shared).items()), default=None)
        if tied is None:
            return terms, shared
        mark = b"%16d" % work
        work += len(tied[2]) * len(form.keys)
        tries = {e: {**marks, e: marks[e] + mark} for e in tied[2]}
        chosen = tied[2][0]
        if work <= WORK:
            chosen = min(tries, key=lambda e: _outcome(form, free, tries[e]))
        marks = tries[chosen]


def _outcome(form: Form, free: Free, marks: dict[int, bytes]) -> tuple[list[bytes], list[bytes]]:
    terms, shared = form.terms(free, marks)
    return [terms[result] for result in form.shape.results], sorted(shared)


def _tied(form: Form, shared: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return the shared entries of each term that several have."""
    classes: dict[bytes, list[int]] = {}
    for e, term in zip(form.shape.named, shared, strict=True):
        classes.setdefault(term, []).append(e)
    return {term: found for term, found in classes.items() if len(found) > 1}


def _first_marks(form: Form, free: Free, terms: list[Any]) -> dict[int, bytes]:
    """Return a mark for each tied entry: a digest of what takes it, and its number among twins."""
    shape = form.shape
    shared = [terms[e] for e in shape.named]
    # Terms in which no two shared entries are alike tell what is the same thing.
    things, _ = form.terms(free, {e: b"%16d" % e for e in shape.named})
    takers, exactly = _takers(form, free, terms), _takers(form, free, things)
    twins: dict[Any, int] = {}
    marks = {}
    for term, found in _tied(form, shared).items():
        for e in found:
            kind, args, _, _ = shape.entries[e]
            given = [things[a] for a in args]
            key = term, tuple(sorted(given) if kind else given), exactly[e]
            number = twins[key] = twins.get(key, -1) + 1
            marks[e] = digest(repr((sorted(takers[e]), number)).encode())
    return marks


def _takers(form: Form, free: Free, terms: list[Any]) -> dict[int, Takers]:
    """Return the terms of what takes each shared entry, and at which place.

    Where order is of no consequence the place is how often it is taken. A sum that is part of
    another one only is none of its own.
    """
    shape = form.shape
    found: dict[int, set[tuple[bytes, int]]] = {e: set() for e in shape.named}
    parts = {e: shape.taken(e) for e, used in enumerate(shape.uses) if used}
    whole = set(shape.results).union(*parts.values())
    for e, taken in parts.items():
        kind, _, _, more = shape.entries[e]
        if e in whole:
            ordered = kind == 0 or (isinstance(kind, str) and not holds(more, free))
            for place, a in enumerate(taken):
                if a in found:
                    found[a].add((terms[e], place if ordered else taken.count(a)))
    for place, result in enumerate(shape.results):
        if result in found:
            found[result].add((b"", place))
    return {e: frozenset(pairs) for e, pairs in found.items()}
