"""What every data set becomes: a train, a validation and a test part, in memory or streamed."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from nasflow.data.augment import Augment
from nasflow.data.images import check_size
from nasflow.data.stream import Stream
from nasflow.errors import ConfigError, DataError, NasflowWarning
from nasflow.options import check_type

MOST_CLASSES = 1_000_000  # above this, labels are identifiers


@dataclasses.dataclass(frozen=True)
class Split:
    """Hold one part of a data set: images (N, C, H, W), uint8 or float32; labels (N,), int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def take(self, indices: torch.Tensor) -> Split:
        """Return the images and labels at ``indices`` (int64), in that order."""
        return Split(self.images[indices], self.labels[indices])

    def sample(self) -> Split:
        """Return all the images; a `Stream` returns some."""
        return self

    def loaded(self) -> Split:
        """Return this part; a `Stream` decodes it."""
        return self

    def parts(self, count: int) -> Iterator[Split]:
        """Yield all images in order, ``count`` at a time."""
        pairs = zip(torch.split(self.images, count), torch.split(self.labels, count), strict=True)
        return (Split(images, labels) for images, labels in pairs)

    def batches(
        self, chosen: Sequence[torch.Tensor], augment: Augment, generator: torch.Generator
    ) -> Iterator[Split]:
        """Yield the images at each of ``chosen`` (B,), changed as ``augment`` says."""
        for indices in chosen:
            part = self.take(indices)
            yield Split(augment.move(part.images, generator), part.labels)

    def to(self, device: torch.device) -> Split:
        """Return this part on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))

    def resized(self, size: tuple[int, int]) -> Split:
        """Return this part with its images resized to ``size`` = (height, width), antialiased."""
        if tuple(self.images.shape[2:]) == size or not len(self):
            return self
        return Split(resize(self.images, size), self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        # NumPy arrays leave a pickle as out-of-band buffers, so that all Ray workers of a machine
        # read one copy in the object store; torch tensors would be copied into each of them.
        return _from_arrays, (self.images.cpu().numpy(), self.labels.cpu().numpy())


def _from_arrays(images: np.ndarray, labels: np.ndarray) -> Split:
    with warnings.catch_warnings():
        # The store's memory is read-only, which torch warns about; nothing here writes to a Split.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Split(torch.from_numpy(images), torch.from_numpy(labels))


Part = Split | Stream


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Hold a data set: three parts, the names of its classes, and what may be augmented.

    ``validation`` is held out from the training images (empty where none was asked for); ``test``
    is never looked at by a search.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    class_names: tuple[str, ...]
    augment: Augment = dataclasses.field(default_factory=Augment)

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Return the number of image channels."""
        return self.train.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the images in pixels."""
        return self.train.shape[1:]

    @functools.cached_property
    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the training images, each (C,), in raw units.

        Those of a stream are measured on some of its images.
        """
        images = self.train.sample().images
        sums = torch.zeros(2, self.channels, dtype=torch.float64)
        for part in torch.split(images, 4096):  # bounded memory, exact sums
            pixels = part.to(torch.float64)
            sums += torch.stack([pixels.sum(dim=(0, 2, 3)), pixels.square().sum(dim=(0, 2, 3))])
        mean, square = sums / (images.numel() / self.channels)
        deviation = (square - mean.square()).clamp_min(0).sqrt()
        deviation[deviation == 0] = 1.0
        return mean.float(), deviation.float()

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return raw images (B, C, H, W) as float32, each channel centred and scaled."""
        mean, deviation = (s.to(images.device)[:, None, None] for s in self.statistics)
        return (images.float() - mean) / deviation

    def prepared(self, size: tuple[int, int], device: torch.device) -> Dataset:
        """Return the data set with all its images at ``size`` (height, width) and on ``device``."""
        parts = {
            part: getattr(self, part).resized(size).to(device)
            for part in ("train", "validation", "test")
        }
        ready = self._with(**parts)
        ready.__dict__["statistics"] = tuple(s.to(device) for s in self.statistics)
        return ready

    def limited(self, images: int, seed: int) -> Dataset:
        """Return the data set with only ``images`` training images, drawn evenly by class."""
        if images >= len(self.train):
            return self
        return self._with(train=self.train.take(spread(self.train.labels, images, seed)))

    def _with(self, **parts: Any) -> Dataset:
        # The statistics stay: they belong to a trained network's input, whatever it was trained on.
        changed = dataclasses.replace(self, **parts)
        changed.__dict__["statistics"] = self.statistics
        return changed


def assemble(
    name: str,
    train: Part,
    test: Part | float,
    *,
    validation: float,
    seed: int,
    size: int | None = None,
    class_names: Sequence[str] | None = None,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return a `Dataset` from its raw parts, checked.

    ``test`` is the test part, or the fraction to hold out where a data set comes without one;
    ``validation`` the fraction of what remains (0: none); ``size`` the side to resize to, pixels.
    """
    check_type("data.seed", seed, "int")
    check_size(size)
    for key, fraction in (("validation", validation), ("test", test)):
        if not isinstance(fraction, Split | Stream):
            check_type(f"data.{key}", fraction, "float")
            if not 0 <= fraction < 1:
                raise ConfigError(f"data.{key} must be at least 0 and below 1, got {fraction}")
    if not isinstance(test, Split | Stream):
        train, test = hold_out(name, train, test, seed)
    train, held = hold_out(name, train, validation, seed + 1)
    classes = 1 + max(int(part.labels.max()) for part in (train, held, test) if len(part))
    names = tuple(class_names or map(str, range(classes)))
    if not class_names:
        _warn_of_gaps(name, classes, (train, held, test))
    if classes > len(names):
        raise DataError(f"{name}: label {classes - 1} is out of range for {len(names)} classes")
    if classes < 2:
        raise DataError(f"{name}: expected at least 2 classes, got {classes}")
    if size:
        train, held, test = (part.resized((size, size)) for part in (train, held, test))
    options = augment if isinstance(augment, Augment) else Augment.of(augment or {})
    return Dataset(name, train, held, test, names, options)


def _warn_of_gaps(name: str, classes: int, parts: Sequence[Part]) -> None:
    seen = torch.unique(torch.cat([part.labels for part in parts if len(part)])).tolist()
    if len(seen) < classes:
        first = next(label for label in range(classes) if label not in set(seen))
        warnings.warn(
            f"{name}: {classes - len(seen)} of {classes} classes have no image, first {first}; "
            "networks get an output for each class from 0",
            NasflowWarning,
            stacklevel=3,
        )


def checked(where: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """Return arrays from a file as a `Split`, or raise `DataError` naming what is wrong.

    ``images``: (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1, 3 or 4; uint8, or any float.
    """
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and _channels_last(*images.shape[1:]):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not images.size:
        raise DataError(f"{where}: expected images (N, H, W) or (N, H, W, C), got {images.shape}")
    if images.shape[1] not in (1, 3, 4):
        raise DataError(
            f"{where}: expected images of 1, 3 or 4 channels, got {images.shape[1]} "
            "in (N, C, H, W) = " + str(images.shape)
        )
    if images.dtype != np.uint8:
        if images.dtype.kind != "f":
            raise DataError(f"{where}: expected uint8 or float images, got {images.dtype}")
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise DataError(f"{where}: some image values are NaN or infinite")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected {len(images)} integer labels (one an image), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise DataError(f"{where}: label {labels.min()} is negative; classes count from 0")
    if labels.max() >= MOST_CLASSES:
        raise DataError(
            f"{where}: expected labels below {MOST_CLASSES:,}, got {labels.max()}; number the classes from 0"
        )
    return Split(
        torch.from_numpy(np.array(images, order="C")),
        torch.from_numpy(labels.astype(np.int64)),
    )


def _channels_last(first: int, second: int, third: int) -> bool:
    # Both can hold for tiny images; those are square.
    return third in (1, 3, 4) and (first not in (1, 3, 4) or first == second)


def hold_out(name: str, split: Part, fraction: float, seed: int) -> tuple[Part, Part]:
    """Return (kept, held out): ``fraction`` of each class is drawn at random and held out."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(len(split), dtype=torch.bool)
    for label in torch.unique(split.labels):
        members = (split.labels == label).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        mask[order[: round(fraction * len(members))]] = True
    if fraction > 0 and not (mask.any() and (~mask).any()):
        raise DataError(
            f"{name}: cannot hold out {fraction:g} of {len(split)} images: a part would be empty"
        )
    return split.take((~mask).nonzero().flatten()), split.take(mask.nonzero().flatten())


def spread(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return the indices, ascending, of ``count`` images drawn at random, as evenly by class as can be."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        members = (labels == label).nonzero().flatten().cpu()
        order = members[torch.randperm(len(members), generator=generator)]
        place[order] = (torch.arange(len(order), dtype=torch.float64) + 0.5) / len(order)
    return place.argsort(stable=True)[:count].sort().values.to(labels.device)


def resize(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images (N, C, H, W) at ``size`` (height, width), bilinear with antialiasing."""
    parts = []
    for part in torch.split(images, 1024):  # the float copy stays small
        wide = functional.interpolate(part.float(), size, mode="bilinear", antialias=True)
        parts.append(
            wide if part.is_floating_point() else wide.round().clamp(0, 255).to(part.dtype)
        )
    return torch.cat(parts)


def find(name: str, path: str | os.PathLike[str] | None, candidates: Sequence[str]) -> Path:
    """Return where a data set lies: ``path`` as given, or under the folder named by NASFLOW_DATA.

    Without a ``path`` the first of ``candidates`` (relative names) that exists under NASFLOW_DATA
    is taken. Raises `DataError` naming everything that was tried.
    """
    root = os.environ.get("NASFLOW_DATA")
    if path is not None:
        tried = [Path(path).expanduser()]
        if root and not tried[0].is_absolute():
            tried.append(Path(root) / path)
    elif root:
        tried = [Path(root) / candidate for candidate in candidates]
    else:
        raise DataError(
            f"{name}: no file named; set data.path=…, or NASFLOW_DATA to a folder that holds "
            + " or ".join(candidates)
        )
    for place in tried:
        if place.exists():
            return place
    raise DataError(f"{name}: not found: " + ", ".join(map(str, tried)))
