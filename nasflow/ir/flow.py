"""How index sets pass through an operation, so that a child's weights are parts of shared ones.

While a child is laid into a supernet, each axis of each value carries a :class:`Span`: which
entries it holds of the biggest axis there. An operation says in ``flow`` which spans its weights
and results have, given those of its inputs; :class:`Place` is where it stands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from nasflow.errors import SpaceError
from nasflow.ir.span import (
    KEPT,
    Span,
    arranged,
    by_position,
    demands,
    divide,
    merge,
    places,
    prefix,
    renumbered,
)
from nasflow.ir.weight import Factor, Weight

if TYPE_CHECKING:
    from nasflow.ir.operation import Applied

Spans = tuple[Span, ...]
UNIT = prefix(1, 1)


@dataclass(slots=True)
class Axis:
    """One axis of what arrives at a place, in all children so far.

    Attributes:
        origin: where the first of them had it laid out.
        most: the most entries that one had.
        wide: whether one was laid out for more than that, and had not just the first entries.
        mixed: whether some had it laid out elsewhere than the first.
    """

    origin: str
    most: int
    wide: bool = False
    mixed: bool = False


@dataclass(slots=True)
class Plot:
    """What is known of all children of a space, by place.

    Attributes:
        rooms: for each named axis at a place, its biggest size so far.
        grown: whether some became bigger since this was last set to False.
        frozen: whether nothing may become bigger any more.
        notes: places where entries are told apart by position only, and why.
        version: how often some became bigger.
        widened: how often one that was known did.
        hints: for one child, the weights whose own axis somebody reads as so many equal groups.
        settled: those that were known when laying the child out was last begun.
        asked: what was asked for since, as (weight, number of groups).
        news: how often that was not among the settled: what asked is to be laid out again.
        axes: what arrives at each place, by path, number of the input and of its axis.
    """

    rooms: dict[str, int] = field(default_factory=dict)
    grown: bool = False
    frozen: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    version: int = 0
    widened: int = 0
    hints: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    news: int = 0
    axes: dict[tuple[str, int, int], Axis] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """Whether sizes were found while layouts were followed that no longer are."""
        return any(axis.mixed and axis.wide for axis in self.axes.values())

    def restart(self) -> None:
        """Forget the biggest sizes, but not which layouts are followed."""
        self.rooms.clear()
        self.notes.clear()
        self.version += 1

    def follow(self, path: str, number: int, spans: Spans) -> Spans:
        """Return what arrives at a place, each axis with the entries that children share there."""
        return tuple([
            span if span.loose else self._followed((path, number, i), span)
            for i, span in enumerate(spans)
        ])  # fmt: skip

    def _followed(self, key: tuple[str, int, int], span: Span) -> Span:
        """Return a span as it is where all children have it from one origin.

        Where they do not (a state that is picked), its entries mean something else in each. Room
        for the most that one has is enough then: a layout of more entries, most of which are
        always absent (one value that is left of a concatenation), is not followed.
        """
        axis = self.axes.get(key)
        if axis is None:
            axis = self.axes[key] = Axis(span.origin, len(span))
        mixed = axis.mixed or not _alike(span.origin, axis.origin)
        if not self.frozen and (mixed != axis.mixed or len(span) > axis.most):
            axis.mixed, axis.most = mixed, max(len(span), axis.most)
            if axis.wide:  # some that came before are now laid out otherwise
                self.grown = True
                self.version += mixed
        if span.universe <= axis.most:
            return span
        first = span.entries == range(len(span))
        axis.wide = axis.wide or not first
        if not mixed or len(span) > axis.most:
            return span
        if not first:
            self.notes.setdefault(key[0], f"{span!r} is one of several layouts that arrive")
        return renumbered(span, axis.most)

    def ask(self, wanted: Iterable[tuple[str, int]]) -> bool:
        """Ask weights for groups; return whether that is news."""
        before = self.news
        for owner, count in wanted:
            self.asked.append((owner, count))
            common = self.hints[owner] = math.lcm(self.hints.get(owner, 1), count)
            if common != self.settled.get(owner, 1):
                self.news += 1
        return self.news != before


@lru_cache(KEPT)
def _alike(first: str, second: str) -> bool:
    """Whether two origins are one, or iterations of a repeat: the layout of one goes on in the next."""
    return first == second or _plain(first) == _plain(second)


def _plain(origin: str) -> list[str]:
    return [part for part in origin.split("/") if not part.isdigit()]


class Place:
    """An operation in one child: the spans of its inputs, and what it takes of its weights.

    Attributes:
        path: the operation's path in the template.
        inputs: for each input the spans of its axes.
        outputs: types of the results.
        declared: weights that the operation owns.
        taken: positions of the inputs among those that the template offers.
        weights: for each weight taken so far the spans of its axes.
    """

    __slots__ = ("declared", "inputs", "outputs", "path", "plot", "taken", "types", "weights")

    def __init__(
        self,
        plot: Plot,
        path: str,
        content: Applied,
        inputs: tuple[Spans, ...],
        taken: tuple[int, ...] = (),
    ) -> None:
        self.plot = plot
        self.path = path
        self.types = content.inputs
        self.outputs = content.outputs
        self.declared = content.weights
        self.taken = taken or tuple(range(len(inputs)))
        pairs = zip(self.taken, inputs, strict=True)
        self.inputs = tuple([plot.follow(path, number, spans) for number, spans in pairs])
        self.weights: dict[str, Spans] = {}

    def span(self, number: int, axis: str) -> Span:
        """Return the span of an input's axis."""
        return self.inputs[number][self.types[number].axes.index(axis)]

    def room(self, name: str, size: int) -> int:
        """Return the biggest size that the axis called ``name`` has here in any child."""
        key = f"{self.path}:{name}"
        most = self.plot.rooms.get(key, 0)
        if size > most:
            if self.plot.frozen:
                raise SpaceError(
                    f"{self.path}: this network needs {size} entries ({name}), more than the {most} "
                    "found when the supernet was made; name its point in points="
                )
            self.plot.grown = True
            self.plot.version += 1
            self.plot.widened += most > 0
            self.plot.rooms[key] = most = size
        return most

    def offsets(self, name: str, spans: Sequence[Span]) -> tuple[tuple[int, ...], int]:
        """Return where each input's span starts in the biggest concatenation, and its length.

        An input that is absent here keeps its room: what stands after it stays where it is.
        """
        for number, span in zip(self.taken, spans, strict=True):
            self.room(f"{name}{number}", span.universe)
        count = self.room(name, self.taken[-1] + 1)
        rooms = [self.plot.rooms.get(f"{self.path}:{name}{i}", 0) for i in range(count)]
        starts = [0, *itertools.accumulate(rooms)]
        return tuple([starts[i] for i in self.taken]), starts[-1]

    def note(self, reason: str) -> None:
        """Record that entries are told apart by position here."""
        self.plot.notes.setdefault(self.path, reason)

    def own(self, name: str, size: int, groups: int = 1) -> Span:
        """Return an axis of the operation's own size: its first entries, or the first of each group.

        Where a later operation reads the axis as equal groups, it is laid out so.
        """
        universe = self.room(name, size)
        owner = f"{self.path}:{name}"
        groups = math.lcm(groups, self.plot.hints.get(owner, 1))
        if size == universe or groups == 1 or size % groups or universe % groups:
            return prefix(size, universe, owner)
        return arranged(size, universe, groups, owner)

    def groups(self, span: Span, count: int, why: str) -> tuple[Span, Span]:
        """Return an axis read as ``count`` equal groups: the groups, and what each holds."""
        found = divide(span, count)
        if found is not None:
            return found
        if not self._ask(span, count):
            self.note(f"{why}: an axis of {span!r} has no {count} equal groups to follow")
        return by_position(span, count)

    def _ask(self, span: Span, count: int) -> bool:
        """Ask the weights that a span comes from for ``count`` groups; return whether that is news.

        What asked is then laid out again with this known.
        """
        return self.plot.ask(demands(span, count))

    def merge(self, name: str, spans: Sequence[Span]) -> Span:
        """Return several axes as one, outermost first."""
        if len(spans) == 1:
            return spans[0]
        universes = [
            len(s) if s.loose else self.room(f"{name}.{i}", s.universe) for i, s in enumerate(spans)
        ]
        return merge(tuple(spans), tuple(universes))

    def agree(self, what: str, spans: Sequence[Span]) -> Span:
        """Return the one of several spans that stands for all: the one with the first entries."""
        best = spans[0]
        for other in spans[1:]:
            if not other.same(best):
                # Where one is laid out in groups, the other's weight may be laid out so too.
                count = math.lcm(best.groups, other.groups)
                news = [self._ask(span, count) for span in (best, other)] if count > 1 else []
                if not any(news):
                    self.note(
                        f"{what} different entries of the biggest axis: {best!r} and {other!r}"
                    )
                best = min(best, other, key=lambda s: tuple(s.entries))
            elif (other.loose, other.universe) > (best.loose, best.universe):
                best = other
        return best

    def sizes(self) -> dict[str, Span]:
        """Return axes of places for all that the first result has but channels."""
        (type_, *_) = self.outputs
        return {a: places(n) for a, n in zip(type_.axes, type_.shape, strict=True) if a != "C"}

    def take(self, weight: Weight, *axes: Span) -> Spans:
        """Take a weight: the first axes as given, the others as the weight declares them."""
        spans = list(axes)
        for i in range(len(axes), len(weight.axes)):
            spans.append(self._axis(i, weight.axes[i]))
        self.weights[weight.name] = tuple(spans)
        return tuple(spans)

    def _axis(self, number: int, factors: Sequence[Factor]) -> Span:
        spans = []
        for k, factor in enumerate(factors):
            if factor.source:
                position, _, axis = factor.source.partition(":")
                span = self.span(int(position), axis)
            else:
                span = self._factor(f"{number}.{k}", factor)
            if len(span) != factor.size:
                raise SpaceError(
                    f"{self.path}: a weight follows {factor.source!r} of {len(span)} entries, but "
                    f"declares {factor.size}"
                )
            spans.append(span)
        return self.merge(f"axis{number}", spans)

    def _factor(self, name: str, factor: Factor) -> Span:
        if factor.shrink == "prefix":
            return self.own(name, factor.size)
        if factor.shrink in ("centre", "transform"):
            universe = self.room(name, factor.size)
            start = (universe - factor.size) // 2
            return Span(range(start, start + factor.size), universe)
        if factor.shrink == "interpolate":
            self.room(name, factor.size)
        return places(factor.size)  # interpolated, or a copy for each size

    # -- results ------------------------------------------------------------------------------

    def result(self, number: int = 0, /, **axes: Span) -> Spans:
        """Return the spans of a result: those given, else of the input's axes of the same size."""
        type_ = self.outputs[number]
        spans = []
        for axis, size in zip(type_.axes, type_.shape, strict=True):
            span = axes.get(axis) or self._found(axis, size)
            if len(span) != size:
                raise SpaceError(f"{self.path}: axis {axis} has {size} entries, its span {span!r}")
            spans.append(span)
        return tuple(spans)

    def _found(self, axis: str, size: int) -> Span:
        for type_, spans in zip(self.types, self.inputs, strict=True):
            if axis in type_.axes:
                span = spans[type_.axes.index(axis)]
                if len(span) == size:
                    return span
        if size == 1:
            return UNIT
        raise SpaceError(
            f"{self.path}: cannot follow index sets through axis {axis}: the operation changes it "
            "and declares no flow"
        )
