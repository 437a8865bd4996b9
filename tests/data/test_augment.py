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


def test_cutmix_puts_a_rectangle_of_the_other_image_in() -> None:
    x, labels = images(), torch.arange(64)
    seen = set()
    for seed in range(30):
        mixed, second, weight = Augment(cutmix=1.0).mix(x, labels, random.Random(seed))
        own = (mixed == x).all(1)
        assert torch.equal(mixed, torch.where(own[:, None], x, x[second]))
        assert float(own[0].float().mean()) == pytest.approx(weight)  # what is left of the first
        seen.add(weight)
    assert len(seen) > 6 and min(seen) < 0.5 < max(seen)


def test_with_mixup_and_cutmix_a_batch_has_one_of_the_two() -> None:
    x, both = images(), Augment(mixup=1.0, cutmix=1.0)
    mixed = [both.mix(x, torch.arange(64), random.Random(seed))[0] for seed in range(40)]
    cut = sum(bool(((found == x) | (found == x.flip(0))).all()) for found in mixed)
    assert 10 < cut < 30


def test_erasing_makes_a_rectangle_of_some_images_noise() -> None:
    x = torch.full((200, 3, 16, 16), 100.0)
    changed = (Augment(erase=0.25).hide(x, seeded()) != 100).any(1)
    shares = changed.float().mean(dim=(1, 2))
    assert 25 < int((shares > 0).sum()) < 75
    assert shares[shares > 0].min() > 0.01 and shares.max() < 0.4
    first = changed[shares > 0][0]
    rows, columns = first.any(1).nonzero(), first.any(0).nonzero()
    assert int(first.sum()) == len(rows) * len(columns)  # a full rectangle


def test_areas_policies_and_jitter_redraw_images_one_by_one() -> None:
    x = images(16).to(torch.uint8)[:, :1].expand(-1, 3, -1, -1)
    for settings in ({"area": 0.2}, {"jitter": 0.8}, {"policy": "autoaugment"}):
        moved = Augment(**settings).move(x, seeded())  # type: ignore[arg-type]
        assert moved.shape == x.shape and moved.dtype == torch.uint8
        assert not torch.equal(moved, x)
        assert torch.equal(moved, Augment(**settings).move(x, seeded()))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="images of bytes"):
        Augment(area=0.5).move(images(), seeded())


def test_repeats_show_an_image_more_often_and_fewer_images() -> None:
    order = Augment(repeats=3).order(torch.arange(7))
    assert order.tolist() == [0, 0, 0, 1, 1, 1, 2]


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
    with pytest.raises(ConfigError, match=r"data\.augment\.area must be above 0, at most 1, got 0"):
        Augment(area=0)
    with pytest.raises(ConfigError, match=r"data\.augment\.jitter must be at most 1, got 2"):
        Augment(jitter=2)
    with pytest.raises(ConfigError, match=r"data\.augment\.crop must be 0 or more, got -1"):
        Augment(crop=-1)
