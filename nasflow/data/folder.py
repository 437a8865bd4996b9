"""A folder of images with one sub-folder a class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, Part, assemble, checked, find
from nasflow.data.images import check_centre, decode
from nasflow.data.stream import stream as streamed
from nasflow.errors import DataError

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def load(
    path: str,
    size: int = 32,
    channels: int = 3,
    centre: float = 1.0,
    stream: bool = False,
    workers: int | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the images under ``path``, each class a sub-folder, at ``size`` x ``size`` pixels.

    With sub-folders ``train`` and ``test`` (or ``val``), these are the parts; otherwise the
    fraction ``test`` is held out. ``centre``: share of the shorter side that is kept. With ``stream``
    images are read as they are needed, by as many processes as ``workers`` says (null: one for each core but
    one), and random crops are cut from the whole image. Raises `DataError`.
    """
    check_centre(centre)
    root = find("folder", path, ())
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder with one sub-folder a class, got a file")
    tests = [root / name for name in ("test", "val") if (root / name).is_dir()]
    parted = (root / "train").is_dir() and bool(tests)
    top = root / "train" if parted else root
    names = tuple(sorted(entry.name for entry in top.iterdir() if _is_class(entry)))
    if len(names) < 2:
        raise DataError(f"{top}: expected at least 2 sub-folders, one a class, got {len(names)}")

    def read(folder: Path) -> Part:
        files, labels = _listed(folder, names)
        if stream:
            return streamed(
                [os.fsencode(file) for file in files], labels, files=True, size=size,
                channels=channels, centre=centre, workers=workers,
            )  # fmt: skip
        pixels = decode(files, lambda i: str(files[i]), channels, size, centre)
        return checked(str(folder), pixels.transpose(0, 3, 1, 2), labels)

    train = read(top)
    given = read(tests[0]) if parted else test
    return assemble(
        root.name,
        train,
        given,
        validation=validation,
        seed=seed,
        class_names=names,
        augment=augment,
    )


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _listed(top: Path, names: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    """Return the files of images, and the number of each one's class."""
    files: list[Path] = []
    labels: list[int] = []
    for entry in sorted(filter(_is_class, top.iterdir())):
        if entry.name not in names:
            raise DataError(f"{entry}: class {entry.name!r} has no training images")
        found = sorted(f for f in entry.rglob("*") if f.suffix.lower() in ENDINGS)
        if not found:
            raise DataError(f"{entry}: no images ({', '.join(sorted(ENDINGS))})")
        files += found
        labels += [names.index(entry.name)] * len(found)
    if not files:
        raise DataError(f"{top}: no images")
    return files, np.array(labels)
