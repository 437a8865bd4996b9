"""Policies of image operations: AutoAugment's two for ImageNet, and RandAugment; on Pillow images.

An operation's level goes from 0 to 10. What it means is AutoAugment's (Cubuk et al., 2019a,
arXiv:1805.09501, table 6); translations are shares of the side, as the 150 of 331 pixels there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from nasflow.errors import ConfigError, nearest

if TYPE_CHECKING:
    import random

    from PIL.Image import Image

Draw = Callable[["Image", "random.Random"], "Image"]
Step = tuple[str, float, float]  # an operation, its probability, its level

# Pairs of steps, one of which is drawn for each image; a step is an operation, a probability and a level.
# Cubuk et al., 2019a, table 9.
PAPER = """
posterize 0.4 8, rotate 0.6 9 | solarize 0.6 5, autocontrast 0.6 5 | equalize 0.8 8, equalize 0.6 3
posterize 0.6 7, posterize 0.6 6 | equalize 0.4 7, solarize 0.2 4 | equalize 0.4 4, rotate 0.8 8
solarize 0.6 3, equalize 0.6 7 | posterize 0.8 5, equalize 1 2 | rotate 0.2 3, solarize 0.6 8
equalize 0.6 8, posterize 0.4 6 | rotate 0.8 8, color 0.4 0 | rotate 0.4 9, equalize 0.6 2
equalize 0 7, equalize 0.8 8 | invert 0.6 4, equalize 1 8 | color 0.6 4, contrast 1 8
rotate 0.8 8, color 1 2 | color 0.8 8, solarize 0.8 7 | sharpness 0.4 7, invert 0.6 8
shear_x 0.6 5, equalize 1 9 | color 0.4 0, equalize 0.6 3 | equalize 0.4 7, solarize 0.2 4
solarize 0.6 5, autocontrast 0.6 5 | invert 0.6 4, equalize 1 8 | color 0.6 4, contrast 1 8
equalize 0.8 8, equalize 0.6 3
"""
# That of EfficientNet's code, "v0" (github.com/tensorflow/tpu, models/official/efficientnet/autoaugment.py);
# its posterize keeps fewer bits.
V0 = """
equalize 0.8 1, shear_y 0.8 4 | color 0.4 9, equalize 0.6 3 | color 0.4 1, rotate 0.6 8
solarize 0.8 3, equalize 0.4 7 | solarize 0.4 2, solarize 0.6 2 | color 0.2 0, equalize 0.8 8
equalize 0.4 8, solarize_add 0.8 3 | shear_x 0.2 9, rotate 0.6 8 | color 0.6 1, equalize 1 2
invert 0.4 9, rotate 0.6 0 | equalize 1 9, shear_y 0.6 3 | color 0.4 7, equalize 0.6 0
few_bits 0.4 6, autocontrast 0.4 7 | solarize 0.6 8, color 0.6 9 | solarize 0.2 4, rotate 0.8 9
rotate 1 7, translate_y 0.8 9 | shear_x 0 0, solarize 0.8 4 | shear_y 0.8 0, color 0.6 4
color 1 0, rotate 0.6 2 | equalize 0.8 4, equalize 0 8 | equalize 1 4, autocontrast 0.6 2
shear_y 0.4 7, solarize_add 0.6 7 | few_bits 0.8 2, solarize 0.6 10 | solarize 0.6 8, equalize 0.6 1
color 0.8 6, rotate 0.4 5
"""
PAIRED = {"autoaugment": PAPER, "autoaugment_v0": V0}
# RandAugment's (Cubuk et al., 2019b, arXiv:1909.13719) as DeiT has them: higher levels change more.
RANDOM = (
    "autocontrast", "equalize", "invert", "rotate", "harder_posterize", "harder_solarize",
    "solarize_add", "harder_color", "harder_contrast", "harder_brightness", "harder_sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
ENHANCED = ("color", "contrast", "brightness", "sharpness")


@functools.lru_cache
def policy(name: str) -> Draw:
    """Return what changes an image: ``autoaugment``, ``autoaugment_v0``, or RandAugment.

    RandAugment is ``rand-m9-mstd0.5``: level 9, on average, with that standard deviation;
    ``rand-n1-...``: one operation instead of two. Each is applied with probability 0.5, as in
    DeiT's recipe. Raises ConfigError for another name.
    """
    if name in PAIRED:
        pairs = [_steps(text) for text in PAIRED[name].strip().replace("\n", " | ").split(" | ")]
        return functools.partial(_paired, pairs)
    found = re.fullmatch(r"rand(?:-n(\d+))?-m(\d+(?:\.\d+)?)(?:-mstd(\d+(?:\.\d+)?))?", name)
    if found is None:
        known = (*PAIRED, "rand-m9-mstd0.5")
        raise ConfigError(
            f"data.augment.policy: expected one of {', '.join(known)} (m: level, n: operations), "
            f"got {name!r}{nearest(name, known)}"
        )
    count, level, spread = found.groups()
    return functools.partial(_random, int(count or 2), float(level), float(spread or 0))


def _steps(text: str) -> list[Step]:
    words = [step.split() for step in text.split(", ")]
    return [(name, float(chance), float(level)) for name, chance, level in words]


def _paired(pairs: list[list[Step]], image: Image, rng: random.Random) -> Image:
    for name, chance, level in rng.choice(pairs):
        if rng.random() < chance:
            image = apply(name, level, image, rng)
    return image


def _random(count: int, level: float, spread: float, image: Image, rng: random.Random) -> Image:
    for name in rng.choices(RANDOM, k=count):
        if rng.random() < 0.5:
            image = apply(name, min(max(rng.gauss(level, spread), 0.0), 10.0), image, rng)
    return image


def apply(name: str, level: float, image: Image, rng: random.Random) -> Image:
    """Return an image (RGB or grey) after one operation at a level from 0 to 10."""
    from PIL import ImageEnhance, ImageOps

    share, sign = level / 10, rng.choice((-1, 1))
    kind = name.removeprefix("harder_")
    if kind in ENHANCED:
        factor = 0.1 + 1.8 * share if kind == name else max(0.1, 1 + sign * 0.9 * share)
        return getattr(ImageEnhance, kind.capitalize())(image).enhance(factor)
    if name in ("autocontrast", "equalize", "invert"):
        return getattr(ImageOps, name)(image)
    if name == "solarize":
        return ImageOps.solarize(image, int(256 * share))
    if name == "harder_solarize":
        return ImageOps.solarize(image, 256 - int(256 * share))
    if name == "solarize_add":
        more = int(110 * share)
        table = [min(255, v + more) if v < 128 else v for v in range(256)]
        return image.point(table * len(image.getbands()))
    bits = {"posterize": 4, "few_bits": 0, "harder_posterize": 4}
    if name in bits:
        kept = bits[name] + int(4 * share) * (-1 if name == "harder_posterize" else 1)
        return ImageOps.posterize(image, max(kept, 1))  # none would leave a black image
    return _moved(name, sign * share, image)


def _moved(name: str, amount: float, image: Image) -> Image:
    """Return an image rotated, sheared or translated by a signed share of the most there is."""
    from PIL import Image as pillow

    grey = 128 if image.mode == "L" else (128, 128, 128)
    if name == "rotate":
        return image.rotate(30 * amount, pillow.Resampling.BICUBIC, fillcolor=grey)
    shear, shift = 0.3 * amount, 0.45 * amount
    matrix = {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, shift * image.width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift * image.height),
    }[name]
    return image.transform(
        image.size, pillow.Transform.AFFINE, matrix, pillow.Resampling.BICUBIC, fillcolor=grey
    )
