"""Images that stay encoded, on disk or in memory, and are decoded batch by batch as they are needed."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nasflow.cores import cores
from nasflow.data.augment import Augment, draw_seed
from nasflow.data.images import MODES, centred, opened
from nasflow.errors import ConfigError, DataError
from nasflow.options import check_type

if TYPE_CHECKING:
    from nasflow.data.dataset import Split

Item = tuple[int, int]  # the place in an epoch, and the image's number
SAMPLE = 1024  # images that the mean and deviation of pixels are measured on


@dataclasses.dataclass(frozen=True)
class Packed:
    """Hold many byte strings (names of files, or encoded images) in two arrays.

    Lists of a million objects would be copied into every process that reads them.
    """

    content: np.ndarray  # (bytes,), uint8
    ends: np.ndarray  # (strings + 1,), int64: where each begins, and the last ends
    chosen: np.ndarray  # (N,), int64: which strings these are

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Packed:
        """Return the packed ``strings``."""
        ends = np.cumsum([0, *map(len, strings)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(strings), np.uint8), ends, np.arange(len(strings)))

    def __getitem__(self, index: int) -> bytes:
        number = self.chosen[index]
        return self.content[self.ends[number] : self.ends[number + 1]].tobytes()

    def take(self, indices: np.ndarray) -> Packed:
        """Return the strings at ``indices``, without copying them."""
        return dataclasses.replace(self, chosen=self.chosen[indices])


@dataclasses.dataclass(frozen=True)
class Stream:
    """Be a part of a data set, as `Split` is, whose images are decoded when they are asked for.

    Args:
        sources: names of files (where ``files``), or encoded images.
        labels: (N,), int64, on the device that images go to.
        size: (height, width) of the images in pixels.
        channels: 1 (grey) or 3.
        centre: share of the shorter side that is kept where nothing is drawn at random.
        workers: processes that decode; 0: this one.
    """

    sources: Packed
    files: bool
    labels: torch.Tensor
    size: tuple[int, int]
    channels: int = 3
    centre: float = 1.0
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width) of an image."""
        return (self.channels, *self.size)

    def take(self, indices: torch.Tensor) -> Stream:
        """Return the part at ``indices`` (int64), in that order; nothing is decoded."""
        chosen = self.sources.take(indices.cpu().numpy())
        return dataclasses.replace(self, sources=chosen, labels=self.labels[indices])

    def to(self, device: torch.device) -> Stream:
        """Return this part, whose images will come to ``device``."""
        return dataclasses.replace(self, labels=self.labels.to(device))

    def resized(self, size: tuple[int, int]) -> Stream:
        """Return this part with images of ``size`` = (height, width)."""
        return dataclasses.replace(self, size=size)

    def sample(self) -> Split:
        """Return some of the images, evenly spread, in memory."""
        count = min(len(self), SAMPLE)
        return self.take(torch.linspace(0, len(self) - 1, count).round().long()).loaded()

    def loaded(self) -> Split:
        """Return this part in memory."""
        from nasflow.data.dataset import Split

        parts = list(self.parts(128))
        images = torch.cat([part.images for part in parts])
        return Split(images, self.labels)

    def parts(self, count: int) -> Iterator[Split]:
        """Yield the centres of all images in order, ``count`` at a time."""
        indices = torch.arange(len(self))
        return self._decoded(torch.split(indices, count), self._centre)

    def batches(
        self, chosen: Sequence[torch.Tensor], augment: Augment, generator: torch.Generator
    ) -> Iterator[Split]:
        """Yield the images at each of ``chosen`` (B,), changed as ``augment`` says."""
        from nasflow.data.dataset import Split

        draw = _Redraw(augment, self.size, self.centre, draw_seed(generator))
        for part in self._decoded(chosen, draw):
            yield Split(augment.shift(part.images, generator), part.labels)

    def _centre(self, image: Any, place: int) -> Any:
        return centred(image, self.size, self.centre)

    def _decoded(
        self, chosen: Sequence[torch.Tensor], change: Callable[[Any, int], Any]
    ) -> Iterator[Split]:
        from torch.utils.data import DataLoader

        from nasflow.data.dataset import Split

        device, place, batches = self.labels.device, 0, []
        for part in chosen:
            batches.append([(place + i, number) for i, number in enumerate(part.tolist())])
            place += len(part)
        loader = DataLoader(
            _Pictures(self, change),
            batch_sampler=batches,
            num_workers=min(self.workers, len(batches)),  # a batch is one worker's
            collate_fn=_same,
            pin_memory=device.type == "cuda",
        )
        for part, images in zip(chosen, loader, strict=True):
            if isinstance(images, str):
                raise DataError(images)
            ready = images.to(device, non_blocking=True).permute(0, 3, 1, 2)
            yield Split(ready, self.labels[part.to(device)])


@dataclasses.dataclass(frozen=True)
class _Redraw:
    """Change a picture at random, the same way for one place in an epoch."""

    augment: Augment
    size: tuple[int, int]
    centre: float
    seed: int

    def __call__(self, image: Any, place: int) -> Any:
        rng = random.Random(f"{self.seed}/{place}")
        if self.augment.area == 1:
            image = centred(image, self.size, self.centre)
        return self.augment.redraw(image, self.size, rng)


class _Pictures(torch.utils.data.Dataset[Any]):
    """Decode batches in a worker; what cannot be read comes back as a sentence."""

    def __init__(self, stream: Stream, change: Callable[[Any, int], Any]) -> None:
        self.stream, self.change = stream, change

    def __getitems__(self, batch: Sequence[Item]) -> torch.Tensor | str:
        """Return images (B, H, W, C) of bytes, or why there are none."""
        stream, mode = self.stream, MODES[self.stream.channels]
        pixels = np.empty((len(batch), *stream.size, stream.channels), np.uint8)
        try:
            for row, (place, number) in enumerate(batch):
                source = stream.sources[number]
                found: Any = os.fsdecode(source) if stream.files else source
                where = found if stream.files else f"image {stream.sources.chosen[number]}"
                picture = self.change(opened(found, where, mode), place)
                pixels[row] = np.asarray(picture, np.uint8).reshape(pixels.shape[1:])
        except DataError as error:
            return str(error)
        return torch.from_numpy(pixels)


def stream(
    sources: Sequence[bytes],
    labels: np.ndarray,
    *,
    files: bool,
    size: int | None,
    channels: int,
    centre: float,
    workers: int | None,
) -> Stream:
    """Return a stream of encoded images, or files of them, checked.

    ``workers``: null: one for each core but one.
    """
    check_type("data.workers", workers, "int | None")
    if size is None:
        raise ConfigError("data.size must be given where images are streamed")
    if channels not in MODES:
        raise ConfigError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
    if workers is not None and workers < 0:
        raise ConfigError(f"data.workers must be 0 or more, got {workers}")
    if not len(sources):
        raise DataError("no images to stream")
    count = cores() - 1 if workers is None else workers
    kept = torch.from_numpy(labels.astype(np.int64))
    return Stream(Packed.of(sources), files, kept, (size, size), channels, centre, count)


def _same(batch: Any) -> Any:
    """Leave a batch as the worker made it."""
    return batch
