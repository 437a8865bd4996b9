"""Fingerprints: two graphs with one fingerprint compute the same function, weights shared alike.

Recognised as equal: networks that differ in names, in the order of nodes, in the order of what is
added, multiplied or otherwise commutes, in how sums, products and concatenations are grouped, in
operations that do nothing, in values added that are zero, in how chains are cut into blocks, and in
the order of a concatenation that all later weights absorb.

**How.** A graph becomes a :class:`Form`: a list of entries without names, small sub-graphs inlined.
Every entry gets a *term*, bytes that determine what it computes from the inputs. Two convolutions
with equal inputs and attributes are two sets of weights and one used twice is another network, so a
plain hash of terms would be unsound. An entry that owns weights (or state, or randomness) and is
reached along two ways or more is therefore marked as shared in its term: where no two shared entries
have equal terms, each shared term stands for one entry, every other term for a fresh one, and the
terms determine the network up to isomorphism. Where some are equal, they are told apart one by one.

Missed merges: equal networks whose large sub-graphs (more than INLINED entries) are cut differently,
and ties that are hard to break. Wrong merges need a collision of 128-bit digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from nasflow.ir.absorb import (
    Condition,
    Free,
    Lookup,
    holds,
    of_results,
    shared_weights,
    through,
    within,
)
from nasflow.ir.graph import Graph
from nasflow.ir.operation import Applied
from nasflow.ir.rules import Kind, Piece, Rule, digest, items, label, piece, rule
from nasflow.ir.shape import INPUT, Entry, Shape
from nasflow.ir.ties import tell_apart
from nasflow.ir.types import Type

INLINED: Final = 10
"""Largest number of entries of a sub-graph that is taken apart; larger ones are hashed once."""
LONGEST: Final = 240
"""Most bytes of a term that is not replaced by its digest; a byte has its length."""
RECURRING: Final = 12
"""Most nodes of a graph whose shape is likely to recur."""
SHAPES: Final = 2_000
"""Shapes of such graphs that are remembered."""
LATEST: Final = 4
"""Shapes of larger graphs that are remembered: what recurs there is a cell at its other widths."""

NOTHING: Final[Free] = frozenset()


def fingerprint(graph: Graph) -> str:
    """Return the fingerprint of a graph, 32 hexadecimal digits."""
    return form(graph).digest(NOTHING).hex()


@lru_cache(maxsize=100_000)
def _symbol(position: int, type_: Type) -> bytes:
    return label("input", position, type_)


@lru_cache(maxsize=100_000)
def _zero(type_: Type) -> bytes:
    return label("zero", type_)


def _tuple(key: bytes, terms: list[bytes]) -> bytes:
    """Return the term of a label applied to terms; lengths make the joined bytes unambiguous."""
    return digest(b"%b%d %b%b" % (key, len(terms), bytes(map(len, terms)), b"".join(terms)))


class Form:
    """A graph without names: a shape and the labels of its entries (for an opaque one, its form)."""

    __slots__ = ("digests", "keys", "shape", "symbols")

    def __init__(self, shape: Shape, keys: Sequence[Any], inputs: tuple[Type, ...]) -> None:
        self.shape = shape
        self.keys = keys
        self.symbols = [_symbol(i, type_) for i, type_ in enumerate(inputs)]
        self.digests: dict[Free, bytes] = {}

    def piece(self, outline: Shape | None) -> Piece:
        """Return what it is in a form around it; ``outline`` is its shape where that is remembered.

        Of a chain its last entry with weights and those before are one entry, what follows another.
        """
        shape, keys = self.shape, self.keys
        if shape.chain is not None:
            first, rest = b"".join(keys[: shape.chain]), b"".join(keys[shape.chain :])
            links = (first, Kind.PLAIN, True), (rest, Kind.PLAIN, False)
            chain = [link for link in links if link[0]]
            return [link[0] for link in chain], outline, chain
        if shape.size <= INLINED:
            return keys, outline, None
        return [self, *items(len(shape.results))], outline, None

    def digest(self, free: Free) -> bytes:
        """Return the digest, where permutations of ``free`` (result, axis) pairs do not matter."""
        free &= self.shape.conditions
        found = self.digests.get(free)
        if found is None:
            terms, shared = self.terms(free, {})
            mark = b"network"
            if len(set(shared)) < len(shared):
                terms, shared = tell_apart(self, free, terms)
                mark = b"marked " + b"".join(sorted(shared))
            results = [terms[result] for result in self.shape.results]
            found = self.digests[free] = _tuple(mark, self.symbols + results)
        return found

    def terms(self, free: Free, marks: dict[int, bytes]) -> tuple[list[Any], list[bytes]]:
        """Return the terms of all entries and of the shared ones, marked ones told apart."""
        terms: list[Any] = list(self.symbols)
        shared: list[bytes] = []
        append, at = terms.append, terms.__getitem__
        shape, first = self.shape, self.shape.inputs
        spelled = shape.spelled
        for (kind, taken, own, more), used, key in zip(
            shape.entries[first:], shape.uses[first:], self.keys, strict=True
        ):
            if not used:
                append(None)
                continue
            if kind:
                if spelled:
                    taken = shape.taken(len(terms))
                ordered = kind.__class__ is str and not holds(more, free)
                parts = map(at, taken)
                term = _tuple(key, [*parts] if ordered else sorted(parts))
            else:
                if more is not None:
                    key = key.digest(frozenset([pair for pair, when in more if holds(when, free)]))
                if len(taken) == 1:
                    term = terms[taken[0]] + key
                    if len(term) > LONGEST:
                        term = digest(term)
                else:
                    term = _tuple(key, [*map(at, taken)])
            if own and used > 1:
                term = digest(b"shared" + marks.get(len(terms), b"") + term)
                shared.append(term)
            append(term)
        return terms, shared


# -- from a graph to its form ---------------------------------------------------------------------


def form(graph: Graph) -> Form:
    """Return the form of a graph, made once; its shape is made once for all graphs that have it."""
    found: Form | None = graph.form
    if found is None:
        inner = _wrapped(graph)
        if inner is not None:
            found, graph.piece, graph.moves = form(inner), inner.piece, inner.moves
        else:
            found, outline = _form(graph)
            graph.piece = found.piece(outline)
        graph.form = found
    return found


def _wrapped(graph: Graph) -> Graph | None:
    """Return the sub-graph that a graph is nothing but a use of, such as a stage of one cell."""
    if len(graph.nodes) != 1:
        return None
    _, content, inputs, _, _, _ = graph.nodes[0]
    if inputs + graph.results != tuple(range(len(graph.types))):
        return None
    return content if isinstance(content, Graph) else None


def _piece(content: Applied | Graph) -> Piece:
    """Return what the content of a node is in the form of its graph."""
    if isinstance(content, Applied):
        return piece(content)
    form(content)
    found: Piece = content.piece
    return found


def _form(graph: Graph) -> tuple[Form, Shape | None]:
    """Return a graph's form and, where it is likely to recur, its shape."""
    outlines: list[Any] = [len(graph.inputs), graph.results]
    keys: list[Any] = []
    known = not shared_weights(graph)
    for _, content, inputs, _, _, _ in graph.nodes:
        labels, outline, _ = content.piece or _piece(content)
        if outline is None:
            known = False
        outlines.append(inputs)
        outlines.append(outline)
        keys += labels
    if not known:
        draft = _Draft(graph)
        return Form(draft.shape, draft.keys, graph.inputs), None
    key = tuple(outlines)
    small = len(graph.nodes) <= RECURRING
    shapes, most = (_shapes, SHAPES) if small else (_latest, LATEST)
    shape = shapes.get(key)
    if shape is None:
        if len(shapes) == most:
            del shapes[next(iter(shapes))]
        shape = shapes[key] = _Draft(graph).shape
    graph.moves, graph.absorbed = shape.absorption
    return Form(shape, keys, graph.inputs), shape if small else None


_shapes: Final[dict[tuple[Any, ...], Shape]] = {}
_latest: Final[dict[tuple[Any, ...], Shape]] = {}


class _Draft:
    """Append the entries of a graph, with their labels."""

    def __init__(self, graph: Graph) -> None:
        self.entries: list[Entry] = [INPUT] * len(graph.inputs)
        self.keys: list[Any] = []
        self.zeros: set[int] = set()
        results = self.walk(graph, list(range(len(graph.inputs))), of_results)
        absorption = graph.moves, graph.absorbed
        self.shape = Shape(len(graph.inputs), self.entries, results, self.zeros, absorption)

    def add(
        self, kind: int | str, key: Any, args: tuple[int, ...], own: bool, more: Any = None
    ) -> int:
        """Append an entry and return its position."""
        self.entries.append((kind, args, own, more))
        self.keys.append(key)
        return len(self.entries) - 1

    def walk(self, graph: Graph, values: list[int], lookup: Lookup) -> list[int]:
        """Append a graph's nodes; ``values`` are the entries of its inputs."""
        sharing = shared_weights(graph)
        owners: dict[str, int] = {}
        zeros, entries, keys, at = self.zeros, self.entries, self.keys, values.__getitem__
        for _, content, inputs, weights, _, _ in graph.nodes:
            _, _, chain = content.piece or _piece(content)
            args = (values[inputs[0]],) if len(inputs) == 1 else tuple(map(at, inputs))
            zero = bool(zeros) and not zeros.isdisjoint(args)
            if sharing and weights in sharing:
                values.extend(self._shared(content, weights, args, owners))
            elif chain is None or (zero and chain):
                values.extend(self._add(content, args, zero, graph, len(values), lookup))
            else:
                for key, kind, own in chain:
                    keys.append(key)
                    entries.append((kind, args, own, None))
                    args = (len(entries) - 1,)
                values.append(args[0])
        return [values[result] for result in graph.results]

    def _add(
        self, content: Applied | Graph, args: tuple[int, ...], zero: bool, graph: Graph, value: int,
        lookup: Lookup,
    ) -> list[int]:  # fmt: skip
        """Append what is no chain, or takes zeros; ``value`` is its first result in its graph."""
        if isinstance(content, Graph):
            return self._enter(content, args, zero, graph, value, lookup)
        made = rule(content)
        if zero or made.kind == Kind.ZERO:
            return self._with_zeros(content, args, graph, value, lookup)
        return self._as_it_is(made, args, graph, value, lookup)

    def _as_it_is(
        self, made: Rule, args: tuple[int, ...], graph: Graph, value: int, lookup: Lookup
    ) -> list[int]:
        more = within(graph, value, made.kind, lookup) if isinstance(made.kind, str) else None
        return self._spread(made.kind, made.labels, args, made.own, more)

    def _spread(
        self, kind: int | str, labels: Sequence[Any], args: tuple[int, ...], own: bool,
        more: Any = None,
    ) -> list[int]:  # fmt: skip
        """Append an entry and, where it makes several values, one for each of them."""
        entry = self.add(kind, labels[0], args, own, more)
        if len(labels) == 1:
            return [entry]
        return [self.add(Kind.PLAIN, item, (entry,), False) for item in labels[1:]]

    def _shared(
        self, content: Any, name: str, args: tuple[int, ...], owners: dict[str, int]
    ) -> list[int]:
        """Append a use of shared weights: the weights are an argument like any other value."""
        key = form(content).digest(NOTHING) if isinstance(content, Graph) else rule(content).label
        key = label("use", key)
        if name not in owners:
            owners[name] = self.add(Kind.PLAIN, label("weights", key), (), True)
        labels = [key, *items(len(content.outputs))]
        return self._spread(Kind.PLAIN, labels, (*args, owners[name]), True)

    def _zero(self, type_: Type) -> int:
        position = self.add(Kind.PLAIN, _zero(type_), (), False)
        self.zeros.add(position)
        return position

    def _with_zeros(
        self, content: Applied, args: tuple[int, ...], graph: Graph, value: int, lookup: Lookup
    ) -> list[int]:
        """Append an operation that takes or gives zeros, as little of it as there is."""
        made = rule(content)
        zeros = [a in self.zeros for a in args]
        outputs = content.outputs
        if (
            made.kind == Kind.ZERO
            or (made.kind == Kind.PRODUCT and any(zeros))
            or (all(zeros) and (made.keeps_zero or made.kind == Kind.SUM))
        ):
            return [self._zero(output) for output in outputs]
        if made.kind == Kind.SUM:
            pairs = zip(args, content.inputs, zeros, strict=True)
            kept = [(a, type_) for a, type_, zero in pairs if not zero]
            if any(type_ is outputs[0] for _, type_ in kept):  # zeros do not stretch the result
                args = tuple(a for a, _ in kept)
                if len(args) == 1:
                    return list(args)
        return self._as_it_is(made, args, graph, value, lookup)

    def _enter(
        self, inner: Graph, args: tuple[int, ...], zero: bool, outer: Graph, first: int,
        lookup: Lookup,
    ) -> list[int]:  # fmt: skip
        """Append a sub-graph entry by entry or, if it is large, as one opaque entry."""
        made = form(inner)
        shape = made.shape

        def inside(result: int, axis: str) -> Condition:
            return within(outer, first + result, axis, lookup)

        if zero:
            return self.walk(inner, list(args), inside)
        if shape.size <= INLINED:
            return self._replay(made, args, inside)
        conditions = tuple([(pair, inside(*pair)) for pair in shape.conditions])
        return self._spread(Kind.PLAIN, inner.piece[0], args, shape.own, conditions)

    def _replay(self, made: Form, args: tuple[int, ...], inside: Lookup) -> list[int]:
        """Append the entries of a form, its inputs replaced by ``args``."""
        places = list(args)
        entries, at = self.entries, places.__getitem__
        for kind, taken, own, more in made.shape.entries[len(args) :]:
            if more is not None:
                if more.__class__ is tuple:
                    more = tuple([(pair, through(when, inside)) for pair, when in more])
                else:
                    more = through(more, inside)
            places.append(len(entries))
            entries.append((kind, tuple(map(at, taken)), own, more))
        self.keys += made.keys
        self.zeros.update([places[e] for e in made.shape.zeros])
        return [places[result] for result in made.shape.results]
