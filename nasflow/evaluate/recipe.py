"""How a network is trained, as plain values: the optimiser, its schedule, the regularisation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from nasflow.data import Dataset
from nasflow.errors import ConfigError, nearest
from nasflow.options import check_types, read

CHOICES = {
    "optimizer": ("sgd", "adamw", "rmsprop"),
    "schedule": ("cosine", "constant", "exponential"),
    "select": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Hold everything that decides how a network is trained; conf/evaluator/train.yaml explains it.

    Times are in epochs unless a name says otherwise. Raises `ConfigError` for a value out of range.
    """

    epochs: int = 5
    batch: int = 64
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_all: bool = False
    schedule: str = "cosine"
    warmup: float = 0.5
    decay: float = 0.97
    decay_every: float = 1.0
    floor: float = 0.0
    label_smoothing: float = 0.0
    clip: float | None = 5.0
    average: float | None = None
    auxiliary: float = 0.4
    select: str = "best"
    images: int | None = None
    time_limit: float | None = None
    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """Return the recipe with these ``options``; raise `ConfigError` for an unknown one."""
        return read(cls, options, "evaluator")

    def __post_init__(self) -> None:
        check_types(self, "evaluator")
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(
                    f"evaluator.{name} must be one of {', '.join(known)}, got {value!r}"
                    f"{nearest(str(value), known)}"
                )
        for name in (
            "epochs",
            "batch",
            "images",
            "learning_rate",
            "decay_every",
            "clip",
            "time_limit",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"evaluator.{name} must be above 0, got {value}")
        for name in ("momentum", "floor", "label_smoothing", "average"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"evaluator.{name} must be at least 0 and below 1, got {value}")
        for name in ("weight_decay", "warmup", "auxiliary", "decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"evaluator.{name} must be 0 or more, got {getattr(self, name)}")

    def subset(self, data: Dataset) -> Dataset:
        """Return ``data`` with the training images that are trained on, the same in every training."""
        return data.limited(self.images, 0) if self.images else data

    def factor(self, epoch: float) -> float:
        """Return what the learning rate is multiplied by at ``epoch`` (a fraction between epochs).

        A linear warm-up from 0, then the schedule, never under ``floor``. Cosine: Loshchilov &
        Hutter, 2016, arXiv:1608.03983, without restarts.
        """
        if epoch < self.warmup:
            return epoch / self.warmup
        done = (epoch - self.warmup) / max(self.epochs - self.warmup, 1e-12)
        if self.schedule == "cosine":
            return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if self.schedule == "exponential":
            return max(self.floor, math.pow(self.decay, (epoch - self.warmup) / self.decay_every))
        return 1.0

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser over ``parameters``; vectors (norms, biases) decay if asked to.

        sgd: Nesterov momentum. rmsprop: epsilon 1e-3 and smoothing 0.9 as in MnasNet (Tan et al.,
        2018, arXiv:1807.11626).
        """
        trainable = [p for p in parameters if p.requires_grad]
        matrices = [p for p in trainable if p.ndim > 1 or self.decay_all]
        vectors = [p for p in trainable if p.ndim <= 1 and not self.decay_all]
        groups = [
            {"params": some, "weight_decay": decay}
            for some, decay in ((matrices, self.weight_decay), (vectors, 0.0))
            if some
        ]
        rate = self.learning_rate
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=True)
        if self.optimizer == "rmsprop":
            return torch.optim.RMSprop(
                groups, lr=rate, alpha=0.9, eps=1e-3, momentum=self.momentum, foreach=True
            )
        nesterov = self.momentum > 0
        return torch.optim.SGD(
            groups, lr=rate, momentum=self.momentum, nesterov=nesterov, fused=True
        )
