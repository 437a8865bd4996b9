"""A data set in one NumPy ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, assemble, checked, find
from nasflow.errors import DataError, nearest


def load(
    path: str,
    images: str = "images",
    labels: str = "labels",
    test_images: str | None = None,
    test_labels: str | None = None,
    size: int | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return a data set from the arrays of a ``.npz``.

    ``images``: name of the array (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or float;
    ``labels``: (N,) integers from 0. Where the file has no test arrays, the fraction ``test`` is
    held out. Objects are never unpickled. Raises `DataError`.
    """
    file = find("npz", path, ())
    arrays = _read(file, [name for name in (images, labels, test_images, test_labels) if name])
    train = checked(str(file), arrays[images], arrays[labels])
    if test_images and test_labels:
        part = checked(str(file), arrays[test_images], arrays[test_labels])
        return assemble(
            file.stem, train, part, validation=validation, seed=seed, size=size, augment=augment
        )
    return assemble(
        file.stem, train, test, validation=validation, seed=seed, size=size, augment=augment
    )


def _read(file: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(f"{file}: expected a .npz of several arrays, got a single array")
            for name in names:
                if name not in stored.files:
                    raise DataError(
                        f"{file}: no array {name!r}{nearest(name, stored.files)}; "
                        f"it holds {', '.join(stored.files)}"
                    )
            return {name: stored[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file}: truncated, or not a .npz of plain arrays: {error}") from error
