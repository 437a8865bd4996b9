"""Decode image files (JPEG, PNG, ...) into one array."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nasflow.errors import ConfigError, DataError


def decode(
    sources: Sequence[Any],
    where: Callable[[int], str],
    channels: int = 3,
    size: int | None = None,
) -> np.ndarray:
    """Return encoded images (bytes or paths) as uint8 (N, H, W, C).

    ``size``: side in pixels; the shorter side is resized to it and the centre cut out. Without it
    all images must have one size. ``where(i)`` names image ``i`` in errors. Raises `DataError`.
    """
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ConfigError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
    if not len(sources):
        raise DataError("no images to decode")

    def one(index: int) -> np.ndarray:
        return _pixels(sources[index], where(index), mode, size)

    # Pillow releases the interpreter lock while it decodes, so threads are enough.
    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    ) as pool:
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


def _pixels(source: Any, where: str, mode: str, size: int | None) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            picture = image.convert(mode)
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: not a readable image: unknown format") from error
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image: {error}") from error
    if size:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
