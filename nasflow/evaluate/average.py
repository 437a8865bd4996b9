"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Keep a copy of a module whose floating-point weights and statistics follow it slowly.

    ``decay``: share of the old average kept at each step; it starts lower, (1 + n) / (10 + n) after
    n steps, so that short trainings forget the random initialisation (as TensorFlow's
    ``ExponentialMovingAverage`` does). Counters are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average toward ``module`` after training step ``step`` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        pairs = list(
            zip(self.module.state_dict().values(), module.state_dict().values(), strict=True)
        )
        smooth = [(mine, new) for mine, new in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in smooth], [new for _, new in smooth], share)
        for mine, new in pairs:
            if not mine.is_floating_point():
                mine.copy_(new)
