"""How a segment of a child is run: made once, used by all children that share the segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasflow.ir.weight import Weight
from nasflow.lower.cut import Cut, Steps, cut
from nasflow.lower.inside import Leaf
from nasflow.lower.ready import KEPT, OPEN, PLAIN, VALUE, WEIGHTED, Mould, ready
from nasflow.lower.shares import Segment, Shared, Use, transformed

INNER, NORM = 5, 6
"""Kinds of steps beside those of nasflow.lower.ready: an inner segment; a batch norm of a child's
own, which is KEPT, on a short way while it trains."""
NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Pulled = tuple[str, Tensor, "Cut | None"]
"""A weight's name, the shared tensor, and how it is cut; None for all of it."""
State = list[Any]
"""What a child keeps for a segment: its modules, and such a list for each inner segment."""
PlanStep = tuple[int, Any, Any, int, "Pull", tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Kind; function or inner plan; expression around it; where the state holds its module; its
weights; ids of the values that it takes, makes, and that nobody needs then."""


class Action(NamedTuple):
    """How an operation is run at its place: its kind, what runs it, what is around that, its weights."""

    kind: int
    run: Any
    around: Any
    pulled: list[Pulled]


class Pull:
    """The weights of one operation: a leaf for each, and what is still to be done to some windows."""

    __slots__ = ("leaves", "names", "pulled", "shaped")

    def __init__(self, pulled: Sequence[Pulled] = ()) -> None:
        self.pulled = pulled
        self.names = tuple([name for name, _, _ in pulled])
        self.leaves = [Leaf(shared, cut) for _, shared, cut in pulled]
        self.shaped = [
            (i, cut, [Leaf(matrix) for _, matrix in cut.steps])
            for i, (_, _, cut) in enumerate(pulled)
            if cut is not None and not cut.plain
        ]

    def weights(self) -> list[Tensor]:
        """Return the weights; while a child is traced as slices that autograd follows."""
        if torch.compiler.is_compiling():
            return [shared if cut is None else cut(shared) for _, shared, cut in self.pulled]
        found = [leaf.tensor for leaf in self.leaves]
        for i, part, matrices in self.shaped:
            found[i] = part.shaped(found[i], [matrix.tensor for matrix in matrices])
        return found

    def all_leaves(self) -> Iterator[Leaf]:
        """Yield the leaves of the weights, and of the matrices that map them."""
        yield from self.leaves
        for _, _, matrices in self.shaped:
            yield from matrices


NOTHING: Final = Pull()


@dataclass(slots=True, eq=False)
class Plan:
    """A segment, ready to run on shared weights.

    Attributes:
        segment: the segment.
        like: a tensor of the precision and on the device of all.
        count: number of values.
        results: ids of those given.
        steps: in order.
        kept: for each slot of the state, (attribute, mould of a module, or inner plan).
        entries, mould: see nasflow.lower.assemble; made when first asked for.
    """

    segment: Segment
    like: Tensor
    count: int
    results: tuple[int, ...]
    steps: list[PlanStep] = field(default_factory=list)
    kept: list[tuple[str, Mould | Plan]] = field(default_factory=list)
    entries: Any = None
    mould: Any = None

    def run(self, child: nn.Module, state: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Return the results of a child's segment."""
        values = [*inputs, *[None] * (self.count - len(inputs))]
        del inputs
        for kind, run, around, slot, pull, inward, made, dead in self.steps:
            taken = [values[i] for i in inward]
            if kind == PLAIN:
                result = run(*taken)
            elif kind == INNER:
                result = run.run(child, state[slot] if slot >= 0 else (), taken)
                if len(made) == 1:
                    (result,) = result
            elif kind == WEIGHTED:
                result = run(*taken, *pull.weights())
            elif kind == VALUE:
                (result,) = pull.weights()
            elif kind == OPEN:
                own = pull.weights()
                result = around(child, lambda x, run=run, own=own: run(x, *own), *taken)
            else:
                module = state[slot]
                if kind == NORM and module.training and _is_plain(module):
                    result = _normed(module, taken[0], pull.weights())
                else:
                    for name, weight in zip(pull.names, pull.weights(), strict=True):
                        module._parameters[name] = weight
                    result = module(*taken) if around is None else around(child, module, *taken)
                    for name in pull.names:  # the graph that made them is not kept alive
                        module._parameters[name] = None
            del taken
            if len(made) == 1:
                values[made[0]] = result
            else:
                for i, part in zip(made, result, strict=True):
                    values[i] = part
            del result
            for i in dead:
                values[i] = None
        return [values[i] for i in self.results]


def _is_plain(norm: Any) -> bool:
    """Whether a batch norm takes a moving mean, and nobody watches it."""
    return norm.momentum is not None and not (
        norm._forward_hooks
        or norm._forward_pre_hooks
        or norm._backward_hooks
        or norm._backward_pre_hooks
    )


def _normed(norm: Any, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return what a batch norm in training does, in half of the time that its module takes to start."""
    own = norm._buffers
    own["num_batches_tracked"].add_(1)
    weight, bias = weights or (None, None)
    mean, variance = own["running_mean"], own["running_var"]
    return F.batch_norm(x, mean, variance, weight, bias, True, norm.momentum, norm.eps)


class Planner:
    """Make the plans of a supernet's segments.

    Args:
        shared: how the shared weights are declared.
        stored: the shared weights.
        maps: for kernels that are mapped, the matrix of each smaller size, biggest first.
    """

    def __init__(
        self,
        shared: Mapping[str, Shared],
        stored: Mapping[str, Tensor],
        maps: Mapping[str, Mapping[tuple[int, ...], Tensor]],
    ) -> None:
        self.shared = shared
        self.stored = stored
        self.maps = maps
        self.like = next(iter(stored.values()), torch.empty(0))

    def plan(self, segment: Segment) -> Plan:
        """Return the plan of a segment, made once."""
        if segment.plan is None:
            segment.plan = self._plan(segment)
        return segment.plan

    def _plan(self, segment: Segment) -> Plan:
        graph = segment.graph
        plan = Plan(segment, self.like, len(graph.types), graph.results)
        slots: dict[str, int] = {}
        dead = segment.dead()
        for part, gone in zip(segment.parts, dead, strict=True):
            laid, attribute = part.laid, part.attribute
            ends = (part.inputs, part.outputs, gone)
            slot = slots.get(attribute, -1)
            if isinstance(laid, Segment):
                inner = self.plan(laid)
                if slot < 0 and inner.kept:
                    slot = slots[attribute] = len(plan.kept)
                    plan.kept.append((attribute, inner))
                plan.steps.append((INNER, inner, None, slot, NOTHING, *ends))
                continue
            kind, run, around, pulled = self.action(laid)
            if kind in (KEPT, NORM) and slot < 0:
                slot = slots[attribute] = len(plan.kept)
                plan.kept.append((attribute, run))
            plan.steps.append((kind, run, around, slot, Pull(pulled), *ends))
        return plan

    def action(self, use: Use) -> Action:
        """Return how an operation is run, made once."""
        if use.action is None:
            use.action = self._action(use)
        return use.action

    def _action(self, use: Use) -> Action:
        made = ready(use.content)
        kind, run = made.kind, made.run
        if isinstance(run, nn.Module):
            run = made.mould(self.like)
            if kind == PLAIN:  # it has nothing that children set
                run = run().forward
            elif kind != KEPT:
                run = run()
            elif run.cls in NORMS and made.around is None:
                kind = NORM
        pulled = []
        for weight in use.content.weights:
            if weight.trainable or not weight.name:  # others are statistics: a child's own
                name, spans = use.takes[weight.name]
                tensor = self.stored[name]
                steps = self._steps(name, weight)
                part = cut(weight, spans, self.shared[name].shape, tensor.device, steps)
                pulled.append((weight.name, tensor, part))
        return Action(kind, run, made.around, pulled)

    def _steps(self, name: str, weight: Weight) -> Steps:
        """Return the maps on the way from a shared kernel to a child's."""
        maps = self.maps.get(name)
        if not maps:
            return ()
        least = transformed(weight)
        return tuple([(kernel, matrix) for kernel, matrix in maps.items() if kernel >= least])


def leaves(plan: Plan) -> Iterator[Leaf]:
    """Yield the leaves of all weights of a plan."""
    for kind, run, _, _, pull, *_ in plan.steps:
        if kind == INNER:
            yield from leaves(run)
        else:
            yield from pull.all_leaves()


def fresh(plan: Plan, modules: dict[str, Any], key: str = "") -> State:
    """Return what a child keeps for a plan, its modules entered in ``modules`` by their keys."""
    state: State = []
    for attribute, pattern in plan.kept:
        here = f"{key}.{attribute}" if key else attribute
        if isinstance(pattern, Plan):
            state.append(fresh(pattern, modules, here))
        else:
            made = modules[here] = pattern()
            state.append(made)
    return state
