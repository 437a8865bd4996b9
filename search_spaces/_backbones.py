"""Backbones of detectors: an image to the maps of a network's four stages, finest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nasflow import ir
from search_spaces import convnext, replknet, resnet, revcol, swin

Maps = tuple[ir.Value, ...]

STRIDES = (4, 8, 16, 32)
"""Pixels of the image for each pixel of each map."""


def resnet_maps(image: ir.Value, deepest: tuple[int, ...] = (3, 4, 23, 3)) -> Maps:
    units = resnet.Recipe(("basic", "bottleneck"), ("post",), ("none",), (1,), (1,), "batch")
    return tuple(resnet.stages(image, units, deepest=deepest))


def swin_maps(
    image: ir.Value,
    widths: tuple[int, ...] = (96, 128, 192),
    windows: tuple[int, ...] = (7, 12),
    depths: tuple[int, ...] = (2, 2, 18, 2),
) -> Maps:
    """Each stage's map with a norm of its own."""
    maps = swin.stages(image, 4, widths, windows, depths, 0.0)
    normed = [ir.LayerNorm()(x, name=f"norm{i}") for i, x in enumerate(maps, 1)]
    return tuple(ir.Rearrange("h w d -> C=d h w")(x) for x in normed)


def convnext_maps(
    image: ir.Value,
    widths: tuple[int, ...] = (96, 128, 192, 256),
    deepest: tuple[int, ...] = (3, 3, 27, 3),
) -> Maps:
    """Each stage's map with a norm of its own."""
    maps = convnext.stages(image, 4, widths, deepest, 0.0)
    return tuple(convnext.norm(x, f"norm{i}") for i, x in enumerate(maps, 1))


def replknet_maps(
    image: ir.Value,
    widths: tuple[int, ...] = (64, 128, 192, 256),
    kernels: tuple[int, ...] = replknet.KERNELS,
    deepest: tuple[int, ...] = (2, 2, 18, 2),
) -> Maps:
    return tuple(replknet.stages(image, widths, kernels, deepest, 0.0))


def revcol_maps(
    image: ir.Value,
    widths: tuple[int, ...] = (64, 72, 128, 224, 360),
    deepest: tuple[int, ...] = (3, 3, 8, 3),
    columns: int = 16,
) -> Maps:
    return tuple(revcol.stages(image, 4, widths, deepest, columns, 0.0))


BACKBONES: dict[str, Callable[..., Maps]] = {
    "resnet": resnet_maps,
    "swin": swin_maps,
    "convnext": convnext_maps,
    "replknet": replknet_maps,
    "revcol": revcol_maps,
}


Backbones = Mapping[str, Mapping[str, Any]] | tuple[str, ...]
"""Names of BACKBONES to choose from; as a mapping also the settings of each."""


def check(size: tuple[int, ...], backbones: Backbones) -> None:
    """Raise SpaceError where images do not fill the coarsest map or a backbone is not known."""
    if len(size) != 2 or any(side % STRIDES[-1] for side in size):
        raise ir.SpaceError(f"expected a size in multiples of {STRIDES[-1]}, got {size}")
    for name in backbones:
        if name not in BACKBONES:
            raise ir.SpaceError(f"expected backbones among {', '.join(BACKBONES)}, got {name!r}")


def choose(image: ir.Value, backbones: Backbones) -> Maps:
    """Return the maps of the backbone that a decision names."""
    settings = backbones if isinstance(backbones, Mapping) else {name: {} for name in backbones}
    branches = {name: partial(BACKBONES[name], **more) for name, more in settings.items()}
    maps: Maps = ir.switch(ir.choice("backbone", *settings), branches)(image)
    return maps


def point(backbone: str, network: ir.Model) -> dict[str, ir.Scalar]:
    """Return the decisions that make a published network the backbone of a detector."""
    inner = {f"{backbone}/{name}": value for name, value in network.point.items()}
    return {"backbone": backbone, **inner}
