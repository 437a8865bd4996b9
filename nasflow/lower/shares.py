"""Which part of a supernet's shared weights each child takes, found by following index sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nasflow.errors import SpaceError
from nasflow.ir.flow import Place, Plot, Spans
from nasflow.ir.graph import REPEAT, Graph
from nasflow.ir.operation import Applied
from nasflow.ir.span import places, prefix
from nasflow.ir.types import Type
from nasflow.ir.weight import Weight
from nasflow.lower import names

if TYPE_CHECKING:
    from nasflow.lower.plan import Action, Plan

TRIES: Final = 6
"""How often a child is laid out anew as later operations tell earlier ones how they read them."""
CHANNELS: Final = ("C", "D")
"""Axes of a network's input that are channels; the others count places."""
MOST_KEPT: Final = 1 << 13
"""How many laid sub-graphs are remembered; eight times as many operations are."""


@dataclass(slots=True, eq=False)
class Use:
    """One operation of a child.

    Attributes:
        path: where its weights stand in the template: what children share goes by it.
        content: the operation at its input types.
        takes: for each weight, (its shared name, the spans of its axes).
        spans: of its results.
        asked: the weights whose layout it asked for, see :class:`nasflow.ir.flow.Plot`.
        fits: whether there is room for its weights.
        action: how it is run, made when first asked for.
    """

    path: str
    content: Applied
    takes: dict[str, tuple[str, Spans]]
    spans: tuple[Spans, ...]
    asked: tuple[tuple[str, int], ...] = ()
    fits: bool = False
    action: Action | None = None


@dataclass(slots=True, eq=False)
class Part:
    """One use of an operation or of a sub-graph in a segment.

    Attributes:
        attribute: what a written module calls it; uses of one name share weights.
        laid: the operation, or the sub-graph as a segment.
        inputs, outputs: ids of values: the segment's inputs first, then results in order.
    """

    attribute: str
    laid: Use | Segment
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Segment:
    """A graph laid into the supernet at one place; children with the same sub-graph share it.

    Attributes:
        graph: the graph.
        parts: its nodes in order.
        spans: of its results.
        asked: as those of its operations.
        fits: whether there is room for all its weights.
        plan: how it is run, made when first asked for.
    """

    graph: Graph
    parts: tuple[Part, ...]
    spans: tuple[Spans, ...]
    asked: tuple[tuple[str, int], ...] = ()
    fits: bool = False
    plan: Plan | None = None

    def uses(self, key: str = "") -> Iterator[tuple[str, Use]]:
        """Yield (key in the module's state dict, operation), sub-graphs entered in order."""
        for part in self.parts:
            here = f"{key}.{part.attribute}" if key else part.attribute
            if isinstance(part.laid, Segment):
                yield from part.laid.uses(here)
            else:
                yield here, part.laid

    def placed(self) -> list[Placed]:
        """Return all operations in order, sub-graphs entered, values numbered throughout."""
        found: list[Placed] = []
        count = itertools.count(len(self.graph.inputs))

        def walk(segment: Segment, key: str, inputs: Sequence[int]) -> list[int]:
            values = list(inputs)
            for part in segment.parts:
                here = f"{key}.{part.attribute}" if key else part.attribute
                taken = tuple([values[i] for i in part.inputs])
                if isinstance(part.laid, Segment):
                    values.extend(walk(part.laid, here, taken))
                else:
                    made = tuple(itertools.islice(count, len(part.outputs)))
                    found.append(Placed(here, part.laid, taken, made))
                    values.extend(made)
            return [values[i] for i in segment.graph.results]

        walk(self, "", range(len(self.graph.inputs)))
        return found

    def dead(self) -> list[tuple[int, ...]]:
        """Return for each part the values that nobody needs after it."""
        seen = set(self.graph.results)
        found = []
        for part in reversed(self.parts):
            gone = tuple([v for v in (*part.inputs, *part.outputs) if v not in seen])
            seen.update(gone)
            found.append(tuple(dict.fromkeys(gone)))
        return found[::-1]


class Placed(NamedTuple):
    """An operation of a child, its key in the state dict, and the values that it takes and makes."""

    key: str
    use: Use
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(slots=True)
class Shared:
    """One shared tensor: how children declare it, and the biggest size of each axis.

    ``kernels`` are the sizes of the axes that are mapped as they shrink, see :func:`transformed`.
    """

    weight: Weight
    group: tuple[Weight, ...]
    shape: list[int]
    kernels: set[tuple[int, ...]] = field(default_factory=set)


class Shares:
    """What all children of a space take from one set of weights.

    ``plot.notes`` says where entries are told apart by position in the child, because no index set
    can be followed: such a child is not the biggest network with some entries masked.
    """

    def __init__(self) -> None:
        self.plot = Plot()
        self.shared: dict[str, Shared] = {}
        self._graphs: dict[tuple[Any, ...], Segment] = {}
        self._operations: dict[tuple[Any, ...], Use] = {}
        self._version = 0

    def forget(self) -> None:
        """Forget the segments of earlier children."""
        self._graphs.clear()
        self._operations.clear()

    def restart(self) -> None:
        """Forget the biggest sizes, but not which layouts are followed."""
        self.plot.restart()
        self.shared.clear()

    def lay(self, graph: Graph) -> Segment:
        """Follow the index sets of a child from its inputs to its results.

        What is the same as in an earlier child, at the same place and with the same entries, is
        taken from there.
        """
        plot = self.plot
        plot.hints = {}
        for _ in range(TRIES):
            known = plot.settled = dict(plot.hints)
            if self._version != plot.version or len(self._operations) > 8 * MOST_KEPT:
                self.forget()
                self._version = plot.version
            if len(self._graphs) > MOST_KEPT:
                self._graphs.clear()
            plot.asked.clear()
            walk = _Walk(self)
            segment = walk.enter(graph, "", tuple([_input(type_) for type_ in graph.inputs]))
            if plot.hints == known:
                break
        return segment

    def grow(self, segment: Segment) -> bool:
        """Make room for a child; return whether some weight is new or bigger than before."""
        grown = self.plot.grown
        self.plot.grown = False
        return self._grow(segment) or grown

    def _grow(self, segment: Segment) -> bool:
        grown = False
        if segment.fits:
            return False
        for part in segment.parts:
            if isinstance(part.laid, Segment):
                grown = self._grow(part.laid) or grown
            elif part.laid.takes and not part.laid.fits:
                grown = self._hold(part.laid) or grown
                part.laid.fits = True
        segment.fits = True
        return grown

    def _hold(self, use: Use) -> bool:
        grown = False
        for weight in use.content.weights:
            own, spans = use.takes[weight.name]
            shape = self._shape(use, weight, spans)
            for name in _siblings(own, weight):
                grown = self._hold_one(use, weight, name, shape) or grown
        return grown

    def _hold_one(self, use: Use, weight: Weight, name: str, shape: list[int]) -> bool:
        shared = self.shared.get(name)
        small = shared is not None and all(
            new <= old for new, old in zip(shape, shared.shape, strict=True)
        )
        kernel = transformed(weight)
        small = small and shared is not None and (not kernel or kernel in shared.kernels)
        if not small and self.plot.frozen:
            mapped = f" for a {'x'.join(map(str, kernel))} kernel" if kernel else ""
            raise SpaceError(
                f"{use.path}: this network needs {name} of {shape}{mapped}, which was not found "
                "when the supernet was made; name its point in points="
            )
        if shared is None:
            self.shared[name] = Shared(weight, use.content.weights, shape, {kernel} - {()})
            return True
        shared.kernels |= {kernel} - {()}
        shared.shape = [max(pair) for pair in zip(shape, shared.shape, strict=True)]
        if not self.plot.frozen and list(weight.shape) == shared.shape:
            shared.weight, shared.group = weight, use.content.weights  # its law may list entries
        return not small

    def _shape(self, use: Use, weight: Weight, spans: Spans) -> list[int]:
        sizes = []
        for number, (axis, span) in enumerate(zip(weight.axes, spans, strict=True)):
            if axis[0].shrink == "interpolate":
                sizes.append(self.plot.rooms[f"{use.path}:{number}.0"])
            else:
                sizes.append(span.universe)
        return sizes

    # -- what is remembered -----------------------------------------------------------------------

    def key(
        self, content: Applied | Graph, path: str, spans: tuple[Spans, ...], *more: Any
    ) -> tuple[Any, ...]:
        """Return all that decides how something is laid at a place, besides the biggest sizes."""
        hints = self.plot.hints
        near = tuple(item for item in hints.items() if item[0].startswith(path)) if hints else ()
        return (content, path, spans, near, *more)

    def graph(self, key: tuple[Any, ...]) -> Segment | None:
        """Return the segment remembered under a key, once it has asked again what it asks for."""
        found = self._graphs.get(key)
        if found is not None and found.asked:
            self.plot.ask(found.asked)
        return found

    def operation(self, key: tuple[Any, ...]) -> Use | None:
        """Return the operation remembered under a key, as :meth:`graph` does."""
        found = self._operations.get(key)
        if found is not None and found.asked:
            self.plot.ask(found.asked)
        return found

    def keep_graph(self, key: tuple[Any, ...], segment: Segment) -> None:
        """Remember a segment."""
        self._graphs[key] = segment

    def keep_operation(self, key: tuple[Any, ...], use: Use) -> None:
        """Remember an operation."""
        self._operations[key] = use


class _Walk:
    """One child on its way through the supernet."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.plot = shares.plot
        self.seen: dict[str, Use | Segment] = {}  # what stands first at each path

    def enter(self, graph: Graph, path: str, inputs: tuple[Spans, ...]) -> Segment:
        """Lay a graph at a path, its inputs' spans given."""
        again = path in self.seen
        key = self.shares.key(graph, path, inputs)
        if path and not again:
            found = self.shares.graph(key)
            if found is not None:
                self.seen[path] = found
                return found
        elif again:
            self._enter_again(path)
        plot = self.plot
        asked, news = len(plot.asked), plot.news
        segment = self._walk(graph, path, inputs)
        segment.asked = tuple(dict.fromkeys(plot.asked[asked:]))
        if not again:
            self.seen[path] = segment
            if path and plot.news == news:  # else it is about to be laid differently
                self.shares.keep_graph(key, segment)
        return segment

    def _enter_again(self, path: str) -> None:
        """Make known what a segment holds that may come from an earlier child."""
        first = self.seen[path]
        assert isinstance(first, Segment)
        attribute = _attribute(first.graph)
        lead = f"{path}/" if path else ""
        owners: dict[str, str] = {}
        for node, part in zip(first.graph.nodes, first.parts, strict=True):
            here = owners.setdefault(attribute(node.weights), lead + (node.origin or node.name))
            self.seen.setdefault(here, part.laid)

    def _walk(self, graph: Graph, path: str, inputs: tuple[Spans, ...]) -> Segment:
        values = list(inputs)
        owners: dict[str, str] = {}
        attribute = _attribute(graph)
        lead = f"{path}/" if path else ""
        parts = []
        for node in graph.nodes:
            here = owners.setdefault(node.weights, lead + (node.origin or node.name))
            taken = tuple([values[i] for i in node.inputs])
            laid: Use | Segment
            if isinstance(node.content, Graph):
                laid = self.enter(node.content, here, taken)
            else:
                laid = self._apply(node.content, here, taken, node.taken)
            outputs = tuple(range(len(values), len(values) + len(laid.spans)))
            values.extend(laid.spans)
            parts.append(Part(attribute(node.weights), laid, node.inputs, outputs))
        return Segment(graph, tuple(parts), tuple([values[i] for i in graph.results]))

    def _apply(
        self, content: Applied, path: str, inputs: tuple[Spans, ...], taken: tuple[int, ...]
    ) -> Use:
        first = self.seen.get(path)
        key = self.shares.key(content, path, inputs, taken)
        if first is None:
            found = self.shares.operation(key)
            if found is not None:
                self.seen[path] = found
                return found
        plot = self.plot
        asked, news = len(plot.asked), plot.news
        place = Place(plot, path, content, inputs, taken)
        results = content.op.flow(place, *content.inputs)
        takes = {}
        for weight in content.weights:
            chosen = place.weights[weight.name]
            name = f"{path}/{weight.name or 'value'}{_copies(weight, chosen)}"
            if isinstance(first, Use):
                known, spans = first.takes.get(weight.name, ("", chosen))
                if known == name:
                    if not all(a.same(b) for a, b in zip(spans, chosen, strict=True)):
                        place.note("weights used twice, on values with different entries")
                    chosen = spans
            takes[weight.name] = (name, chosen)
        use = Use(path, content, takes, results, tuple(dict.fromkeys(plot.asked[asked:])))
        if first is None:
            self.seen[path] = use
            if plot.news == news:
                self.shares.keep_operation(key, use)
        return use


def _attribute(graph: Graph) -> Any:
    return names.checked if graph.kind == REPEAT else names.attribute


def _copies(weight: Weight, spans: Spans) -> str:
    """Return what sets apart the copies of a weight that is kept once per size.

    It is where its axis says so, and where it has an entry for each place of a map (a linear layer
    on a flattened one): places at one resolution are not those at another.
    """
    sizes: list[int] = []
    for axis, span in zip(weight.axes, spans, strict=True):
        if axis[0].shrink == "copy" or (span.loose and axis[0].source):
            sizes.append(len(span))
        elif axis[0].source:
            sizes.extend(span.sized)
    apart = "@" + "x".join(map(str, sizes)) if sizes else ""
    return apart if weight.copy is None else f"{apart}#{weight.copy[0]}"


def _siblings(name: str, weight: Weight) -> list[str]:
    """Return the names of all copies of a weight that a supernet keeps several of."""
    if weight.copy is None:
        return [name]
    return [f"{name.rpartition('#')[0]}#{i}" for i in range(weight.copy[1])]


def transformed(weight: Weight) -> tuple[int, ...]:
    """Return the sizes of the axes of a weight that are mapped together as they shrink."""
    return tuple([axis[0].size for axis in weight.axes if axis[0].shrink == "transform"])


def _input(type_: Type) -> Spans:
    pairs = zip(type_.axes, type_.shape, strict=True)
    return tuple(prefix(size, size) if axis in CHANNELS else places(size) for axis, size in pairs)
