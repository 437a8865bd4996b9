"""Batch normalisation statistics, measured anew."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasflow.evaluate.modes import evaluating


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Replace the running statistics of every BatchNorm in ``module`` by those of ``batches``.

    ``batches``: inputs as the module takes them (normalised images (B, C, H, W)). All batches count
    the same (a cumulative mean); nothing else changes: no weights, no modes, and dropout stays off.
    Returns the number of batches seen. Needed wherever weights did not see their own statistics: a
    child cut from a supernet (Yu & Huang, 2019, arXiv:1903.05134), averaged weights.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        with evaluating(module):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean
                norm.training = True  # not .train(): children, if any, keep their mode
            for images in batches:
                module(images)
                seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return seen
