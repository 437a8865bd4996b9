from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from nasflow.data.policy import PAIRED, RANDOM, _steps, apply, policy
from nasflow.errors import ConfigError


def picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", ["autoaugment", "autoaugment_v0", "rand-m9-mstd0.5"])
def test_a_policy_changes_pictures_the_same_way_for_one_seed(name: str, mode: str) -> None:
    image, draw = picture(mode), policy(name)
    changed = [draw(image, random.Random(seed)) for seed in range(30)]
    assert all(found.size == image.size and found.mode == mode for found in changed)
    assert sum(found.tobytes() != image.tobytes() for found in changed) > 8
    assert changed[3].tobytes() == draw(image, random.Random(3)).tobytes()


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_autoaugment_has_25_pairs(name: str) -> None:
    pairs = [_steps(text) for text in PAIRED[name].strip().replace("\n", " | ").split(" | ")]
    assert len(pairs) == 25 and all(len(pair) == 2 for pair in pairs)
    assert all(0 <= chance <= 1 and 0 <= level <= 10 for pair in pairs for _, chance, level in pair)


def test_operations_do_what_their_levels_say() -> None:
    image, rng = picture(), random.Random(0)
    pixels = np.asarray(image).astype(int)

    def after(name: str, level: float) -> np.ndarray:
        return np.asarray(apply(name, level, image, rng)).astype(int)

    assert (after("invert", 5) == 255 - pixels).all()
    assert (after("solarize", 5) == np.where(pixels < 128, pixels, 255 - pixels)).all()
    assert (after("harder_solarize", 2.5) == np.where(pixels < 192, pixels, 255 - pixels)).all()
    assert (after("solarize_add", 10) == np.where(pixels < 128, pixels + 110, pixels)).all()
    assert (after("posterize", 0) == pixels & 0xF0).all()  # 4 bits, 8 at level 10
    assert (after("posterize", 10) == pixels).all()
    assert (after("harder_posterize", 5) == pixels & 0xC0).all()
    assert (after("few_bits", 5) == pixels & 0xC0).all()
    grey = np.asarray(apply("color", 0, image, rng)).astype(int)
    assert np.ptp(grey, axis=2).mean() < 0.2 * np.ptp(pixels, axis=2).mean()
    shifted = after("translate_x", 10)
    assert (shifted[:, :4] == 128).all() or (shifted[:, -4:] == 128).all()  # 0.45 of 10 pixels
    for name in RANDOM:  # level 0 leaves what higher levels change more
        if name not in ("autocontrast", "equalize", "invert"):
            assert (after(name, 0) == pixels).all() or name == "harder_posterize", name


def test_randaugment_reads_its_settings() -> None:
    image = picture()
    same = [policy("rand-n1-m0")(image, random.Random(s)).tobytes() for s in range(40)]
    assert sum(found == image.tobytes() for found in same) > 20  # only some change at level 0
    with pytest.raises(ConfigError, match="did you mean 'autoaugment'"):
        policy("autoagument")
    with pytest.raises(ConfigError, match=r"data\.augment\.policy"):
        policy("rand-m9-inc1")
