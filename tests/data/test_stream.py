"""Images decoded batch by batch are those that lie in memory otherwise."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from nasflow.data import Augment, Dataset, folder
from nasflow.data import parquet as tables
from nasflow.data.stream import Stream
from nasflow.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 3 classes of 10 pictures in different sizes."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label in range(3):
        (root / f"c{label}").mkdir()
        for number in range(10):
            small = rng.integers(0, 256, (4, 5, 3), np.uint8)
            picture = Image.fromarray(small).resize((20 + number, 18 + label))
            picture.save(root / f"c{label}" / f"{number}.png")
    return root


def both(images: Path, **settings: object) -> tuple[Dataset, Dataset]:
    settings = {"size": 16, "validation": 0.2, "seed": 3, **settings}
    path = str(images)
    return folder.load(path, **settings), folder.load(path, stream=True, workers=0, **settings)  # type: ignore[arg-type]


def test_a_stream_has_the_images_of_a_loaded_set(images: Path) -> None:
    loaded, streamed = both(images, centre=0.8)
    assert streamed.class_names == loaded.class_names and streamed.size == (16, 16)
    for part in ("train", "validation", "test"):
        first, second = getattr(loaded, part), getattr(streamed, part)
        assert isinstance(second, Stream) and len(first) == len(second)
        assert torch.equal(first.images, second.loaded().images)
        assert torch.equal(first.labels, second.labels)
    for mine, own in zip(streamed.statistics, loaded.statistics, strict=True):
        assert torch.allclose(mine, own)
    assert streamed.prepared((8, 8), torch.device("cpu")).train.shape == (3, 8, 8)
    assert len(streamed.limited(9, 0).train) == 9


def test_batches_are_redrawn_from_whole_images_by_seed(images: Path) -> None:
    train = both(images)[1].train
    chosen = [torch.tensor([4, 2, 4]), torch.tensor([7])]
    augment = Augment(area=0.3, policy="rand-m9-mstd0.5", flip=True)

    def batches(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [part.images for part in train.batches(chosen, augment, generator)]

    first, again, other = batches(0), batches(0), batches(1)
    assert [part.shape for part in first] == [(3, 3, 16, 16), (1, 3, 16, 16)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0][0], first[0][2])  # one image, drawn anew in each place
    plain = next(iter(train.batches(chosen, Augment(), torch.Generator())))
    assert torch.equal(plain.images, train.take(chosen[0]).loaded().images)
    assert torch.equal(plain.labels, train.labels[chosen[0]])


def test_worker_processes_decode_the_same(images: Path) -> None:
    train = both(images)[1].train
    assert isinstance(train, Stream)
    import dataclasses

    many = pickle.loads(pickle.dumps(dataclasses.replace(train, workers=2)))
    assert torch.equal(many.loaded().images, train.loaded().images)


def test_encoded_images_of_a_parquet_file_are_streamed(tmp_path: Path) -> None:
    rows = []
    for value in range(20):
        stream = io.BytesIO()
        Image.new("RGB", (9, 7), (value * 10, 0, 0)).save(stream, "png")
        rows.append(stream.getvalue())
    table = pyarrow.table({"jpeg": rows, "label": [i % 2 for i in range(20)]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    settings = {"split": None, "size": 6, "validation": 0.0, "channels": 1}
    loaded = tables.load(str(tmp_path / "rows.parquet"), **settings)  # type: ignore[arg-type]
    streamed = tables.load(str(tmp_path / "rows.parquet"), stream=True, workers=0, **settings)  # type: ignore[arg-type]
    assert torch.equal(streamed.train.loaded().images, loaded.train.loaded().images)


def test_a_damaged_image_is_one_line_and_so_are_wrong_settings(
    images: Path, tmp_path: Path
) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(5):
            (tmp_path / label / f"{number}.jpg").write_bytes(b"no image")
    broken = folder.load(str(tmp_path), size=8, stream=True, workers=0, validation=0.0)
    with pytest.raises(DataError, match=r"\.jpg: not a readable image") as caught:
        broken.train.loaded()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"data\.workers"):
        folder.load(str(images), stream=True, workers=-1)
    with pytest.raises(ConfigError, match=r"data\.centre"):
        folder.load(str(images), centre=0.0)
