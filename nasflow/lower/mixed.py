"""A space as one module in which every open choice is a weighted sum over its options.

The continuous relaxation of DARTS (Liu et al., 2019, section 2.2), for any space whose decisions are
choices of operations and inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from nasflow.errors import SpaceError
from nasflow.ir.expression import Decision, Scalar
from nasflow.ir.space import Point, Space
from nasflow.lower.program import Edges, Mix, Run
from nasflow.lower.relax import Builder, Unmixable
from nasflow.options import check_option

Hold = Literal["biggest", "smallest"]
HOLDS: Final = get_args(Hold)
SPREAD: Final = 1e-3
"""Deviation of the architecture parameters' start (the authors' code)."""


def unmixed(space: Space, hold: Hold = "biggest") -> tuple[Point, dict[str, str]]:
    """Return the values that decisions must be held at for the others to be mixed, and why each.

    Options can be summed where they give values of one type. A decision is held where they do not: it
    is found by walking the template, held, and the walk begins anew. Held are also those that no sum
    depends on in the end. Ordered ones have their last option then, and yes rather than no
    (``hold="smallest"``: their first, and no), others their first.

    Raises:
        ConfigError: ``hold`` is neither of the two.
        SpaceError: what cannot be summed depends on no decision that is left, or nothing is left.
    """
    check_option("hold", hold, HOLDS)
    held: Point = {}
    reasons: dict[str, str] = {}
    while True:
        builder = Builder(space, 0, held, lambda name: extreme(space.decision(name), hold))
        try:
            _, program = built(builder)
        except Unmixable as error:
            if not builder.reasons:
                raise SpaceError(str(error)) from error
        held |= {name: builder.fixed[name] for name in builder.reasons}
        reasons |= builder.reasons
        if builder.reasons:
            continue
        live = names_in(program) | in_edges(builder.edges)
        if not any(len(space.decision(name).options) > 1 for name in live):
            raise nothing(space, reasons)
        for decision in space.decisions:
            if decision.searched and decision.name not in live and decision.name not in held:
                held[decision.name] = extreme(decision, hold)
                reasons[decision.name] = "no sum in the mixture depends on it"
        return held, reasons


def extreme(decision: Decision, hold: Hold) -> Scalar:
    """Return the value that a decision is held at."""
    ordered = decision.ordered or set(decision.options) <= {False, True}
    return decision.options[-1 if ordered and hold == "biggest" else 0]


def in_edges(edges: Sequence[Edges]) -> set[str]:
    """Return the decisions of groups of edges."""
    return {name for group in edges for slot in group.slots for name in slot}


def names_in(program: Sequence[Run | Mix]) -> set[str]:
    """Return the decisions that have shares in a program."""
    return {n for i in program if isinstance(i, Mix) for w, _ in i.ways for n, _ in w}


def built(builder: Builder) -> tuple[list[int], list[Run | Mix]]:
    """Return the values that are results, and the steps that make them."""
    values = builder.block(builder.space._block, [], builder.space.name)
    results = [builder.one(result, "the result").value for result in values]
    return results, builder.live(results)


def nothing(space: Space, reasons: Mapping[str, str]) -> SpaceError:
    """Return the error of a space in which no decision has options that can be summed."""
    why = next(iter(reasons.values()), "it has no decision")
    return SpaceError(
        f"space {space.name!r} has no mixture of its networks: options of none of its decisions can be "
        f"summed ({why}); darts is for choices of operations and inputs"
    )


class Mixed(nn.Module):
    """The mixture of a space's networks.

    ``alphas`` are the architecture parameters: one vector for each decision, tied wherever the
    decision occurs, and one matrix (inputs, options and none) for each of ``edges``. Decisions whose
    options give different types, or that count repeats, are ``held`` at a value, for
    ``reasons`` (`unmixed`). ``inputs`` are types, as a graph's.

    Raises:
        ConfigError: ``hold`` is neither of the two.
        SpaceError: nothing can be mixed; in one line.
    """

    def __init__(self, space: Space, seed: int = 0, hold: Hold = "biggest") -> None:
        super().__init__()
        self.held, self.reasons = unmixed(space, hold)
        builder = Builder(space, seed, self.held)
        self.results, self.program = built(builder)
        self.inputs, self.taken = tuple(builder.types), builder.inputs
        self.parts = nn.ModuleList(builder.modules)
        self.edges = builder.edges
        mixed = names_in(self.program) - in_edges(self.edges)
        self.decisions = [d for d in space.decisions if d.name in mixed]
        generator = torch.Generator().manual_seed(seed)
        shapes = [(len(d.options),) for d in self.decisions]
        shapes += [(len(e.inputs), len(e.options) + 1) for e in self.edges]  # type: ignore[misc]
        self.alphas = nn.ParameterList(
            nn.Parameter(SPREAD * torch.randn(shape, generator=generator)) for shape in shapes
        )

    def weights(self) -> list[nn.Parameter]:
        """Return the parameters that are no architecture parameters."""
        own = {id(alpha) for alpha in self.alphas}
        return [p for p in self.parameters() if id(p) not in own]

    def shares(self) -> tuple[dict[str, list[float]], list[list[list[float]]]]:
        """Return the softmax of each decision by name, and of each of ``edges`` by input."""
        soft = [alpha.detach().softmax(-1).tolist() for alpha in self.alphas]
        count = len(self.decisions)
        return {d.name: s for d, s in zip(self.decisions, soft, strict=False)}, soft[count:]

    def forward(self, *inputs: Tensor) -> Any:
        soft = [alpha.softmax(-1) for alpha in self.alphas]
        known = {
            (d.name, repr(option)): share
            for d, shares in zip(self.decisions, soft, strict=False)
            for option, share in zip(d.options, shares, strict=True)
        }
        values = dict(zip(self.taken, inputs, strict=True))
        for step in self.program:
            if isinstance(step, Mix):
                values[step.output] = self._mix(step, values, known, soft)
                continue
            made = self.parts[step.module](*[values[i] for i in step.inputs])
            made = made if isinstance(made, tuple) else (made,)
            values.update(zip(step.outputs, made, strict=True))
        results = tuple(values[i] for i in self.results)
        return results[0] if len(results) == 1 else results

    def _mix(
        self, mix: Mix, values: dict[int, Tensor], known: dict[Any, Tensor], soft: list[Tensor]
    ) -> Tensor:
        parts: dict[int, Any] = {}  # options that have one value share it
        for when, value in mix.ways:
            if mix.edges >= 0:
                group = self.edges[mix.edges]
                table = soft[len(self.decisions) + mix.edges]
                (_, source), (_, option) = when
                share = table[group.inputs.index(source), group.options.index(option)]
            else:
                share = torch.ones((), device=values[value].device)
                for name, option in when:
                    share = share * known[name, repr(option)]
            parts[value] = parts[value] + share if value in parts else share
        total: Any = 0.0
        for value, share in parts.items():
            total = total + share * values[value]
        return total
