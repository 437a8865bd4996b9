"""A parquet file with one encoded image (JPEG, PNG, ...) a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, Part, assemble, checked, find
from nasflow.data.images import check_centre, decode
from nasflow.data.stream import stream as streamed
from nasflow.errors import ConfigError, DataError, nearest
from nasflow.options import check_type


def load(
    path: str,
    image: str = "jpeg",
    label: str = "label",
    split: str | None = "split",
    train: str = "train",
    held: str = "test",
    images: int | None = None,
    size: int | None = None,
    channels: int = 3,
    centre: float = 1.0,
    stream: bool = False,
    workers: int | None = None,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the images of a parquet file.

    ``image``, ``label``, ``split`` name its columns: bytes (or a struct with a field ``bytes``),
    integers or strings, and strings of which ``train`` and ``held`` name the two parts. Without a
    ``split`` column (null) the fraction ``test`` is held out. ``images`` reads only so many rows of
    each part (spread evenly). ``centre``, ``stream`` and ``workers`` as in `nasflow.data.folder`;
    streamed images stay in memory as they are encoded. Raises `DataError`.
    """
    check_centre(centre)
    check_type("data.images", images, "int | None")
    if images is not None and images < 1:
        raise ConfigError(f"data.images must be at least 1, got {images}")
    file = find("parquet", path, ())
    rows = _read(file, [column for column in (image, label, split) if column])
    labels, names = _labels(file, rows[label])
    encoded = [v.get("bytes") if isinstance(v, dict) else v for v in rows[image]]

    def part(chosen: np.ndarray) -> Part:
        if images is not None and images < len(chosen):
            chosen = chosen[np.linspace(0, len(chosen) - 1, images).round().astype(int)]
        if stream:
            return streamed(
                [_bytes(encoded[i], f"{file}: row {i}") for i in chosen], labels[chosen],
                files=False, size=size, channels=channels, centre=centre, workers=workers,
            )  # fmt: skip
        pixels = decode(
            [encoded[i] for i in chosen], lambda i: f"{file}: row {chosen[i]}", channels, size,
            centre,
        )  # fmt: skip
        return checked(str(file), pixels.transpose(0, 3, 1, 2), labels[chosen])

    given: Part | float = test
    chosen = np.arange(len(labels))
    if split:
        marks = np.array(rows[split], dtype=object)
        for name in (train, held):
            if not (marks == name).any():
                raise DataError(f"{file}: column {split!r} holds no {name!r}")
        chosen, given = (marks == train).nonzero()[0], part((marks == held).nonzero()[0])
    return assemble(
        file.stem, part(chosen), given, validation=validation, seed=seed, class_names=names,
        augment=augment,
    )  # fmt: skip


def _bytes(value: Any, where: str) -> bytes:
    if not isinstance(value, bytes):
        raise DataError(f"{where}: expected an encoded image, got {type(value).__name__}")
    return value


def _read(file: Path, columns: list[str]) -> dict[str, list[Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        stored = parquet.ParquetFile(file)
        present = stored.schema_arrow.names
        for column in columns:
            if column not in present:
                raise DataError(
                    f"{file}: no column {column!r}{nearest(column, present)}; "
                    f"it holds {', '.join(present)}"
                )
        table = stored.read(columns)
        return {name: table[name].to_pylist() for name in columns}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: truncated, or not a parquet file: {str(error).splitlines()[0]}"
        ) from error


def _labels(file: Path, values: list[Any]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if not values:
        raise DataError(f"{file}: it holds no rows")
    if all(isinstance(value, str) for value in values):
        names = tuple(sorted(set(values)))
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[value] for value in values]), names
    if not all(isinstance(value, int) for value in values):
        raise DataError(f"{file}: labels must be all integers or all strings")
    return np.array(values), None
