"""Data sets from files: each is read back as it was written, and damaged files get one line."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet as arrow

from nasflow.data import Dataset, cifar, digits, folder, idx, npz, parquet
from nasflow.errors import DataError, NasflowError

RANDOM = np.random.default_rng(0)


def one_line(error: NasflowError) -> bool:
    return "\n" not in str(error) and len(str(error)) < 400


def pixels(data: Dataset) -> set[bytes]:
    return {
        image.numpy().tobytes()
        for part in (data.train, data.validation, data.test)
        for image in part.images
    }


def test_digits_are_scikit_learns() -> None:
    data = digits.load()
    assert (data.classes, data.channels, data.size) == (10, 1, (8, 8))
    assert [len(p) for p in (data.train, data.validation, data.test)] == [1151, 287, 359]
    assert int(data.train.images.max()) == 255
    assert digits.load(size=16).size == (16, 16)


# CIFAR


def cifar_files(names: dict[str, int], key: str, meta: str, classes: int) -> dict[str, bytes]:
    files = {
        name: pickle.dumps(
            {
                b"data": RANDOM.integers(0, 256, (count, 3072), np.uint8),
                key.encode(): [i % classes for i in range(count)],
            },
            protocol=2,
        )
        for name, count in names.items()
    }
    label = key.replace("labels", "label_names").encode()
    files[meta] = pickle.dumps({label: [f"class{i}".encode() for i in range(classes)]}, protocol=2)
    return files


def cifar_folder(tmp_path: Path) -> Path:
    names = {f"data_batch_{i}": 20 for i in range(1, 6)} | {"test_batch": 20}
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    for name, content in cifar_files(names, "labels", "batches.meta", 10).items():
        (place / name).write_bytes(content)
    return place


def test_cifar10_from_folder_and_archive_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = cifar_folder(tmp_path)
    data = cifar.cifar10(str(place))
    assert (data.classes, data.channels, data.size) == (10, 3, (32, 32))
    assert data.class_names[3] == "class3"
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    stored = pickle.loads((place / "test_batch").read_bytes())
    assert torch.equal(data.test.images, torch.from_numpy(stored[b"data"].reshape(-1, 3, 32, 32)))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(place, "cifar-10-batches-py")
    monkeypatch.setenv("NASFLOW_DATA", str(tmp_path))  # the archive is found first
    assert pixels(cifar.cifar10()) == pixels(data)


def test_cifar100_reads_fine_labels(tmp_path: Path) -> None:
    place = tmp_path / "cifar-100-python"
    place.mkdir()
    for name, content in cifar_files(
        {"train": 200, "test": 100}, "fine_labels", "meta", 100
    ).items():
        (place / name).write_bytes(content)
    data = cifar.cifar100(str(tmp_path), validation=0.5)
    assert data.classes == 100
    assert data.class_names[99] == "class99"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("executed",)


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = cifar_folder(tmp_path)
    (place / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(DataError, match=r"test_batch.*asks for builtins.print"):
        cifar.cifar10(str(place))
    assert capsys.readouterr().out == ""


def break_cifar_missing(place: Path) -> None:
    (place / "data_batch_3").unlink()


def break_cifar_truncated(place: Path) -> None:
    content = (place / "data_batch_3").read_bytes()
    (place / "data_batch_3").write_bytes(content[: len(content) // 2])


def break_cifar_form(place: Path) -> None:
    (place / "data_batch_3").write_bytes(pickle.dumps({"data": [1, 2], "labels": [0]}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_cifar_missing, "holds no file 'data_batch_3'"),
        (break_cifar_truncated, "data_batch_3: truncated"),
        (break_cifar_form, r"data_batch_3: expected uint8 data \(N, 3072\)"),
    ],
)
def test_damaged_cifar_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    place = cifar_folder(tmp_path)
    damage(place)
    with pytest.raises(DataError, match=says) as caught:
        cifar.cifar10(str(place))
    assert one_line(caught.value)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(cifar_folder(tmp_path), "cifar-10-batches-py")
    short = tmp_path / "short.tar.gz"
    short.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(DataError, match="truncated, or not a tar archive"):
        cifar.cifar10(str(short))


# idx


def write_idx(path: Path, array: np.ndarray) -> None:
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist_folder(tmp_path: Path, end: str = "") -> tuple[Path, np.ndarray]:
    images = RANDOM.integers(0, 256, (40, 28, 28)).astype(np.uint8)
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{end}", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", np.arange(40, dtype=np.uint8) % 10)
    return tmp_path, images


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist_reads_plain_and_zipped_files(tmp_path: Path, end: str) -> None:
    place, images = mnist_folder(tmp_path, end)
    data = idx.fashion_mnist(str(place), validation=0.25)
    assert np.array_equal(data.test.images[:, 0].numpy(), images)
    assert (data.channels, data.size, data.class_names[9]) == (1, (28, 28), "Ankle boot")
    assert len(data.train) == 30


def test_mnist_truncated_missing_or_foreign(tmp_path: Path) -> None:
    place, _ = mnist_folder(tmp_path)
    file = place / "train-images-idx3-ubyte"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"expected 31376 bytes .* got 31375"):
        idx.mnist(str(place))
    file.write_bytes(b"hello" + content)
    with pytest.raises(DataError, match="not an idx file"):
        idx.mnist(str(place))
    file.unlink()
    with pytest.raises(DataError, match="holds no file train-images-idx3-ubyte"):
        idx.mnist(str(place))
    with pytest.raises(DataError, match="holds neither"):
        (tmp_path / "empty").mkdir()
        idx.mnist(str(tmp_path / "empty"))


def test_a_truncated_gz_is_refused(tmp_path: Path) -> None:
    place, _ = mnist_folder(tmp_path, ".gz")
    file = place / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="truncated or unreadable"):
        idx.mnist(str(place))


def test_the_real_mnist_part_is_divided(shared: Path) -> None:
    data = idx.mnist(str(shared / "small_images"))
    assert (len(data.train), len(data.validation), len(data.test)) == (7199, 801, 2000)


# npz


def test_npz_with_and_without_test_arrays(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    labels = np.arange(40) % 4
    file = tmp_path / "things.npz"
    np.savez(file, images=images, labels=labels, x=images[:8], y=labels[:8])
    data = npz.load(str(file))
    assert (data.name, data.classes, data.size, len(data.test)) == ("things", 4, (6, 6), 8)
    given = npz.load(str(file), test_images="x", test_labels="y")
    assert np.array_equal(given.test.images.numpy(), images[:8].transpose(0, 3, 1, 2))


def test_npz_damaged_wrong_or_with_objects(tmp_path: Path) -> None:
    file = tmp_path / "things.npz"
    np.savez_compressed(file, images=np.zeros((9, 6, 6), np.uint8), label=np.arange(9))
    with pytest.raises(DataError, match=r"no array 'labels' \(did you mean 'label'\?\)"):
        npz.load(str(file))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="truncated"):
        npz.load(str(file))
    np.savez(file, images=np.array([Evil()], dtype=object), labels=np.arange(1))
    with pytest.raises(DataError, match=r"not a \.npz of plain arrays"):
        npz.load(str(file))


def test_the_real_fashion_sprite(shared: Path) -> None:
    data = npz.load(str(shared / "small_images/fashion_mnist_sprite_900.npz"))
    assert data.train.labels.bincount().tolist() == [65] * 10


# folder


def picture(level: int, size: tuple[int, int] = (10, 8)) -> Image.Image:
    return Image.new("RGB", size, (level, 0, 255 - level))


def test_folder_of_images(tmp_path: Path) -> None:
    for kind, level in (("cats", 10), ("dogs", 200)):
        (tmp_path / kind).mkdir()
        for i in range(10):
            picture(level + i, (10 + i, 8)).save(tmp_path / kind / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not a class")
    data = folder.load(str(tmp_path), size=6)
    assert (data.class_names, data.channels, data.size) == (("cats", "dogs"), 3, (6, 6))
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    reds = data.train.images[:, 0].flatten(1)
    assert (reds.min(1).values == reds.max(1).values).all()
    assert torch.equal(data.train.labels == 1, reds[:, 0] > 100)
    assert folder.load(str(tmp_path), size=6, channels=1).channels == 1


def test_folder_with_its_own_parts(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3)):
        for kind in ("a", "b"):
            (tmp_path / part / kind).mkdir(parents=True)
            for i in range(count):
                picture(i).save(tmp_path / part / kind / f"{i}.jpg")
    data = folder.load(str(tmp_path))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)


def test_a_broken_picture_or_an_empty_class_is_named(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
    picture(1).save(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match=r"/b: no images"):
        folder.load(str(tmp_path))
    (tmp_path / "b" / "2.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"2\.png: not a readable image"):
        folder.load(str(tmp_path))
    with pytest.raises(DataError, match="at least 2 sub-folders"):
        folder.load(str(tmp_path / "a"))


# parquet


def encoded(level: int) -> bytes:
    stream = io.BytesIO()
    picture(level).save(stream, "png")
    return stream.getvalue()


def write_parquet(path: Path, **changes: list[object]) -> Path:
    columns: dict[str, list[object]] = {
        "jpeg": [encoded(i) for i in range(40)],
        "label": [i % 2 for i in range(40)],
        "split": ["train"] * 30 + ["test"] * 10,
    }
    arrow.write_table(pyarrow.table(columns | changes), path)
    return path


def test_parquet_of_encoded_images(tmp_path: Path) -> None:
    file = str(write_parquet(tmp_path / "x.parquet"))
    data = parquet.load(file)
    assert data.size == (8, 10)
    assert (len(data.train), len(data.validation), len(data.test)) == (26, 4, 10)
    assert data.test.images[:, 0, 0, 0].tolist() == list(range(30, 40))
    assert len(parquet.load(file, images=20).train) == 18
    assert len(parquet.load(file, split=None, test=0.5).test) == 20


def test_parquet_with_string_labels_and_image_structs(tmp_path: Path) -> None:
    images: list[object] = [{"bytes": encoded(i), "path": None} for i in range(40)]
    names: list[object] = ["cat", "ant"] * 20
    file = write_parquet(tmp_path / "x.parquet", jpeg=images, label=names)
    data = parquet.load(str(file))
    assert data.class_names == ("ant", "cat")
    assert data.test.labels.tolist() == [1, 0] * 5


def test_parquet_damaged_or_wrong(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "x.parquet", jpeg=[b"no image"] * 40)
    with pytest.raises(DataError, match="row 30: not a readable image"):
        parquet.load(str(file))
    with pytest.raises(DataError, match=r"no column 'labels' \(did you mean 'label'\?\)"):
        parquet.load(str(file), label="labels")
    with pytest.raises(DataError, match="column 'split' holds no 'training'"):
        parquet.load(str(file), train="training")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated, or not a parquet file") as caught:
        parquet.load(str(file))
    assert one_line(caught.value)
    with pytest.raises(DataError, match="not found"):
        parquet.load(str(tmp_path / "y.parquet"))


def test_the_real_cifar10_parquet(shared: Path) -> None:
    data = parquet.load(str(shared / "cifar10_jpeg/cifar10_jpeg_60000.parquet"), images=500)
    assert (data.classes, data.channels, data.size) == (10, 3, (32, 32))
    assert (len(data.train), len(data.test)) == (450, 500)
