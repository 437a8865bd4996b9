"""Random changes to images that keep their labels true: batches of tensors, and single pictures."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from nasflow.data.policy import policy
from nasflow.errors import ConfigError
from nasflow.options import check_types, read

if TYPE_CHECKING:
    from PIL.Image import Image

ERASED = (0.02, 1 / 3)  # shares of the image (Zhong et al., 2017, section 4)
ERASED_SHAPE = 10 / 3  # the largest height over width, and width over height


@dataclasses.dataclass(frozen=True)
class Augment:
    """Say how training images are changed; everything is off by default.

    Args:
        crop: pixels of zero padding before a random crop back to the old size (He et al., 2015,
            arXiv:1512.03385, use 4 on CIFAR).
        flip: mirror half of the images left to right.
        area: least share of the image that a random crop has, which is then resized, bicubically,
            to the old size (Szegedy et al., 2014, arXiv:1409.4842, use 0.08 on ImageNet); 1: off.
        jitter: by how much brightness, contrast and saturation change at most, as a share.
        policy: ``autoaugment``, ``autoaugment_v0`` or ``rand-m9-mstd0.5`` (`nasflow.data.policy`).
        erase: share of images in which a random rectangle becomes noise (Zhong et al., 2017,
            arXiv:1708.04896).
        cutout: side in pixels of a square set to the mean (DeVries & Taylor, 2017,
            arXiv:1708.04552).
        mixup: both parameters of the Beta distribution that the mixing weight is drawn from (Zhang
            et al., 2017, arXiv:1710.09412).
        cutmix: the same for the share of the image that another one's rectangle takes (Yun et al., 2019,
            arXiv:1905.04899). With both, each batch has one of the two.
        repeats: how often an image is in an epoch, each time changed anew, with fewer images
            instead (Hoffer et al., 2019, arXiv:1901.09335).
    """

    crop: int = 0
    flip: bool = False
    area: float = 1.0
    jitter: float = 0.0
    policy: str | None = None
    erase: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Augment:
        """Return the augmentation with ``options``; raise `ConfigError` for an unknown one."""
        return read(cls, options, "data.augment")

    def __post_init__(self) -> None:
        check_types(self, "data.augment")
        for name in ("crop", "cutout", "mixup", "cutmix", "jitter", "erase"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"data.augment.{name} must be 0 or more, got {getattr(self, name)}"
                )
        for name in ("erase", "jitter"):
            if getattr(self, name) > 1:
                raise ConfigError(
                    f"data.augment.{name} must be at most 1, got {getattr(self, name)}"
                )
        if not 0 < self.area <= 1:
            raise ConfigError(f"data.augment.area must be above 0, at most 1, got {self.area}")
        if self.repeats < 1:
            raise ConfigError(f"data.augment.repeats must be 1 or more, got {self.repeats}")
        if self.policy is not None:
            policy(self.policy)

    @property
    def redraws(self) -> bool:
        """Tell whether pictures are changed one by one."""
        return self.area < 1 or self.jitter > 0 or self.policy is not None

    def order(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the order (N,) of an epoch's images from a random one, with repeats."""
        return indices.repeat_interleave(self.repeats)[: len(indices)]

    def move(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return raw images (B, C, H, W) cropped, flipped and redrawn, each on its own."""
        images = self.shift(images, generator)
        if not self.redraws:
            return images
        if images.is_floating_point():
            raise ConfigError("data.augment: area, jitter and policy need images of bytes (uint8)")
        seed = draw_seed(generator)
        pictures = [
            _array(self.redraw(_picture(image), image.shape[:2], random.Random(f"{seed}/{i}")))
            for i, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy())
        ]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(images.device)

    def shift(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return raw images (B, C, H, W) randomly cropped and flipped, each on its own."""
        if self.crop:
            images = _crop(images, self.crop, generator)
        if self.flip:
            chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
            images = torch.where(chosen < 0.5, images.flip(3), images)
        return images

    def redraw(self, image: Image, size: tuple[int, int], rng: random.Random) -> Image:
        """Return a picture of ``size`` = (height, width): a part of ``image``, its colours changed."""
        if self.area < 1:
            image = random_part(image, size, self.area, rng)
        if self.jitter:
            image = _jittered(image, self.jitter, rng)
        return policy(self.policy)(image, rng) if self.policy else image

    def erase_part(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return normalised images (B, C, H, W), a random rectangle of some made noise."""
        if not self.erase:
            return images
        count, (height, width) = len(images), images.shape[2:]
        drawn = torch.rand(count, 5, generator=generator, device=images.device).tolist()
        noise = torch.empty_like(images).normal_(generator=generator)
        erased = torch.zeros(count, 1, height, width, dtype=torch.bool)
        for mask, (chance, share, shape, top, left) in zip(erased, drawn, strict=True):
            if chance < self.erase:
                area = (ERASED[0] + share * (ERASED[1] - ERASED[0])) * height * width
                ratio = math.exp((2 * shape - 1) * math.log(ERASED_SHAPE))
                rows = min(round(math.sqrt(area * ratio)), height)
                columns = min(round(math.sqrt(area / ratio)), width)
                y, x = round(top * (height - rows)), round(left * (width - columns))
                mask[:, y : y + rows, x : x + columns] = True
        return torch.where(erased.to(images.device), noise, images)

    def hide(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return normalised images (B, C, H, W), parts of them erased or set to 0 (the mean)."""
        images = self.erase_part(images, generator)
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

        Each image is blended with the one at the mirrored place of the (shuffled) batch, or has a
        rectangle of it; without mixup and cutmix the weight is 1.
        """
        if not self.mixup and not self.cutmix:
            return images, labels, 1.0
        if self.cutmix and (not self.mixup or draw.random() < 0.5):
            images, weight = _cut_in(images, draw.betavariate(self.cutmix, self.cutmix), draw)
            return images, labels.flip(0), weight
        weight = draw.betavariate(self.mixup, self.mixup)
        return torch.lerp(images.flip(0), images, weight), labels.flip(0), weight


def draw_seed(generator: torch.Generator) -> int:
    """Return a seed for other generators."""
    drawn = torch.randint(2**62, (), generator=generator, device=generator.device)
    return int(drawn)


def random_part(image: Image, size: tuple[int, int], least: float, rng: random.Random) -> Image:
    """Return a part of ``image`` of at least the share ``least``, resized to (height, width).

    Its sides are as 3 to 4 at most (Szegedy et al., 2014); where ten draws find no place in the image, the
    centre is taken.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    height, width = size
    for _ in range(10):
        area = rng.uniform(least, 1) * image.width * image.height
        ratio = math.exp(rng.uniform(-1, 1) * math.log(4 / 3))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= image.width and 0 < down <= image.height:
            left, top = rng.randint(0, image.width - across), rng.randint(0, image.height - down)
            box = (left, top, left + across, top + down)
            return image.resize((width, height), pillow.Resampling.BICUBIC, box)
    return ImageOps.fit(image, (width, height), pillow.Resampling.BICUBIC)


def _jittered(image: Image, most: float, rng: random.Random) -> Image:
    from PIL import ImageEnhance

    for kind in rng.sample(("Brightness", "Contrast", "Color"), 3):
        image = getattr(ImageEnhance, kind)(image).enhance(rng.uniform(1 - most, 1 + most))
    return image


def _picture(image: np.ndarray) -> Image:
    """Return bytes (H, W, C) as a picture."""
    from PIL import Image as pillow

    return pillow.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(picture: Image) -> np.ndarray:
    pixels = np.asarray(picture, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _cut_in(images: torch.Tensor, weight: float, draw: random.Random) -> tuple[torch.Tensor, float]:
    """Return images (B, C, H, W) with a rectangle of each other's, and the share that is left."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - weight)
    rows, columns = int(height * side), int(width * side)
    # The rectangle's centre lies in the image; its sides may reach beyond the border.
    y, x = draw.randrange(height), draw.randrange(width)
    top, bottom = max(y - rows // 2, 0), min(y - rows // 2 + rows, height)
    left, right = max(x - columns // 2, 0), min(x - columns // 2 + columns, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


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
