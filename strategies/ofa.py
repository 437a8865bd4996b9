"""Train the full network, then smaller and smaller parts of it: Once-for-All."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nasflow.errors import ConfigError, NasflowWarning, nearest
from nasflow.ir import Point, Space
from nasflow.options import check_number, check_share, check_whole
from strategies._paths import Shrinking, kind
from strategies._selection import Selecting

if TYPE_CHECKING:
    from torch import Tensor


class OFA(Selecting):
    """Shrink progressively (Cai et al., 2020, "Once-for-All", section 3.3).

    For the share ``full`` of the training only the biggest network learns. It then stays as it is and
    teaches: its parts learn from the labels and, weighed by ``distil``, from its soft labels, while
    ``phases`` open decisions one kind after the other, by the last part of their names. Phase i
    trains ``children[i]`` parts a step. Decisions in ``always`` are open from the beginning.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        phases: Sequence[str] = ("kernel", "depth", "width"),
        always: Sequence[str] = ("resolution",),
        children: Sequence[int] = (1, 2, 4),
        full: float = 0.3,
        distil: float = 1.0,
        cost: str = "macs",
        budgets: Sequence[float] | None = None,
        coarse: int = 8,
    ) -> None:
        for name, listed in (("phases", phases), ("always", always), ("children", children)):
            if not isinstance(listed, list | tuple):
                raise ConfigError(f"strategy.{name}: expected a list, got {listed!r}")
        if not len(phases) == len(children) > 0:
            raise ConfigError(
                "strategy ofa: expected as many children as phases, and at least one of both, got "
                f"phases={list(phases)}, children={list(children)}"
            )
        for count in children:
            check_whole("strategy.children", count)
        check_share("strategy.full", full)
        check_number("strategy.distil", distil, least=0)
        super().__init__(space, seed, cost, budgets, coarse)
        _mention_unknown(phases, space)
        self.shrinking = Shrinking(space, seed, phases, always, full)
        self.children, self.distil = tuple(children), distil

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the full network, or parts of it with what is open by now."""
        phase, _ = self.shrinking.phase(step, steps)
        count = 1 if phase < 0 else self.children[phase]
        return self.shrinking.draw(step, steps, count)

    def freeze(self, step: int, steps: int) -> bool:
        """Let the full network teach when the first phase begins."""
        return 0 < step == self.shrinking.begin(steps)

    def loss(
        self,
        path: int,
        logits: Tensor,
        target: Callable[[Tensor], Tensor],
        teacher: Tensor | None,
    ) -> Tensor:
        """Return the loss on the labels, and on the teacher's soft labels once there is one."""
        from strategies._distil import soft_cross_entropy

        loss = target(logits)
        if teacher is None:
            return loss
        return loss + self.distil * soft_cross_entropy(logits, teacher)


def _mention_unknown(phases: Sequence[str], space: Space) -> None:
    """Warn of phases that name no decision of the space: they open nothing."""
    kinds = {kind(decision) for decision in space.decisions if decision.searched}
    for name in phases:
        if name not in kinds:
            warnings.warn(
                f"strategy.phases: nothing that is searched in {space.name} is called {name!r}"
                f"{nearest(str(name), kinds)}; that phase opens nothing",
                NasflowWarning,
                stacklevel=3,
            )
