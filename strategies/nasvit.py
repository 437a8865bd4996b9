"""Train with the sandwich rule where the biggest network's gradient gives way, as NASViT was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.alphanet import AlphaNet

if TYPE_CHECKING:
    from torch import Tensor


class NASViT(AlphaNet):
    """Take out of the biggest network's gradient what opposes the sub-networks' gradient.

    Gong et al., 2022, "NASViT", section 4: where the two point in opposite directions, the former is
    projected onto the plane normal to the latter, so that small networks are not held back.
    Distillation is AlphaNet's; scaling layers kept once per choice belong to the space; less
    augmentation and regularisation to the recipe.
    """

    def update(self, gradients: list[list[Tensor | None]]) -> list[Tensor | None]:
        """Return the mean of all paths' gradients, the first one's projected."""
        from strategies._gradients import projected, total

        if len(gradients) == 1:
            return gradients[0]
        others = total(gradients[1:])
        summed = total([projected(gradients[0], others), others])
        return [None if part is None else part / len(gradients) for part in summed]
