"""Decode image files (JPEG, PNG, ...) into one array."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nasflow.cores import cores
from nasflow.errors import ConfigError, DataError
from nasflow.options import check_type

MODES = {1: "L", 3: "RGB"}


def decode(
    sources: Sequence[Any],
    where: Callable[[int], str],
    channels: int = 3,
    size: int | None = None,
    centre: float = 1.0,
) -> np.ndarray:
    """Return encoded images (bytes or paths) as uint8 (N, H, W, C).

    ``size``: side in pixels, of the middle square, which has the share ``centre`` of the shorter side.
    Without it all images must have one size. ``where(i)`` names image ``i`` in errors. Raises `DataError`.
    """
    mode = MODES.get(channels)
    if mode is None:
        raise ConfigError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
    check_size(size)
    if not len(sources):
        raise DataError("no images to decode")

    def one(index: int) -> np.ndarray:
        picture = opened(sources[index], where(index), mode)
        picture = picture if size is None else centred(picture, (size, size), centre)
        pixels = np.asarray(picture, np.uint8)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    # Pillow releases the interpreter lock while it decodes, so threads are enough.
    with ThreadPoolExecutor(cores()) as pool:
        first = one(0)
        out = np.empty((len(sources), *first.shape), np.uint8)
        for index, pixels in enumerate(pool.map(one, range(len(sources)), chunksize=64)):
            if pixels.shape != first.shape:
                raise DataError(
                    f"{where(index)}: the image is {pixels.shape[:2]}, the first one is "
                    f"{first.shape[:2]} (height, width); set data.size=… to bring them to one size"
                )
            out[index] = pixels
    return out


def opened(source: Any, where: str, mode: str) -> Any:
    """Return an encoded image (bytes or a path) as a picture; raise `DataError` naming ``where``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.convert(mode)
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: not a readable image: unknown format") from error
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image: {error}") from error


def centred(picture: Any, size: tuple[int, int], share: float) -> Any:
    """Return the middle of a picture, with ``share`` of its shorter side, at (height, width), bicubic."""
    from PIL import Image, ImageOps

    border = (1 - share) / 2
    return ImageOps.fit(picture, size[::-1], Image.Resampling.BICUBIC, border)


def check_centre(share: object) -> None:
    """Raise ConfigError unless ``share`` can be the share of an image that is kept."""
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:  # type: ignore[operator]
        raise ConfigError(f"data.centre must be above 0, at most 1, got {share!r}")


def check_size(size: object) -> None:
    """Raise ConfigError for what is no side of an image, in pixels; None stands for images as they are."""
    check_type("data.size", size, "int | None")
    if isinstance(size, int) and size < 1:
        raise ConfigError(f"data.size must be at least 1 pixel, got {size}")
