"""Train one set of weights with the sandwich rule, then pick the best children at several budgets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasflow.errors import ConfigError
from nasflow.ir import Point, Space
from nasflow.options import check_type, check_whole
from strategies._paths import sandwich
from strategies._selection import Selecting

if TYPE_CHECKING:
    from torch import Tensor

    from nasflow.lower import Supernet


class Sandwich(Selecting):
    """Train the biggest child, the smallest and ``children`` random ones each step, as BigNAS does.

    The biggest learns from the labels, the others from its soft labels; only it is regularised;
    residual branches start as nothing (Yu et al., 2020, section 3.1). ``biggest`` sets decisions of
    the biggest alone that are not searched, such as ``{"dropout": 0.2}``. The selection is that of
    `Selecting`.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        children: int = 2,
        biggest: Mapping[str, Any] | None = None,
        zero_init: bool = True,
        cost: str = "macs",
        budgets: Sequence[float] | None = None,
        coarse: int = 8,
    ) -> None:
        check_whole("strategy.children", children, 0)
        check_type("strategy.zero_init", zero_init, "bool")
        if not isinstance(biggest, Mapping | None):
            raise ConfigError(
                f"strategy.biggest: expected decisions and their values, got {biggest!r}"
            )
        super().__init__(space, seed, cost, budgets, coarse)
        self.children, self.biggest, self.zero_init = children, biggest, zero_init

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the biggest child, the smallest, and random ones."""
        rng = random.Random(f"{self.seed}/{step}")
        return sandwich(self.space, rng, self.children, self.biggest)

    def loss(
        self,
        path: int,
        logits: Tensor,
        target: Callable[[Tensor], Tensor],
        teacher: Tensor | None,
    ) -> Tensor:
        """Return the biggest child's loss on the labels, others' on its soft labels."""
        from strategies._distil import soft_cross_entropy

        return target(logits) if teacher is None else soft_cross_entropy(logits, teacher)

    def regularises(self, path: int) -> bool:
        """Regularise the biggest child only."""
        return path == 0

    def initialise(self, supernet: Supernet) -> None:
        """Start residual branches as nothing."""
        from nasflow.lower.residual import zero_residual

        if self.zero_init:
            zero_residual(supernet)
