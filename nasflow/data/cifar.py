"""CIFAR-10 and CIFAR-100 from their python archives (A. Krizhevsky, 2009) or extracted batches."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, Split, assemble, checked, find
from nasflow.errors import DataError

TRAIN_10 = tuple(f"data_batch_{i}" for i in range(1, 6))


def cifar10(
    path: str | None = None,
    size: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return CIFAR-10 (3x32x32, 10 classes) from ``cifar-10-python.tar.gz`` or its folder.

    ``path`` is that archive, the extracted ``cifar-10-batches-py``, or a folder holding either; by
    default they are looked for under NASFLOW_DATA. Raises `DataError`.
    """
    batches = _Batches("cifar10", path, ("cifar-10-python.tar.gz", "cifar-10-batches-py"))
    train, test = batches.split(TRAIN_10, b"labels"), batches.split(("test_batch",), b"labels")
    return assemble(
        "cifar10", train, test, validation=validation, seed=seed, size=size, augment=augment,
        class_names=batches.names("batches.meta", b"label_names"),
    )  # fmt: skip


def cifar100(
    path: str | None = None,
    size: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return CIFAR-100 (3x32x32, 100 fine classes) from ``cifar-100-python.tar.gz`` or its folder.

    ``path`` as for `cifar10`. Raises `DataError`.
    """
    batches = _Batches("cifar100", path, ("cifar-100-python.tar.gz", "cifar-100-python"))
    train, test = (
        batches.split(("train",), b"fine_labels"),
        batches.split(("test",), b"fine_labels"),
    )
    return assemble(
        "cifar100", train, test, validation=validation, seed=seed, size=size, augment=augment,
        class_names=batches.names("meta", b"fine_label_names"),
    )  # fmt: skip


class _Batches:
    """Read the pickled batches of one CIFAR distribution, from its archive or its folder."""

    def __init__(self, name: str, path: str | None, standard: tuple[str, str]) -> None:
        self.name = name
        place = find(name, path, standard)
        inside = [place / part for part in standard if (place / part).exists()]
        self.place = inside[0] if inside else place
        # An archive is read once, front to back: seeking in a .tar.gz means unpacking it again.
        self.members = None if self.place.is_dir() else self._unpack(self.place)

    def split(self, files: tuple[str, ...], key: bytes) -> Split:
        """Return the batches in ``files`` as one split; ``key`` names the labels."""
        images, labels = [], []
        for file in files:
            batch = self._load(file)
            pixels, wanted = batch.get(b"data"), batch.get(key)
            if (
                not isinstance(pixels, np.ndarray)
                or pixels.dtype != np.uint8
                or (pixels.ndim != 2 or pixels.shape[1] != 3072 or not isinstance(wanted, list))
            ):
                raise DataError(
                    f"{self.place}: {file}: expected uint8 data (N, 3072) and "
                    f"a list {key.decode()!r}"
                )
            images.append(pixels.reshape(-1, 3, 32, 32))
            labels.extend(wanted)
        return checked(f"{self.place}", np.concatenate(images), np.array(labels))

    def names(self, file: str, key: bytes) -> tuple[str, ...]:
        """Return the class names that ``file`` lists under ``key``."""
        names = self._load(file).get(key)
        if not isinstance(names, list) or not all(isinstance(name, (bytes, str)) for name in names):
            raise DataError(f"{self.place}: {file}: expected a list of names {key.decode()!r}")
        return tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names)

    def _load(self, file: str) -> dict[bytes, Any]:
        if self.members is None:
            path = self.place / file
            if not path.is_file():
                raise DataError(f"{self.name}: {self.place} holds no file {file!r}")
            content = path.read_bytes()
        elif file in self.members:
            content = self.members[file]
        else:
            raise DataError(f"{self.name}: the archive {self.place} holds no file {file!r}")
        batch = read_pickle(content, f"{self.place}: {file}")
        if not isinstance(batch, dict):
            raise DataError(
                f"{self.place}: {file}: expected a pickled dictionary, got {type(batch).__name__}"
            )
        return {k.encode() if isinstance(k, str) else k: v for k, v in batch.items()}

    @staticmethod
    def _unpack(archive: Path) -> dict[str, bytes]:
        members: dict[str, bytes] = {}
        try:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    stream = tar.extractfile(member) if member.isfile() else None
                    if stream is not None:  # only read in memory: no name in it becomes a path
                        members[member.name.rsplit("/", 1)[-1]] = stream.read()
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise DataError(f"{archive}: truncated, or not a tar archive: {error}") from error
        return members


class _ArraysOnly(pickle.Unpickler):
    """Unpickle arrays and plain values; refuse to import anything else, so that no code runs."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return _latin1
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which a data file has no need of"
        )


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def read_pickle(content: bytes, where: str) -> Any:
    """Return what a pickle of arrays, lists, dictionaries and strings holds; refuse all else.

    Raises `DataError`, naming ``where``, for a truncated pickle or one that asks for other types.
    """
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{where}: truncated, or not a batch of arrays: {reason}") from error
