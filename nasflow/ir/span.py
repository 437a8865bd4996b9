"""Which entries of the biggest axis a child's axis is: index sets, and how they are put together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

Entries = range | tuple[int, ...]
KEPT: Final = 1 << 16
"""How many spans of each making are remembered; equal ones are mostly one object."""


class Span:
    """One axis of a child's value or weight: which ``entries`` of ``universe`` it holds, in order.

    Attributes:
        entries: ascending positions in the biggest axis at that place.
        universe: how long the biggest axis is.
        factors: spans that the axis is the product of, outermost first, where it is known as one.
        joined: spans that the axis is the concatenation of, where it is known as one.
        alike: spans of one shape that this stands for: equal parts of a concatenation.
        owner: the weight whose own size it is, if any: it may choose its entries.
        sized: numbers of places among the factors: entries at one resolution are not those at
            another.
        loose: whether the axis counts places (pixels, tokens) and has no entries to follow.
        whole: (span, sizes, position): this is one factor of a span that was taken apart.
        origin: where the biggest axis was laid out: entries of one origin mean the same.
    """

    __slots__ = (
        "alike",
        "entries",
        "factors",
        "joined",
        "loose",
        "origin",
        "owner",
        "sized",
        "universe",
        "whole",
    )

    def __init__(
        self,
        entries: Entries,
        universe: int,
        *,
        factors: tuple[Span, ...] = (),
        joined: tuple[Span, ...] = (),
        alike: tuple[Span, ...] = (),
        owner: str = "",
        sized: tuple[int, ...] = (),
        loose: bool = False,
        whole: tuple[Span, tuple[int, ...], int] | None = None,
        origin: str = "",
    ) -> None:
        self.entries = entries
        self.universe = universe
        self.factors = factors
        self.joined = joined
        self.alike = alike
        self.owner = owner
        self.sized = sized
        self.loose = loose
        self.whole = whole
        self.origin = origin or owner or _origin(whole, factors)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        shown = self.entries if isinstance(self.entries, range) else f"{len(self)} entries"
        return f"<{shown} of {'places' if self.loose else self.universe}>"

    @property
    def groups(self) -> int:
        """Number of equal groups that a weight's own axis is laid out in."""
        return len(self.factors[0]) if self.owner and self.factors else 1

    def same(self, other: Span) -> bool:
        """Whether both hold the same entries."""
        return self is other or self.entries == other.entries


def _origin(whole: tuple[Span, tuple[int, ...], int] | None, factors: tuple[Span, ...]) -> str:
    """Return the origin of a part of a span, or of a product."""
    if whole is not None:
        return whole[0].origin
    return next((factor.origin for factor in factors if factor.origin), "")


def plain(entries: Sequence[int]) -> Entries:
    """Return entries as a range where they are one."""
    if isinstance(entries, range):
        return entries
    if entries and entries[-1] - entries[0] == len(entries) - 1:
        return range(entries[0], entries[-1] + 1)
    return tuple(entries)


@lru_cache(KEPT)
def prefix(size: int, universe: int, owner: str = "") -> Span:
    """Return the first ``size`` of ``universe`` entries."""
    return Span(range(size), universe, owner=owner)


@lru_cache(KEPT)
def places(size: int) -> Span:
    """Return an axis of places, which nothing shrinks."""
    return Span(range(size), size, loose=True)


@lru_cache(KEPT)
def arranged(size: int, universe: int, groups: int, owner: str = "") -> Span:
    """Return the first entries of each of ``groups`` equal parts of ``universe`` entries."""
    factors = (
        Span(range(groups), groups, origin=owner),
        Span(range(size // groups), universe // groups, origin=owner),
    )
    return Span(
        product(factors, (groups, universe // groups)), universe, factors=factors, owner=owner
    )


def product(spans: Sequence[Span], universes: Sequence[int]) -> Entries:
    """Return the entries of a product of spans, outermost first, each in its universe."""
    strides = [math.prod(universes[i + 1 :]) for i in range(len(spans))]
    full = [s.entries == range(u) for s, u in zip(spans, universes, strict=True)]
    if all(full[1:]) and isinstance(spans[0].entries, range):
        first = spans[0].entries
        return range(first.start * strides[0], first.stop * strides[0])
    axes = [[e * k for e in s.entries] for s, k in zip(spans, strides, strict=True)]
    return plain([sum(part) for part in itertools.product(*axes)])


@lru_cache(KEPT)
def merge(spans: tuple[Span, ...], universes: tuple[int, ...]) -> Span:
    """Return the product of spans as one axis, outermost first.

    What was taken apart and comes back whole is what it was. Where places are among the factors,
    their number is part of what the axis is: see ``sized``.
    """
    if len(spans) == 1:
        return spans[0]
    whole = _whole(spans)
    if whole is not None:
        return whole
    if all(s.loose for s in spans):
        return places(math.prod(map(len, spans)))
    sized = tuple(n for s in spans for n in ((len(s),) if s.loose and len(s) > 1 else s.sized))
    entries = product(spans, universes)
    return Span(entries, math.prod(universes), factors=spans, sized=sized)


def _whole(spans: tuple[Span, ...]) -> Span | None:
    """Return the span that these are the factors of, in order and all of them."""
    if spans[0].whole is None:
        return None
    first, sizes, _ = spans[0].whole
    if len(sizes) != len(spans):
        return None
    for i, span in enumerate(spans):
        if span.whole is None or span.whole[1:] != (sizes, i) or not span.whole[0].same(first):
            return None
    return first


@lru_cache(KEPT)
def join(
    spans: tuple[Span, ...], offsets: tuple[int, ...], universe: int, origin: str = ""
) -> Span:
    """Return the concatenation of spans, each moved by its offset."""
    entries = [e + k for s, k in zip(spans, offsets, strict=True) for e in s.entries]
    sized = tuple(n for s in spans for n in s.sized)
    return Span(plain(entries), universe, joined=spans, sized=sized, origin=origin)


@lru_cache(KEPT)
def part(span: Span, start: int, stop: int) -> Span:
    """Return the entries from position ``start`` up to ``stop``."""
    if span.loose:
        return places(stop - start)
    at = 0
    for inner in span.joined:
        if (at, at + len(inner)) == (start, stop):
            return inner
        at += len(inner)
    if (start, stop) == (0, len(span)):
        return span
    entries = plain(span.entries[start:stop])
    return Span(entries, span.universe, sized=span.sized, origin=span.origin)


@lru_cache(KEPT)
def divide(span: Span, outer: int) -> tuple[Span, Span] | None:
    """Return the span as ``outer`` equal parts and what each holds; None where they differ."""
    size = len(span)
    if outer == 1:
        if span.factors and len(span.factors[0]) == 1:  # one of several heads, in another child
            others = span.factors[1:]
            return span.factors[0], merge(others, tuple(s.universe for s in others))
        return prefix(1, 1), span
    if outer == size == span.universe:
        return span, prefix(1, 1)
    if span.loose:
        return places(outer), places(size // outer)
    found = _factors(span, outer) or _joined(span, outer)
    if found is not None:
        return found
    stride, rest = divmod(span.universe, outer)
    inner = size // outer
    base = span.entries[:inner]
    if rest or base[-1] >= stride:
        return None
    for k in range(outer):
        if any(
            e - k * stride != b
            for e, b in zip(span.entries[k * inner : (k + 1) * inner], base, strict=True)
        ):
            return None
    sizes = (outer, inner)
    return (
        Span(range(outer), outer, whole=(span, sizes, 0)),
        Span(plain(base), stride, whole=(span, sizes, 1)),
    )


def _factors(span: Span, outer: int) -> tuple[Span, Span] | None:
    """Divide a product between its factors, or inside the first of them."""
    if not span.factors:
        return None
    universes = tuple(s.universe for s in span.factors)
    count, at = 1, 0
    while at < len(span.factors) and count < outer:
        count *= len(span.factors[at])
        at += 1
    rest = span.factors[at:]
    if count == outer and rest:
        return merge(span.factors[:at], universes[:at]), merge(rest, universes[at:])
    if at == 1 and count % outer == 0:
        inside = divide(span.factors[0], outer)
        if inside is not None:
            inner = (inside[1], *rest)
            return inside[0], merge(inner, tuple(s.universe for s in inner))
    return None


def _joined(span: Span, outer: int) -> tuple[Span, Span] | None:
    """Divide a concatenation of as many equal spans."""
    first, *others = span.joined or (span,)
    if len(span.joined) != outer or span.universe != outer * first.universe:
        return None
    if not all(s.same(first) and s.universe == first.universe for s in others):
        return None
    inner = Span(first.entries, first.universe, alike=span.joined, origin=span.origin)
    return prefix(outer, outer), inner


@lru_cache(KEPT)
def renumbered(span: Span, universe: int) -> Span:
    """Return as many entries, the first of another universe."""
    return Span(range(len(span)), universe, sized=span.sized)


@lru_cache(KEPT)
def by_position(span: Span, outer: int) -> tuple[Span, Span]:
    """Return ``outer`` parts of a span that has none, told apart by position in the child only."""
    sizes = (outer, len(span) // outer)
    return (
        Span(range(outer), outer, whole=(span, sizes, 0)),
        Span(range(sizes[1]), max(span.universe // outer, sizes[1]), whole=(span, sizes, 1)),
    )


def demands(span: Span, count: int) -> Iterator[tuple[str, int]]:
    """Yield (owner, groups): weights whose own axis decides whether the span has ``count`` groups."""
    if span.owner:
        yield span.owner, count
    elif span.whole is not None and span.whole[2] == 1:
        whole, sizes, _ = span.whole
        yield from demands(whole, sizes[0] * count)
    elif span.factors:
        yield from demands(span.factors[0], count)
    for other in span.alike:
        yield from demands(other, count)
