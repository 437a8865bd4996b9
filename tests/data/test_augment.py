from __future__ import annotations

import random

import pytest
import torch

from nasflow.data import Augment
from nasflow.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64) -> torch.Tensor:
    return torch.arange(count * 2 * 6 * 5, dtype=torch.float32).reshape(count, 2, 6, 5) + 1


def test_nothing_changes_by_default() -> None:
    plain, x = Augment(), images()
    assert torch.equal(plain.hide(plain.move(x, seeded()), seeded()), x)
    assert plain.mix(x, torch.arange(64), random.Random(0))[2] == 1.0


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    x = images()
    moved = Augment(crop=2).move(x, seeded())
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    windows = padded.unfold(2, 6, 1).unfold(3, 5, 1)  # (N, C, 5, 5, 6, 5)
    seen = set()
    for i in range(64):
        match = (windows[i] == moved[i, :, None, None]).all(dim=(0, 3, 4)).nonzero()
        assert len(match) == 1
        seen.add(tuple(match[0].tolist()))
    assert len(seen) > 15  # of 25 places


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    x = images()
    moved = Augment(flip=True).move(x, seeded())
    flipped = [torch.equal(moved[i], x[i].flip(2)) for i in range(64)]
    kept = [torch.equal(moved[i], x[i]) for i in range(64)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 16 < sum(flipped) < 48


def test_cutout_erases_a_square_in_all_channels() -> None:
    erased = Augment(cutout=3).hide(images(), seeded()) == 0
    assert torch.equal(erased[:, 0], erased[:, 1])
    counts = erased[:, 0].sum(dim=(1, 2))
    assert counts.max() == 9  # whole inside,
    assert counts.min() >= 4  # or cut by the border: the centre is inside


def test_mixup_blends_with_the_other_label() -> None:
    x, labels = images(), torch.arange(64)
    mixed, second, weight = Augment(mixup=1.0).mix(x, labels, random.Random(0))
    assert 0 < weight < 1
    assert torch.allclose(mixed, weight * x + (1 - weight) * x[second])


def test_one_seed_gives_the_same_changes_and_bytes_stay_bytes() -> None:
    changes, x = Augment(crop=2, flip=True), images().to(torch.uint8)
    assert torch.equal(changes.move(x, seeded(1)), changes.move(x, seeded(1)))
    assert not torch.equal(changes.move(x, seeded(1)), changes.move(x, seeded(2)))
    assert changes.move(x, seeded()).dtype == torch.uint8


def test_unknown_and_negative_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no option 'cutut' \(did you mean 'cutout'\?\)"):
        Augment.of({"cutut": 8})
    with pytest.raises(ConfigError, match=r"data\.augment\.flip must be true or false, got 1"):
        Augment(flip=1)
    with pytest.raises(ConfigError, match=r"data\.augment\.crop must be 0 or more, got -1"):
        Augment(crop=-1)
