"""Train with the sandwich rule where the biggest network's gradient gives way, as NASViT was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasflow.ir import Point, Space
from nasflow.options import check_share
from strategies.alphanet import AlphaNet

if TYPE_CHECKING:
    from torch import Tensor


class NASViT(AlphaNet):
    """Take out of the biggest network's gradient what opposes the sub-networks' gradient.

    Gong et al., 2022, "NASViT", section 4: where the two of a weight point in opposite directions, the
    former is projected onto the plane normal to the latter, so that small networks are not held
    back. Weight by weight, and only after the share ``after`` of the training, as in the authors' code
    (github.com/facebookresearch/NASViT: a quarter). Distillation is AlphaNet's; scaling layers
    kept once per choice belong to the space; less augmentation and regularisation to the recipe.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        after: float = 0.0,
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
        check_share("strategy.after", after)
        super().__init__(
            space,
            seed,
            low=low,
            high=high,
            clip=clip,
            children=children,
            biggest=biggest,
            zero_init=zero_init,
            cost=cost,
            budgets=budgets,
            coarse=coarse,
        )
        self.after, self.projecting = after, True

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the biggest child, the smallest, and random ones; note whether `update` projects."""
        self.projecting = step >= self.after * steps
        return super().paths(step, steps)

    def update(self, gradients: list[list[Tensor | None]]) -> list[Tensor | None]:
        """Return the mean of all paths' gradients, the first one's projected."""
        from strategies._gradients import projected, total

        if len(gradients) == 1:
            return gradients[0]
        first, others = gradients[0], total(gradients[1:])
        kept = projected(first, others) if self.projecting else first
        summed = total([kept, others])
        return [None if part is None else part / len(gradients) for part in summed]
