"""Random changes to a batch of images that keep its labels true; torch only, on any device."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from nasflow.data.options import check_types, read
from nasflow.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Augment:
    """Say how training images are changed; everything is off by default.

    crop: pixels of zero padding before a random crop back to the old size (He et al., 2015,
    arXiv:1512.03385, use 4 on CIFAR). flip: mirror half of the images left to right. cutout: side
    in pixels of a square set to the mean (DeVries & Taylor, 2017, arXiv:1708.04552). mixup: both
    parameters of the Beta distribution that the mixing weight is drawn from (Zhang et al., 2017,
    arXiv:1710.09412).
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Augment:
        """Return the augmentation with ``options``; raise `ConfigError` for an unknown one."""
        return read(cls, options, "data.augment")

    def __post_init__(self) -> None:
        check_types(self, "data.augment")
        for name in ("crop", "cutout", "mixup"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"data.augment.{name} must be 0 or more, got {getattr(self, name)}"
                )

    def move(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return raw images (B, C, H, W) randomly cropped and flipped, each on its own."""
        if self.crop:
            images = _crop(images, self.crop, generator)
        if self.flip:
            chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
            images = torch.where(chosen < 0.5, images.flip(3), images)
        return images

    def erase(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return normalised images (B, C, H, W), a random square of each set to 0 (the mean)."""
        if not self.cutout:
            return images
        count, (height, width) = len(images), images.shape[2:]
        inside = []
        for length in (height, width):
            centre = torch.randint(length, (count, 1), generator=generator, device=images.device)
            start = centre - self.cutout // 2
            place = torch.arange(length, device=images.device)
            inside.append((place >= start) & (place < start + self.cutout))
        rows, columns = inside
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)

    def mix(
        self, images: torch.Tensor, labels: torch.Tensor, draw: random.Random
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return mixed images, the second labels, and the weight of the first ones.

        Each image is blended with the one at the mirrored place of the (shuffled) batch; without
        mixup the weight is 1.
        """
        if not self.mixup:
            return images, labels, 1.0
        weight = draw.betavariate(self.mixup, self.mixup)
        return torch.lerp(images.flip(0), images, weight), labels.flip(0), weight


def _crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    count, channels, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    return padded[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
