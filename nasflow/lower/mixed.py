"""A space as one module in which every open choice is a weighted sum over its options.

The continuous relaxation of DARTS (Liu et al., 2019, section 2.2), for any space whose decisions are
choices of operations and inputs.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from nasflow.ir.space import Space
from nasflow.lower.ways import Builder, Mix

SPREAD: Final = 1e-3
"""Deviation of the architecture parameters' start (the authors' code)."""


class Mixed(nn.Module):
    """The mixture of all networks of a space.

    ``alphas`` are the architecture parameters: one vector for each decision, tied wherever the
    decision occurs, and one matrix (inputs, options and none) for each of ``edges``.

    Raises:
        SpaceError: a decision is no choice of an operation or input of one type (a number of
            repeats, a width), named in one line.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__()
        builder = Builder(space, seed)
        results = builder.block(space._block, [], space.name)
        self.results = [builder.one(result, "the result").value for result in results]
        self.program = builder.live(self.results)
        self.inputs = builder.inputs
        self.parts = nn.ModuleList(builder.modules)
        self.edges = builder.edges
        paired = {name for group in self.edges for slot in group.slots for name in slot}
        mixed = {n for i in self.program if isinstance(i, Mix) for w, _ in i.ways for n, _ in w}
        self.decisions = [d for d in space.decisions if d.name in mixed - paired]
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
        values = dict(zip(self.inputs, inputs, strict=True))
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
        total: Any = 0.0
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
            total = total + share * values[value]
        return total
