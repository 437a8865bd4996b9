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

from functools import lru_cache
from hashlib import blake2b
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
from nasflow.ir.rules import DIGEST, Kind, digest, label, rule
from nasflow.ir.ties import tell_apart
from nasflow.ir.types import Type

INLINED: Final = 10
"""Largest number of entries of a sub-graph that is taken apart; larger ones are hashed once."""
MOST: Final = 16
"""Most values of a sum (or product, or concatenation) that is taken as part of another one."""
LONGEST: Final = 2048
"""Bytes of a term before it is replaced by its digest."""

NOTHING: Final[Free] = frozenset()


def fingerprint(graph: Graph) -> str:
    """Return the fingerprint of a graph, 32 hexadecimal digits."""
    return form(graph).digest(NOTHING).hex()


@lru_cache(maxsize=100_000)
def _symbol(position: int, type_: Type) -> bytes:
    return label("input", position, type_)


@lru_cache(maxsize=10_000)
def _item(position: int) -> bytes:
    return label("item", position)


@lru_cache(maxsize=100_000)
def _zero(type_: Type) -> bytes:
    return label("zero", type_)


def _tuple(key: bytes, terms: list[bytes]) -> bytes:
    """Return the term of a label applied to terms; lengths make the joined bytes unambiguous."""
    joined = b"".join(terms)
    if len(joined) > DIGEST * len(terms):  # not all of them are digests
        joined = bytes([len(term) // DIGEST for term in terms]) + joined
    return blake2b(b"%b%d %b" % (key, len(terms), joined), digest_size=DIGEST).digest()


Entry = tuple[int | str, bytes, tuple[int, ...], bool, Any]
INPUT: Final[Entry] = (Kind.PLAIN, b"", (), False, None)


class Form:
    """A graph without names: entries in order, inputs first. Arguments are positions of entries.

    An entry has a kind (see :class:`nasflow.ir.rules.Kind`; a concatenation has its axis), a label,
    arguments, whether it owns weights or state, and ``more``: the condition under which a
    concatenation's order is free, or what an opaque sub-graph is and when its own orders are free.
    """

    __slots__ = (
        "chain", "conditions", "digests", "entries", "flat", "named", "own", "results", "size",
        "symbols", "uses", "zeros",
    )  # fmt: skip

    def __init__(self, inputs: tuple[Type, ...]) -> None:
        self.symbols = [_symbol(i, type_) for i, type_ in enumerate(inputs)]
        self.entries: list[Entry] = [INPUT] * len(inputs)
        self.zeros: dict[int, Type] = {}
        self.results: list[int] = []
        self.conditions: Free = NOTHING
        self.chain: tuple[tuple[bytes, bool], ...] | None = None
        self.own = False
        self.uses: list[int] = []
        self.size = 0
        self.named: list[int] = []
        self.flat: set[tuple[int, int]] = set()
        self.digests: dict[Free, bytes] = {}

    def add(
        self, kind: int | str, key: bytes, args: tuple[int, ...], own: bool, more: Any = None
    ) -> int:
        """Append an entry and return its position."""
        self.entries.append((kind, key, args, own, more))
        return len(self.entries) - 1

    def add_zero(self, type_: Type) -> int:
        """Append a value that is zero."""
        position = self.add(Kind.PLAIN, _zero(type_), (), False)
        self.zeros[position] = type_
        return position

    def finish(self, results: list[int]) -> None:
        """Set the results; find what is used how often, and what that makes of the entries."""
        self.results = results
        entries = self.entries
        count = len(self.symbols)
        uses = [0] * len(entries)
        for result in results:
            uses[result] += 1
        grouped = False
        conditions: set[tuple[int, str]] = set()
        for e in range(len(entries) - 1, count - 1, -1):
            used = uses[e]
            if used:
                kind, _, args, own, more = entries[e]
                # What holds no weights itself is as if written anew at each of its uses.
                ways = 1 if own or used == 1 else 2
                for a in args:
                    uses[a] += ways
                    if kind and entries[a][0] == kind:
                        grouped = True
                if more is not None:
                    for condition in more[1].values() if more.__class__ is tuple else (more,):
                        if condition.__class__ is frozenset:
                            conditions |= condition
        self.uses = uses
        self.conditions = frozenset(conditions)
        self.size = len(entries) - count - uses[count:].count(0)
        owning = [e for e, entry in enumerate(entries) if entry[3] and uses[e]]
        self.own = bool(owning)
        self.named = [e for e in owning if uses[e] > 1]
        self.flat = self._grouped() if grouped else set()
        self.chain = self._as_chain()

    def _grouped(self) -> set[tuple[int, int]]:
        """Return the (outer, inner) pairs of sums whose inner one is as if written in the outer."""
        counts: dict[int, int] = {}
        flat = set()
        for e, (kind, _, args, _, _) in enumerate(self.entries):
            if kind and kind != Kind.SORTED:
                count = 0
                for a in args:
                    inner = counts.get(a, MOST) if self.entries[a][0] == kind else MOST
                    count += inner if inner < MOST else 1
                    if inner < MOST:
                        flat.add((e, a))
                counts[e] = count
        return flat

    def _as_chain(self) -> tuple[tuple[bytes, bool], ...] | None:
        """Return (label, own) of a chain's last owning entry and before, and of what follows it."""
        if len(self.symbols) != 1 or self.results != [len(self.entries) - 1] or self.zeros:
            return None
        cut = 1
        for e, (kind, key, args, own, _) in enumerate(self.entries):
            if e and (kind or not key or args != (e - 1,)):
                return None
            if own:
                cut = e + 1
        labels = [entry[1] for entry in self.entries]
        parts = (b"".join(labels[1:cut]), True), (b"".join(labels[cut:]), False)
        return tuple(part for part in parts if part[0])

    def digest(self, free: Free) -> bytes:
        """Return the digest, where permutations of ``free`` (result, axis) pairs do not matter."""
        free &= self.conditions
        found = self.digests.get(free)
        if found is None:
            terms, shared = self.terms(free, {})
            mark = b"network"
            if len(set(shared)) < len(shared):
                terms, shared = tell_apart(self, free, terms)
                mark = b"marked " + b"".join(sorted(shared))
            results = [terms[result] for result in self.results]
            found = self.digests[free] = _tuple(mark, self.symbols + results)
        return found

    def terms(self, free: Free, marks: dict[int, bytes]) -> tuple[list[Any], list[bytes]]:
        """Return the terms of all entries and of the shared ones, marked ones told apart."""
        terms: list[Any] = list(self.symbols)
        append = terms.append
        uses, flat = self.uses, self.flat
        shared = dict.fromkeys(self.named, b"")
        parts_of: dict[int, list[bytes]] = {}
        for e in range(len(terms), len(uses)):
            if not uses[e]:
                append(None)
                continue
            kind, key, taken, _, more = self.entries[e]
            if kind == 0:
                if not key:
                    key = self._opaque(more, free)
                if len(taken) == 1:
                    term = terms[taken[0]] + key
                    if len(term) > LONGEST:
                        term = digest(term)
                else:
                    term = _tuple(key, [terms[a] for a in taken])
            else:
                if flat:
                    parts: list[bytes] = []
                    for a in taken:
                        if (e, a) in flat:
                            parts.extend(parts_of[a])
                        else:
                            parts.append(terms[a])
                    parts_of[e] = parts
                else:
                    parts = [terms[a] for a in taken]
                if kind.__class__ is not str or holds(more, free):
                    parts.sort()
                term = _tuple(key, parts)
            if e in shared:
                term = shared[e] = digest(b"shared" + marks.get(e, b"") + term)
            append(term)
        return terms, list(shared.values())

    def _opaque(self, more: Any, free: Free) -> bytes:
        inner, conditions = more
        holding = [pair for pair, condition in conditions.items() if holds(condition, free)]
        found: bytes = inner.digest(frozenset(holding))
        return found


# -- from a graph to its form ---------------------------------------------------------------------


def form(graph: Graph) -> Form:
    """Return the form of a graph, made once."""
    found: Form | None = graph.__dict__.get("_form")
    if found is None:
        found = Form(graph.inputs)
        results = _walk(found, graph, list(range(len(graph.inputs))), of_results)
        found.finish(results)
        graph.__dict__["_form"] = found
    return found


def _walk(target: Form, graph: Graph, values: list[int], lookup: Lookup) -> list[int]:
    """Append a graph's nodes to a form; ``values`` are the entries of its inputs."""
    sharing = shared_weights(graph)
    owners: dict[str, int] = {}
    zeros, entries = target.zeros, target.entries
    for node in graph.nodes:
        content = node.content
        args = tuple([values[value] for value in node.inputs])
        zero = bool(zeros) and any(a in zeros for a in args)
        if sharing and node.weights in sharing:
            values.extend(_shared(target, content, node.weights, args, owners))
        elif content.__class__ is Applied:
            made = content.rule or rule(content)
            kind = made.kind
            if kind == Kind.PLAIN and not zero and len(content.outputs) == 1:
                values.append(len(entries))
                entries.append((Kind.PLAIN, made.label, args, made.own, None))
            elif kind == Kind.ALIAS:
                values.append(args[0])
            elif zero or kind == Kind.ZERO:
                values.extend(_with_zeros(target, content, args, graph, len(values), lookup))
            else:
                more = None
                if kind.__class__ is str:
                    more = within(graph, len(values), kind, lookup)
                _spread(
                    target, values, len(content.outputs), kind, made.label, args, made.own, more
                )
        else:
            assert isinstance(content, Graph)
            shape = content.__dict__.get("_form") or form(content)
            if shape.chain is not None and not zero:
                for key, own in shape.chain:
                    entries.append((Kind.PLAIN, key, args, own, None))
                    args = (len(entries) - 1,)
                values.append(args[0])
                continue
            _enter(target, content, args, zero, graph, values, lookup)
    return [values[result] for result in graph.results]


def _spread(
    target: Form, values: list[int], count: int, kind: int | str, key: bytes,
    args: tuple[int, ...], own: bool, more: Any = None,
) -> None:  # fmt: skip
    """Append an entry and, where it makes several values, one for each of them."""
    entry = target.add(kind, key, args, own, more)
    if count == 1:
        values.append(entry)
    else:
        values.extend(target.add(Kind.PLAIN, _item(i), (entry,), False) for i in range(count))


def _shared(
    target: Form, content: Any, name: str, args: tuple[int, ...], owners: dict[str, int]
) -> list[int]:
    """Append a use of shared weights: the weights are an argument like any other value."""
    key = form(content).digest(NOTHING) if isinstance(content, Graph) else rule(content).label
    key = label("use", key)
    if name not in owners:
        owners[name] = target.add(Kind.PLAIN, label("weights", key), (), True)
    values: list[int] = []
    _spread(target, values, len(content.outputs), Kind.PLAIN, key, (*args, owners[name]), True)
    return values


def _with_zeros(
    target: Form, content: Applied, args: tuple[int, ...], graph: Graph, value: int, lookup: Lookup
) -> list[int]:
    """Append an operation that takes or gives zeros, as little of it as there is."""
    made = rule(content)
    zeros = [a in target.zeros for a in args]
    outputs = content.outputs
    if (
        made.kind == Kind.ZERO
        or (made.kind == Kind.PRODUCT and any(zeros))
        or (all(zeros) and (made.keeps_zero or made.kind == Kind.SUM))
    ):
        return [target.add_zero(output) for output in outputs]
    if made.kind == Kind.SUM:
        pairs = zip(args, content.inputs, zeros, strict=True)
        kept = [(a, type_) for a, type_, zero in pairs if not zero]
        if any(type_ is outputs[0] for _, type_ in kept):  # zeros do not stretch the result
            args = tuple(a for a, _ in kept)
            if len(args) == 1:
                return list(args)
    more = None
    if isinstance(made.kind, str):
        more = within(graph, value, made.kind, lookup)
    values: list[int] = []
    _spread(target, values, len(outputs), made.kind, made.label, args, made.own, more)
    return values


def _enter(
    target: Form, inner: Graph, args: tuple[int, ...], zero: bool, outer: Graph,
    values: list[int], lookup: Lookup,
) -> None:  # fmt: skip
    """Append a sub-graph entry by entry or, if it is large, as one opaque entry."""
    shape = form(inner)
    first = len(values)

    def inside(result: int, axis: str) -> Condition:
        return within(outer, first + result, axis, lookup)

    if zero:
        values.extend(_walk(target, inner, list(args), inside))
    elif shape.size <= INLINED:
        values.extend(_replay(target, shape, args, inside))
    else:
        conditions = {pair: inside(*pair) for pair in shape.conditions}
        more = (shape, conditions)
        _spread(target, values, len(inner.results), Kind.PLAIN, b"", args, shape.own, more)


def _replay(target: Form, shape: Form, args: tuple[int, ...], inside: Lookup) -> list[int]:
    """Append the entries of a form, its inputs replaced by ``args``."""
    places = list(args)
    entries = target.entries
    for kind, key, taken, own, more in shape.entries[len(args) :]:
        if more is not None:
            if more.__class__ is tuple:
                more = (more[0], {pair: through(c, inside) for pair, c in more[1].items()})
            else:
                more = through(more, inside)
        places.append(len(entries))
        entries.append((kind, key, tuple([places[a] for a in taken]), own, more))
    for e, type_ in shape.zeros.items():
        target.zeros[places[e]] = type_
    return [places[result] for result in shape.results]
