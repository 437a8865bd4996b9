"""Train the full network, then smaller and smaller parts of it: Once-for-All."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nasflow.errors import ConfigError
from nasflow.ir import Point, Space
from strategies._paths import Shrinking
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
        if not phases or len(phases) != len(children) or not 0 < full < 1:
            raise ConfigError(
                "strategy ofa: expected as many children as phases and full between 0 and 1, got "
                f"phases={list(phases)}, children={list(children)}, full={full}"
            )
        super().__init__(space, seed, cost, budgets, coarse)
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
