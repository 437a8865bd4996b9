"""Which part of a supernet's shared weights each child takes, found by following index sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from nasflow.errors import SpaceError
from nasflow.ir.flow import Place, Plot, Spans
from nasflow.ir.graph import REPEAT, Graph
from nasflow.ir.operation import Applied
from nasflow.ir.span import places, prefix
from nasflow.ir.types import Type
from nasflow.ir.weight import Weight
from nasflow.lower import names

TRIES: Final = 6
"""How often a child is laid out anew as later operations tell earlier ones how they read them."""
CHANNELS: Final = ("C", "D")
"""Axes of a network's input that are channels; the others count places."""


@dataclass(slots=True)
class Use:
    """One operation of a child, its sub-graphs flattened away.

    Attributes:
        path: where its weights stand in the template: what children share goes by it.
        key: where they stand in the state dict of the child's own module.
        content: the operation at its input types.
        inputs, outputs: ids of values.
        takes: for each weight, (its shared name, the spans of its axes).
    """

    path: str
    key: str
    content: Applied
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    takes: dict[str, tuple[str, Spans]]


@dataclass(slots=True)
class Laid:
    """A child laid into the supernet: its operations in order, and the ids of its results."""

    uses: list[Use] = field(default_factory=list)
    results: tuple[int, ...] = ()
    count: int = 0
    spans: list[Spans] = field(default_factory=list)
    taken: dict[str, Spans] = field(default_factory=dict)


@dataclass(slots=True)
class Shared:
    """One shared tensor: how children declare it, and the biggest size of each axis."""

    weight: Weight
    group: tuple[Weight, ...]
    shape: list[int]


class Shares:
    """What all children of a space take from one set of weights.

    ``notes`` says where entries are told apart by position in the child, because no index set can
    be followed: such a child is not the biggest network with some entries masked.
    """

    def __init__(self) -> None:
        self.plot = Plot()
        self.shared: dict[str, Shared] = {}

    @property
    def notes(self) -> dict[str, str]:
        return self.plot.notes

    def lay(self, graph: Graph) -> Laid:
        """Follow the index sets of a child from its inputs to its results."""
        plot = self.plot
        plot.hints = {}
        for _ in range(TRIES):
            known = dict(plot.hints)
            laid = Laid()
            inputs = [self._value(laid, _input(type_)) for type_ in graph.inputs]
            laid.results = tuple(self._walk(graph, "", "", inputs, laid))
            if plot.hints == known:
                break
        return laid

    def grow(self, laid: Laid) -> bool:
        """Make room for a child; return whether some weight is new or bigger than before."""
        grown = self.plot.grown
        self.plot.grown = False
        for use in laid.uses:
            for weight in use.content.weights:
                name, spans = use.takes[weight.name]
                shape = self._shape(use, weight, spans)
                shared = self.shared.get(name)
                small = shared is not None and all(
                    new <= old for new, old in zip(shape, shared.shape, strict=True)
                )
                if small:
                    continue
                if self.plot.frozen:
                    raise SpaceError(
                        f"{use.path}: this network needs {name} of {shape}, which was not found "
                        "when the supernet was made; name its point in points="
                    )
                grown = True
                if shared is None:
                    self.shared[name] = Shared(weight, use.content.weights, shape)
                else:
                    shared.shape = [max(pair) for pair in zip(shape, shared.shape, strict=True)]
        return grown

    def _shape(self, use: Use, weight: Weight, spans: Spans) -> list[int]:
        sizes = []
        for number, (axis, span) in enumerate(zip(weight.axes, spans, strict=True)):
            if axis[0].shrink == "interpolate":
                sizes.append(self.plot.rooms[f"{use.path}:{number}.0"])
            else:
                sizes.append(span.universe)
        return sizes

    def _value(self, laid: Laid, spans: Spans) -> int:
        laid.spans.append(spans)
        laid.count += 1
        return laid.count - 1

    def _walk(
        self, graph: Graph, path: str, key: str, inputs: Sequence[int], laid: Laid
    ) -> Iterator[int]:
        values = list(inputs)
        owners: dict[str, str] = {}
        attribute = names.checked if graph.kind == REPEAT else names.attribute
        lead, prior = (f"{path}/" if path else ""), (f"{key}." if key else "")
        for node in graph.nodes:
            here = owners.setdefault(node.weights, f"{lead}{node.origin or node.name}")
            there = prior + attribute(node.weights)
            taken = [values[i] for i in node.inputs]
            if isinstance(node.content, Graph):
                values.extend(self._walk(node.content, here, there, taken, laid))
            else:
                values.extend(self._apply(node.content, here, there, taken, node.taken, laid))
        return iter([values[i] for i in graph.results])

    def _apply(
        self,
        content: Applied,
        path: str,
        key: str,
        inputs: Sequence[int],
        taken: tuple[int, ...],
        laid: Laid,
    ) -> Sequence[int]:
        spans = laid.spans
        place = Place(self.plot, path, content, tuple([spans[i] for i in inputs]), taken)
        results = content.op.flow(place, *content.inputs)
        takes = {}
        for weight in content.weights:
            chosen = place.weights[weight.name]
            name = f"{path}/{weight.name or 'value'}{_copies(weight, chosen)}"
            first = laid.taken.setdefault(name, chosen)
            if not all(a.same(b) for a, b in zip(first, chosen, strict=True)):
                place.note("weights used twice, on values with different entries")
            takes[weight.name] = (name, first)
        outputs = [self._value(laid, result) for result in results]
        laid.uses.append(Use(path, key, content, tuple(inputs), tuple(outputs), takes))
        return outputs


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
    return "@" + "x".join(map(str, sizes)) if sizes else ""


def _input(type_: Type) -> Spans:
    pairs = zip(type_.axes, type_.shape, strict=True)
    return tuple(prefix(size, size) if axis in CHANNELS else places(size) for axis, size in pairs)
