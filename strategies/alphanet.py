"""Train with the sandwich rule and an adaptive alpha-divergence, as AlphaNet was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasflow.ir import Space
from nasflow.options import check_number
from strategies.sandwich import Sandwich

if TYPE_CHECKING:
    from torch import Tensor


class AlphaNet(Sandwich):
    """Let children learn from the biggest by the larger of two clipped alpha-divergences.

    Wang et al., 2021, "AlphaNet", section 4: ``low`` and ``high`` are the alphas, ``clip`` the bound
    on importance weights. All else is the sandwich rule's.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        low: float = -1.0,
        high: float = 1.0,
        clip: float = 5.0,
        children: int = 2,
        biggest: Mapping[str, Any] | None = None,
        zero_init: bool = True,
        cost: str = "macs",
        budgets: Sequence[float] | None = None,
        coarse: int = 8,
    ) -> None:
        for name, value in (("low", low), ("high", high)):
            check_number(f"strategy.{name}", value)
        check_number("strategy.clip", clip, above=0)
        super().__init__(
            space,
            seed,
            children=children,
            biggest=biggest,
            zero_init=zero_init,
            cost=cost,
            budgets=budgets,
            coarse=coarse,
        )
        self.low, self.high, self.clip = low, high, clip

    def loss(
        self,
        path: int,
        logits: Tensor,
        target: Callable[[Tensor], Tensor],
        teacher: Tensor | None,
    ) -> Tensor:
        """Return the biggest child's loss on the labels, others' divergence from it."""
        from strategies._distil import adaptive

        if teacher is None:
            return target(logits)
        return adaptive(logits, teacher, self.low, self.high, self.clip)
