"""Train one path a step, or a fair round of them: SPOS, AutoFormer, FairNAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nasflow.evaluate.paths import Uniform
from nasflow.ir import Point, Space
from nasflow.options import check_option, check_whole
from strategies._paths import Fair
from strategies._selection import Selecting

SAMPLINGS = ("uniform", "fair")


class SinglePath(Selecting):
    """Let each step's children learn from the labels, without distillation.

    ``uniform`` draws one path, each decision uniformly (Guo et al., 2020, "SPOS"; Chen et al., 2021,
    "AutoFormer", whose weights are entangled as those of every supernet here are). ``fair`` takes
    ``children`` paths a step from a sequence in which all options have equal turns (Chu et al., 2021,
    "FairNAS"); null: as many as the decision of the most options has. Gradients are averaged.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        sampling: Literal["uniform", "fair"] = "uniform",
        children: int | None = None,
        cost: str = "macs",
        budgets: Sequence[float] | None = None,
        coarse: int = 8,
    ) -> None:
        check_option("strategy.sampling", sampling, SAMPLINGS)
        if children is not None:
            check_whole("strategy.children", children)
        super().__init__(space, seed, cost, budgets, coarse)
        self.fair = Fair(space, seed) if sampling == "fair" else None
        self.uniform = Uniform(space, seed)
        most = max((len(d.options) for d in space.decisions if d.searched), default=1)
        self.children = most if children is None else children

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return one random path, or the next ones of the fair sequence."""
        if self.fair is None:
            return self.uniform.paths(step, steps)
        return self.fair.paths(step * self.children, self.children)
