"""Losses by which a child learns from a teacher's logits; all logits are (B, classes)."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean cross-entropy against the teacher's probabilities (Hinton et al., 2015)."""
    return -(teacher.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def alpha_divergence(logits: Tensor, teacher: Tensor, alpha: float, clip: float) -> Tensor:
    """Return the alpha-divergence of each sample, (B,), of the teacher's p from the child's q.

    D = sum q ((p / q)^alpha - 1) / (alpha (alpha - 1)), in the limit KL(p, q) at 1 and KL(q, p) at 0
    (Wang et al., 2021, "AlphaNet", equation 4). Importance weights (p / q)^alpha are clipped at
    ``clip``, in the value and in the gradient -1 / alpha sum q (p / q)^alpha grad log q alike
    (equation 7).
    """
    log_q = logits.log_softmax(1)
    q, log_ratio = log_q.detach().exp(), (teacher.log_softmax(1) - log_q).detach()
    if alpha == 0:
        weight = -log_ratio
        value = q * weight
    else:
        ratio = (alpha * log_ratio).exp().clamp_max(clip)
        weight = -ratio / alpha
        gain = ratio * ratio.log() if alpha == 1 else (ratio - 1) / (alpha * (alpha - 1))
        value = q * gain
    pull = (q * weight * log_q).sum(1)
    return value.sum(1) + pull - pull.detach()


def adaptive(logits: Tensor, teacher: Tensor, low: float, high: float, clip: float) -> Tensor:
    """Return the mean over samples of the larger of two clipped alpha-divergences.

    ``low`` punishes a child that is too unsure, ``high`` one that is too sure (AlphaNet, equation 6).
    """
    first = alpha_divergence(logits, teacher, low, clip)
    second = alpha_divergence(logits, teacher, high, clip)
    return torch.where(first.detach() > second.detach(), first, second).mean()
