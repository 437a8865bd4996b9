from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch

from nasflow.data import Dataset, Split, assemble, checked, find
from nasflow.data.dataset import hold_out, resize
from nasflow.errors import ConfigError, DataError, NasflowWarning


def ramp(count: int = 60, classes: int = 3) -> Split:
    """Return images whose first pixel is their index, with labels in turn."""
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(count)
    return checked("ramp", images, np.arange(count) % classes)


def made(**options: object) -> Dataset:
    return assemble("ramp", ramp(), 0.2, **{"validation": 0.25, "seed": 0} | options)


def test_parts_share_no_image_and_hold_every_class_evenly() -> None:
    data = made()
    parts = [part.images[:, 0, 0, 0].tolist() for part in (data.train, data.validation, data.test)]
    assert sorted(itertools.chain.from_iterable(parts)) == list(range(60))
    for part in (data.train, data.validation, data.test):
        counts = part.labels.bincount(minlength=3)
        assert counts.min() == counts.max() == len(part) // 3
    assert [len(p) for p in (data.train, data.validation, data.test)] == [36, 12, 12]


def test_the_seed_decides_which_images_are_held_out() -> None:
    first, again, other = made(), made(), made(seed=1)
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_no_validation_is_allowed_and_empty() -> None:
    assert len(made(validation=0).validation) == 0


def test_normalised_training_images_have_mean_zero_and_deviation_one() -> None:
    images = torch.randint(0, 255, (50, 3, 6, 6), dtype=torch.uint8)
    labels = torch.arange(50) % 2
    data = assemble("noise", Split(images, labels), 0.2, validation=0.1, seed=0)
    normal = data.normalise(data.train.images)
    assert torch.allclose(normal.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(normal.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_a_pickled_data_set_is_equal_and_its_images_travel_out_of_band() -> None:
    data, buffers = made(), []
    stored = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    again = pickle.loads(
        stored, buffers=[bytes(b) for b in buffers]
    )  # read-only, as in Ray's store
    assert torch.equal(again.train.images, data.train.images)
    assert again.classes == 3
    assert len(buffers) == 6


def test_limited_draws_evenly_and_leaves_the_judges_alone() -> None:
    whole = made()
    data = whole.limited(12, seed=0)
    assert data.train.labels.bincount().tolist() == [4, 4, 4]
    assert len(data.validation) == 12
    assert torch.equal(data.statistics[0], whole.statistics[0])


def test_resizing_keeps_type_and_range() -> None:
    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    assert resize(images, (7, 5)).shape == (2, 1, 7, 5)
    assert resize(images, (7, 5)).unique().tolist() == [255]


@pytest.mark.parametrize("shape", [(5, 4, 4), (5, 4, 4, 1), (5, 1, 4, 4)])
def test_all_usual_layouts_become_channels_first(shape: tuple[int, ...]) -> None:
    assert checked("x", np.zeros(shape, np.uint8), np.arange(5)).images.shape == (5, 1, 4, 4)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((4, 4), np.uint8), np.arange(4), "expected images"),
        (np.zeros((4, 4, 4), np.int64), np.arange(4), "got int64"),
        (np.full((4, 4, 4), np.nan), np.arange(4), "NaN"),
        (np.zeros((4, 4, 4), np.uint8), np.arange(3), "expected 4 integer labels"),
        (np.zeros((4, 4, 4), np.uint8), np.ones(4), "got float64"),
        (np.zeros((4, 4, 4), np.uint8), np.arange(4) - 1, "negative"),
        (np.zeros((4, 4, 4), np.uint8), np.arange(4) * 10**9, "number the classes from 0"),
        (np.zeros((4, 8, 8, 2), np.uint8), np.arange(4), "1, 3 or 4 channels, got 8"),
    ],
)
def test_wrong_arrays_are_refused(images: np.ndarray, labels: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        checked("file.npz", images, labels)


def test_labels_that_begin_at_1_are_pointed_out() -> None:
    part = ramp()
    with pytest.warns(NasflowWarning, match=r"1 of 4 classes have no image, first 0"):
        assemble("ramp", Split(part.images, part.labels + 1), 0.2, validation=0.1, seed=0)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.validation must be at least 0 and below 1, got 1"
    ):
        made(validation=1.0)
    with pytest.raises(ConfigError, match=r"data\.validation must be a number, got 'some'"):
        made(validation="some")
    with pytest.raises(ConfigError, match=r"data\.size must be at least 1 pixel, got 0"):
        made(size=0)
    with pytest.raises(DataError, match="at least 2 classes"):
        assemble("one", ramp(classes=1), 0.2, validation=0.1, seed=0)
    with pytest.raises(DataError, match="out of range for 2 classes"):
        assemble("few", ramp(), 0.2, validation=0.1, seed=0, class_names=["a", "b"])
    with pytest.raises(DataError, match="a part would be empty"):
        hold_out("ramp", ramp(6), 0.1, seed=0)


def test_find_names_all_it_tried(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASFLOW_DATA", raising=False)
    with pytest.raises(DataError, match=r"set data.path=.*or NASFLOW_DATA"):
        find("cifar10", None, ("a.tar.gz",))
    monkeypatch.setenv("NASFLOW_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"not found: {tmp_path}/a.tar.gz"):
        find("cifar10", None, ("a.tar.gz",))
    (tmp_path / "b").touch()
    assert find("cifar10", None, ("a", "b")) == tmp_path / "b"
    assert find("cifar10", "b", ()) == tmp_path / "b"
