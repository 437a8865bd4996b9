"""ConvNeXt: a residual network rebuilt with the choices of vision transformers.

Liu et al., "A ConvNet for the 2020s", CVPR 2022 (arXiv 2201.03545), section 2 and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, convnext_block, dense

EPS = 1e-6


def norm(x: ir.Value, name: str) -> ir.Value:
    return ir.LayerNorm(EPS, channels_first=True)(x, name=name)


def patches(x: ir.Value, out: ir.Operand, side: int, name: str) -> ir.Value:
    """A convolution whose windows do not overlap."""
    return ir.Conv2d(out, side, side, padding=0, init=TRANSFORMER_INIT)(x, name=name)


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patch: int = 4,
    widths: tuple[int, ...] = (96, 128, 192, 256),
    deepest: tuple[int, ...] = (3, 3, 27, 3),
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space of ConvNeXts.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patch: side of the pixels' square that the stem makes one; 1 for tiny images.
        widths: filters of the first stage; every stage doubles them.
        deepest: most blocks of each stage.
        drop_path: rate of stochastic depth in the last stage; it grows from 0 over the stages.
    """
    maps = stages(ir.image(channels, size), patch, widths, deepest, drop_path)
    x = ir.LayerNorm(EPS)(ir.Mean()(maps[-1], name="pool"), name="norm")
    return ir.Space(dense(x, classes, "classifier"), name="convnext")


def stages(
    image: ir.Value,
    patch: int,
    widths: tuple[int, ...],
    deepest: tuple[int, ...],
    drop_path: float,
) -> list[ir.Value]:
    """Return the map of each stage, (C, H, W), finest first; the settings are those of :func:`space`."""
    width = ir.choice("width", *widths, ordered=True)
    kernel = ir.choice("kernel", 3, 5, 7, ordered=True)
    expand = ir.choice("expand", 2, 3, 4, ordered=True)
    x = norm(patches(image, width, patch, "stem"), "stem_norm")
    maps = []
    for stage, most in enumerate(deepest):
        with ir.scope(f"stage{stage + 1}"):
            depth = ir.integer("depth", 1, most)
            if stage:
                x = patches(norm(x, "down_norm"), width * 2**stage, 2, "down")
            rate = drop_path * stage / (len(deepest) - 1)
            block = ir.repeat(
                lambda x, rate=rate: convnext_block(x, kernel, expand, rate), depth, name="blocks"
            )
            x = block(x)
            maps.append(x)
    return maps


def _model(width: int, depths: Sequence[int], size: int = 224) -> ir.Model:
    point = {"width": width, "kernel": 7, "expand": 4}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    return ir.Model(point, {"size": size}, "Liu et al. (2022), section 3.1 and table 1")


TINY, BASE = (3, 3, 9, 3), (3, 3, 27, 3)

MODELS: dict[str, ir.Model] = {
    "convnext_t_224": _model(96, TINY),
    "convnext_s_224": _model(96, BASE),
    "convnext_b_224": _model(128, BASE),
    "convnext_b_384": _model(128, BASE, 384),
    "convnext_l_224": _model(192, BASE),
    "convnext_l_384": _model(192, BASE, 384),
    "convnext_xl_224": _model(256, BASE),
    "convnext_xl_384": _model(256, BASE, 384),
}
