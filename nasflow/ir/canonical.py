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

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from nasflow.ir.graph import Graph
from nasflow.ir.operation import Applied
from nasflow.ir.rules import Kind, digest, label, permuted, rule
from nasflow.ir.types import Type

INLINED: Final = 10
"""Largest number of entries of a sub-graph that is taken apart; larger ones are hashed once."""
MOST: Final = 16
"""Most values of a sum (or product, or concatenation) that is taken as part of another one."""
LONGEST: Final = 2048
"""Bytes of a term before it is replaced by its digest."""
WORK: Final = 50_000
"""Entries that may be visited to tell equal shared entries apart; then any order is taken."""

Condition = bool | frozenset[tuple[int, str]]
"""When the order of a concatenation is free: always, never, or where later weights absorb a
permutation of these (result, axis) pairs of the graph."""
Free = frozenset[tuple[int, str]]
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
    lengths = bytes([len(term) // 16 for term in terms])
    return digest(b"%b%d %b%b" % (key, len(terms), lengths, b"".join(terms)))


class Form:
    """A graph without names: entries in order, inputs first. Arguments are positions of entries.

    An entry has a kind (see :class:`nasflow.ir.rules.Kind`; a concatenation has its axis), a label,
    arguments, whether it owns weights or state, and ``more``: the condition under which a
    concatenation's order is free, or what an opaque sub-graph is and when its own orders are free.
    """

    __slots__ = (
        "args", "chain", "conditions", "digests", "flat", "kinds", "labels", "more", "named", "own",
        "results", "size", "symbols", "uses", "zeros",
    )  # fmt: skip

    def __init__(self, inputs: tuple[Type, ...]) -> None:
        self.symbols = [_symbol(i, type_) for i, type_ in enumerate(inputs)]
        count = len(inputs)
        self.kinds: list[int | str] = [Kind.PLAIN] * count
        self.labels: list[bytes] = [b""] * count
        self.args: list[tuple[int, ...]] = [()] * count
        self.own: list[bool] = [False] * count
        self.more: list[Any] = [None] * count
        self.zeros: dict[int, Type] = {}
        self.results: list[int] = []
        self.conditions: Free = NOTHING
        self.chain: tuple[tuple[bytes, bool], ...] | None = None
        self.uses: list[int] = []
        self.size = 0
        self.named: list[int] = []
        self.flat: set[tuple[int, int]] = set()
        self.digests: dict[Free, bytes] = {}

    def add(
        self, kind: int | str, key: bytes, args: tuple[int, ...], own: bool, more: Any = None
    ) -> int:
        """Append an entry and return its position."""
        self.kinds.append(kind)
        self.labels.append(key)
        self.args.append(args)
        self.own.append(own)
        self.more.append(more)
        return len(self.kinds) - 1

    def add_zero(self, type_: Type) -> int:
        """Append a value that is zero."""
        position = self.add(Kind.PLAIN, _zero(type_), (), False)
        self.zeros[position] = type_
        return position

    def finish(self, results: list[int]) -> None:
        """Set the results; find what is used how often, and what that makes of the entries."""
        self.results = results
        kinds, own, args = self.kinds, self.own, self.args
        uses = [0] * len(kinds)
        for result in results:
            uses[result] += 1
        grouped = False
        for e in range(len(kinds) - 1, len(self.symbols) - 1, -1):
            used = uses[e]
            if used:
                # What holds no weights itself is as if written anew at each of its uses.
                ways = 1 if own[e] or used == 1 else 2
                kind = kinds[e]
                for a in args[e]:
                    uses[a] += ways
                    if kind and kinds[a] == kind:
                        grouped = True
        self.uses = uses
        self.flat = self._grouped() if grouped else set()
        self.size = sum(map(bool, uses)) - sum(map(bool, uses[: len(self.symbols)]))
        self.named = [e for e, used in enumerate(uses) if used > 1 and own[e]]
        conditions: set[tuple[int, str]] = set()
        for more in self.more:
            if more is not None:
                for condition in more[1].values() if more.__class__ is tuple else (more,):
                    if condition.__class__ is frozenset:
                        conditions |= condition
        self.conditions = frozenset(conditions)
        self.chain = self._as_chain()

    def _grouped(self) -> set[tuple[int, int]]:
        """Return the (outer, inner) pairs of sums whose inner one is as if written in the outer."""
        counts: dict[int, int] = {}
        flat = set()
        for e in range(len(self.symbols), len(self.kinds)):
            kind = self.kinds[e]
            if kind and kind != Kind.SORTED:
                count = 0
                for a in self.args[e]:
                    inner = counts.get(a, MOST) if self.kinds[a] == kind else MOST
                    count += inner if inner < MOST else 1
                    if inner < MOST:
                        flat.add((e, a))
                counts[e] = count
        return flat

    def _as_chain(self) -> tuple[tuple[bytes, bool], ...] | None:
        """Return (label, own) of a chain's last owning entry and before, and of what follows it."""
        if len(self.symbols) != 1 or len(self.results) != 1 or self.zeros:
            return None
        last = len(self.kinds) - 1
        if self.results[0] != last or any(more is not None for more in self.more):
            return None
        if any(args != (e,) for e, args in enumerate(self.args[1:])) or any(self.kinds):
            return None
        cut = max((e + 1 for e, own in enumerate(self.own) if own), default=1)
        parts = (b"".join(self.labels[1:cut]), True), (b"".join(self.labels[cut:]), False)
        return tuple(part for part in parts if part[0])

    def digest(self, free: Free) -> bytes:
        """Return the digest, where permutations of ``free`` (result, axis) pairs do not matter."""
        free &= self.conditions
        found = self.digests.get(free)
        if found is None:
            results, shared = self.terms(free, {})
            mark = b"network"
            if len(set(shared)) < len(shared):
                results, shared = self._tell_apart(free)
                mark = b"marked " + b"".join(sorted(shared))
            found = self.digests[free] = _tuple(mark, self.symbols + results)
        return found

    def terms(self, free: Free, marks: dict[int, bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return the terms of the results and of the shared entries, marked ones told apart."""
        terms: list[Any] = list(self.symbols)
        labels, args, uses, flat = self.labels, self.args, self.uses, self.flat
        shared = dict.fromkeys(self.named, b"")
        parts_of: dict[int, list[bytes]] = {}
        for e in range(len(terms), len(labels)):
            if not uses[e]:
                terms.append(None)
                continue
            kind, taken = self.kinds[e], args[e]
            if kind == 0:
                key = labels[e] or self._opaque(e, free)
                if len(taken) == 1:
                    term = terms[taken[0]] + key
                    if len(term) > LONGEST:
                        term = digest(term)
                else:
                    term = _tuple(key, [terms[a] for a in taken])
            else:
                parts: list[bytes] = []
                for a in taken:
                    if flat and (e, a) in flat:
                        parts.extend(parts_of[a])
                    else:
                        parts.append(terms[a])
                if kind.__class__ is int or kind.__class__ is Kind or _holds(self.more[e], free):
                    parts.sort()
                if flat:
                    parts_of[e] = parts
                term = _tuple(labels[e], parts)
            if e in shared:
                term = shared[e] = digest(b"shared" + marks.get(e, b"") + term)
            terms.append(term)
        return [terms[result] for result in self.results], list(shared.values())

    def _opaque(self, e: int, free: Free) -> bytes:
        inner, conditions = self.more[e]
        holding = [pair for pair, condition in conditions.items() if _holds(condition, free)]
        found: bytes = inner.digest(frozenset(holding))
        return found

    def _tell_apart(self, free: Free) -> tuple[list[bytes], list[bytes]]:
        """Mark shared entries of equal terms one by one, each time the one that gives least.

        Where equal ones are alike (an automorphism maps one to the other), any choice gives the
        same terms in the end, so that equal networks agree.
        """
        marks: dict[int, bytes] = {}
        work = 0
        while True:
            results, shared = self.terms(free, marks)
            classes: dict[bytes, list[int]] = {}
            for e, term in zip(self.named, shared, strict=True):
                classes.setdefault(term, []).append(e)
            tied = min(
                ((len(c), term, c) for term, c in classes.items() if len(c) > 1), default=None
            )
            if tied is None:
                return results, shared
            mark = b"%16d" % len(marks)
            work += len(tied[2]) * len(self.kinds)
            chosen = tied[2][0]
            if work <= WORK:
                chosen = min(tied[2], key=lambda e: self._outcome(free, {**marks, e: mark}))
            marks[chosen] = mark

    def _outcome(self, free: Free, marks: dict[int, bytes]) -> tuple[list[bytes], list[bytes]]:
        results, shared = self.terms(free, marks)
        return results, sorted(shared)


def _holds(condition: Condition | None, free: Free) -> bool:
    if condition.__class__ is bool or condition is None:
        return bool(condition)
    return condition <= free  # type: ignore[operator]  # a frozenset


# -- from a graph to its form ---------------------------------------------------------------------

Lookup = Callable[[int, str], Condition]
"""When a permutation of a result along an axis is absorbed, seen from the form being built."""


def form(graph: Graph) -> Form:
    """Return the form of a graph, made once."""
    found: Form | None = graph.__dict__.get("_form")
    if found is None:
        found = Form(graph.inputs)
        results = _walk(found, graph, list(range(len(graph.inputs))), _of_results)
        found.finish(results)
        graph.__dict__["_form"] = found
    return found


def _of_results(result: int, axis: str) -> Condition:
    return frozenset([(result, axis)])


def _walk(target: Form, graph: Graph, values: list[int], lookup: Lookup) -> list[int]:
    """Append a graph's nodes to a form; ``values`` are the entries of its inputs."""
    sharing = _shared_weights(graph)
    owners: dict[str, int] = {}
    zeros = target.zeros
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
                values.append(target.add(Kind.PLAIN, made.label, args, made.own))
            elif kind == Kind.ALIAS:
                values.append(args[0])
            elif zero or kind == Kind.ZERO:
                values.extend(_with_zeros(target, content, args, graph, len(values), lookup))
            else:
                more = None
                if kind.__class__ is str:
                    more = _within(graph, len(values), kind, lookup)
                _spread(target, values, len(content.outputs), kind, made.label, args, made.own, more)
        else:
            assert isinstance(content, Graph)
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


def _shared_weights(graph: Graph) -> frozenset[str]:
    """Return the names under which several nodes share weights."""
    if all(node.weights == node.name for node in graph.nodes):
        return frozenset()
    names = [node.weights for node in graph.nodes]
    return frozenset(name for name in names if names.count(name) > 1)


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
        more = _within(graph, value, made.kind, lookup)
    values: list[int] = []
    _spread(target, values, len(outputs), made.kind, made.label, args, made.own, more)
    return values


def _enter(
    target: Form, inner: Graph, args: tuple[int, ...], zero: bool, outer: Graph,
    values: list[int], lookup: Lookup,
) -> None:  # fmt: skip
    """Append a sub-graph: as a chain, entry by entry, or, if it is large, as one opaque entry."""
    shape = form(inner)
    if shape.chain is not None and not zero:
        entry = args[0]
        for key, own in shape.chain:
            entry = target.add(Kind.PLAIN, key, (entry,), own)
        values.append(entry)
        return
    first = len(values)

    def inside(result: int, axis: str) -> Condition:
        return _within(outer, first + result, axis, lookup)

    if zero:
        values.extend(_walk(target, inner, list(args), inside))
    elif shape.size <= INLINED:
        values.extend(_replay(target, shape, args, inside))
    else:
        conditions = {pair: inside(*pair) for pair in shape.conditions}
        more = (shape, conditions)
        _spread(target, values, len(inner.results), Kind.PLAIN, b"", args, any(shape.own), more)


def _replay(target: Form, shape: Form, args: tuple[int, ...], inside: Lookup) -> list[int]:
    """Append the entries of a form, its inputs replaced by ``args``."""
    places = list(args)
    for e in range(len(shape.symbols), len(shape.kinds)):
        more = shape.more[e]
        if more is not None:
            if more.__class__ is tuple:
                more = (more[0], {pair: _through(c, inside) for pair, c in more[1].items()})
            else:
                more = _through(more, inside)
        taken = tuple([places[a] for a in shape.args[e]])
        places.append(target.add(shape.kinds[e], shape.labels[e], taken, shape.own[e], more))
        if e in shape.zeros:
            target.zeros[places[-1]] = shape.zeros[e]
    return [places[result] for result in shape.results]


# -- permutations that later weights absorb -------------------------------------------------------


def _within(graph: Graph, value: int, axis: str, lookup: Lookup) -> Condition:
    """Return when a permutation of a value is absorbed, seen from the form being built."""
    return _through(absorbed(graph, value, axis), lookup)


def _through(condition: Condition, lookup: Lookup) -> Condition:
    if condition.__class__ is bool:
        return condition
    return _all(lookup(result, axis) for result, axis in condition)  # type: ignore[union-attr]


def _all(conditions: Any) -> Condition:
    """Return when all of the conditions hold."""
    pairs: set[tuple[int, str]] = set()
    for condition in conditions:
        if condition is False:
            return False
        if condition is not True:
            pairs |= condition
    return frozenset(pairs) if pairs else True


def absorbed(graph: Graph, value: int, axis: str) -> Condition:
    """Return when permuting a value along an axis changes nothing that later weights cannot undo.

    Every use must lead, through operations that keep the permutation, to weights used only there,
    or to a result of the graph; those results are the condition.
    """
    memo: dict[tuple[int, str], Condition] | None = graph.__dict__.get("_absorbed")
    if memo is None:
        memo = graph.__dict__["_absorbed"] = {}
    found = memo.get((value, axis))
    if found is None:
        found = memo[value, axis] = _fate(graph, value, axis)
    return found


def _fate(graph: Graph, value: int, axis: str) -> Condition:
    pairs = {(i, axis) for i, result in enumerate(graph.results) if result == value}
    for content, position, first in _users(graph).get(value, ()):
        if content is None:
            return False
        if isinstance(content, Graph):
            inner = absorbed(content, position, axis)
            onward = tuple(inner) if isinstance(inner, frozenset) else () if inner else None
        else:
            onward = permuted(content, axis)
        if onward is None:
            return False
        for i, onward_axis in onward:
            condition = absorbed(graph, first + i, onward_axis)
            if condition is False:
                return False
            if condition is not True:
                pairs |= condition
    return frozenset(pairs) if pairs else True


def _users(graph: Graph) -> dict[int, list[tuple[Any, int, int]]]:
    """Return (content, which input, id of the first result) of each use of each value.

    The content is None where the weights are used elsewhere too: those absorb nothing.
    """
    users: dict[int, list[tuple[Any, int, int]]] | None = graph.__dict__.get("_users")
    if users is None:
        users = graph.__dict__["_users"] = {}
        sharing = _shared_weights(graph)
        first = len(graph.inputs)
        for node in graph.nodes:
            content = None if sharing and node.weights in sharing else node.content
            for position, value in enumerate(node.inputs):
                users.setdefault(value, []).append((content, position, first))
            first += len(node.content.outputs)
    return users
