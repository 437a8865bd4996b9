"""Dual path networks: each block adds to some of the channels, as ResNet, and appends others, as DenseNet.

Chen, Li, Xiao, Jin, Yan & Feng, "Dual Path Networks", NIPS 2017 (arXiv 1707.01629), section 4 and table 1;
stems and norms as in timm's port of the released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasflow import ir

EPS = 1e-3


def norm_act(x: ir.Value, name: str) -> ir.Value:
    return ir.Activation("relu")(ir.BatchNorm(eps=EPS)(x, name=f"{name}_norm"))


def norm_act_conv(
    x: ir.Value,
    out: ir.Operand,
    kernel: int,
    name: str,
    stride: int = 1,
    groups: ir.Operand = 1,
) -> ir.Value:
    conv = ir.Conv2d(out, kernel, stride, groups=groups, bias=False)
    return conv(norm_act(x, name), name=name)


@ir.block
def dual_path(
    x: ir.Value,
    width: ir.Operand,
    inner: ir.Operand,
    growth: ir.Operand,
    groups: ir.Operand,
    stride: int = 1,
    project: bool = False,
) -> ir.Value:
    """Add to the first ``width`` channels, the residual path, and append ``growth`` to the dense one.

    With ``project`` the block begins a stage: a 1x1 convolution makes both paths, the dense one of
    twice ``growth``.
    """
    paths = norm_act_conv(x, width + 2 * growth, 1, "project", stride) if project else x
    y = norm_act_conv(x, inner, 1, "conv1")
    y = norm_act_conv(y, inner, 3, "conv2", stride, groups)
    y = norm_act_conv(y, width + growth, 1, "conv3")
    residual = ir.Add()(ir.Slice("C", 0, width)(paths), ir.Slice("C", 0, width)(y))
    return ir.Concat()(residual, ir.Slice("C", width)(paths), ir.Slice("C", width)(y))


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    deepest: tuple[int, ...] = (4, 8, 28, 3),
) -> ir.Space:
    """Return the space of dual path networks.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        deepest: most blocks of each stage; by default those of DPN-131.
    """
    # The published networks differ in the side of their images: one space holds them all.
    side = ir.choice("resolution", *sorted({size, 224, 320}), searched=False, default=size)
    small = ir.choice("small", False, True, searched=False)  # DPN-68's stem and widths
    stem = ir.choice("stem_width", 10, 64, 96, 128, searched=False, default=64)
    # Groups and channels of a grouped convolution in the first stage: "32 x 3d" is 32 and 96.
    groups = ir.choice("groups", 32, 40, ordered=True)
    per_group = ir.choice("group_width", 3, 4, ordered=True)

    image = ir.image(channels, side)
    x = ir.Conv2d(stem, ir.where(small, 3, 7), 2, bias=False)(image, name="stem_conv")
    x = ir.MaxPool(3, 2)(norm_act(x, "stem"))
    for stage, limit in enumerate(deepest):
        width = ir.where(small, 64, 256) * 2**stage
        inner = groups * per_group * 2**stage
        with ir.scope(f"stage{stage + 1}"):
            growth = ir.choice("growth", 16, 24, 32, 64, 128, ordered=True)
            depth = ir.integer("depth", 1, limit)
            settings = (width, inner, growth, groups)
            stride = 2 if stage else 1
            x = dual_path(x, *settings, stride=stride, project=True, name="first")
            blocks = ir.repeat(lambda x, s=settings: dual_path(x, *s), depth - 1, name="blocks")
            x = blocks(x)
    x = ir.Mean()(norm_act(x, "last"))
    return ir.Space(ir.Linear(classes)(x, name="classifier"), name="dpn")


def _model(
    depths: Sequence[int], growths: Sequence[int], groups: int, group_width: int, **more: Any
) -> ir.Model:
    point: dict[str, Any] = {"groups": groups, "group_width": group_width}
    for stage, (depth, growth) in enumerate(zip(depths, growths, strict=True), 1):
        point |= {f"stage{stage}/depth": depth, f"stage{stage}/growth": growth}
    note = more.pop("note", "")
    return ir.Model(
        {**point, **more}, {}, "Chen et al. (2017), table 1 and released code", note=note
    )


MODELS = {
    "dpn68": _model((3, 4, 12, 3), (16, 32, 32, 64), 32, 4, small=True, stem_width=10),
    "dpn92": _model((3, 4, 20, 3), (16, 32, 24, 128), 32, 3),
    "dpn98": _model((3, 6, 20, 3), (16, 32, 32, 128), 40, 4, stem_width=96),
    "dpn131": _model(
        (4, 8, 28, 3),
        (16, 32, 32, 128),
        40,
        4,
        stem_width=128,
        resolution=320,
        note="printed 79.5M and 32.0B; the released network has 79.25M and 32.68B at 320 pixels",
    ),
}
