"""MNIST and Fashion-MNIST from idx files (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, Split, assemble, checked, find
from nasflow.errors import DataError

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FILES = {
    part: tuple(f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    for part in ("train", "t10k")
}


def mnist(
    path: str | None = None,
    size: int | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return MNIST (1x28x28, 10 classes; LeCun et al., 1998) from the folder of its four idx files.

    By default the folder is looked for under NASFLOW_DATA. Where it holds only one of the two parts
    (train or t10k), that one is divided, and ``test`` is the fraction held out as test.
    Raises `DataError`.
    """
    train, given = _parts("mnist", path, ("mnist", "MNIST/raw"))
    return assemble(
        "mnist", train, given or test, validation=validation, seed=seed, size=size, augment=augment
    )


def fashion_mnist(
    path: str | None = None,
    size: int | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return Fashion-MNIST (1x28x28, 10 classes; Xiao et al., 2017, arXiv:1708.07747).

    Files and arguments as for `mnist`. Raises `DataError`.
    """
    train, given = _parts("fashion_mnist", path, ("fashion-mnist", "FashionMNIST/raw"))
    return assemble(
        "fashion_mnist", train, given or test, validation=validation, seed=seed, size=size,
        augment=augment, class_names=FASHION,
    )  # fmt: skip


def _parts(name: str, path: str | None, standard: tuple[str, ...]) -> tuple[Split, Split | None]:
    folder = find(name, path, standard)
    if not folder.is_dir():
        raise DataError(f"{name}: expected a folder with idx files, {folder} is a file")
    found = [split for split in (_split(folder, *FILES[part]) for part in FILES) if split]
    if not found:
        raise DataError(
            f"{name}: {folder} holds neither {FILES['train'][0]} nor {FILES['t10k'][0]}"
        )
    return found[0], found[1] if len(found) == 2 else None


def _split(folder: Path, images: str, labels: str) -> Split | None:
    places = [_file(folder, name) for name in (images, labels)]
    if not any(places):
        return None
    for place, name in zip(places, (images, labels), strict=True):
        if place is None:
            raise DataError(f"{folder} holds no file {name} or {name}.gz")
    return checked(str(places[0]), *(read_idx(place) for place in places if place))


def _file(folder: Path, name: str) -> Path | None:
    # The other spelling comes from unpacking with some tools, and is as common.
    names = [n + end for n in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    # Published copies sometimes carry a prefix ("mnist-t10k-images-idx3-ubyte.gz").
    return next((p for n in names for p in sorted(folder.glob(f"*{n}"))), None)


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array of an idx file (plain or .gz); raise `DataError` if damaged."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or unreadable: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or not 1 <= content[3] <= 4:
        raise DataError(
            f"{path}: not an idx file of unsigned bytes: it starts with {content[:4]!r}"
        )
    start = 4 + 4 * content[3]
    shape = (
        tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
        if len(content) >= start
        else ()
    )
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path}: truncated or padded: expected {start + math.prod(shape)} bytes for shape "
            f"{shape}, got {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
