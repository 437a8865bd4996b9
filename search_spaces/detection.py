"""Detectors: a pyramid of maps, regions proposed on it, and heads that classify, move and cut them out.

Cai & Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018 (arXiv 1712.00726),
figure 3(d), with the masks of He et al., "Mask R-CNN", ICCV 2017 (arXiv 1703.06870), figure 4 right, on Lin et
al.'s feature pyramid (CVPR 2017, arXiv 1612.03144, section 3), as the papers of the backbones train and count
it: Swin (arXiv 2103.14030, appendix A2.2), ConvNeXt, RepLKNet and RevCol with their released configurations.
With one stage and no masks it is Faster R-CNN (Ren et al., 2015, arXiv 1506.01497).

Which of the proposals are kept is no part of the network: it depends on the picture how many remain. So boxes
are its second input, and each stage refines those of the stage before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from nasflow import ir
from search_spaces import convnext, replknet, resnet, revcol, swin

STRIDES = (4, 8, 16, 32)
ANCHORS = 3  # shapes of box at each place
SCALES = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
"""What each stage multiplies its deltas by: later ones move boxes less (section 4.1 of the cascade)."""

Maps = tuple[ir.Value, ...]

# -- backbones: an image to the maps of four stages ---------------------------------------------------


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

# -- neck and heads -----------------------------------------------------------------------------------


@ir.block
def pyramid(*maps: ir.Value, width: int) -> Maps:
    """Carry what coarse maps know down to fine ones; a fifth map is half the coarsest (Lin et al., figure 3)."""
    conv = functools.partial(ir.Conv2d, width, init="xavier_uniform")
    merged = [conv(1)(x, name=f"lateral{i}") for i, x in enumerate(maps, 1)]
    for i in reversed(range(len(maps) - 1)):
        merged[i] = ir.Add()(merged[i], ir.Upsample(2)(merged[i + 1]))
    results = [conv(3)(x, name=f"out{i}") for i, x in enumerate(merged, 1)]
    return (*results, ir.MaxPool(1, 2, padding=0)(results[-1]))


@ir.block
def region_proposals(*maps: ir.Value, width: int) -> Maps:
    """Tell at each place of all maps whether an object is near each anchor, and where (Ren et al., figure 3)."""
    conv = functools.partial(ir.ConvEach, len(maps), init=("normal", 0.01))
    seen = [ir.Activation("relu")(x) for x in conv(width, 3)(*maps, name="conv")]
    objectness = conv(ANCHORS)(*seen, name="objectness")
    return (*objectness, *conv(4 * ANCHORS)(*seen, name="deltas"))


def conv(
    x: ir.Value, out: ir.Operand, kernel: int = 3, name: str = "conv", **more: Any
) -> ir.Value:
    """Convolve each region by itself: (C, T, H, W) -> (out, T, H, W), a region where a video has a frame."""
    return ir.Conv3d(out, (1, kernel, kernel), **more)(x, name=name)


@ir.block
def box_head(
    x: ir.Value, kind: ir.Decision, classes: int, deltas: ir.Operand, width: int, hidden: int
) -> tuple[ir.Value, ir.Value]:
    """Score each region for each class and for none, and say how to move its box.

    Four convolutions and a linear map, or two linear maps: (C, T, 7, 7) -> (T, classes + 1), (T, deltas).
    """

    def dense(x: ir.Value, name: str) -> ir.Value:
        return ir.Activation("relu")(ir.Linear(hidden, init="xavier_uniform")(x, name=name))

    def flat(x: ir.Value) -> ir.Value:
        return ir.Rearrange("c t h w -> R=t D=(c h w)")(x)

    def convolutions(x: ir.Value) -> ir.Value:
        for i in range(1, 5):
            x = conv(x, width, name=f"conv{i}", bias=False)
            x = ir.Activation("relu")(ir.BatchNorm()(x, name=f"conv{i}_norm"))
        return dense(flat(x), "fc")

    def linear(x: ir.Value) -> ir.Value:
        return dense(dense(flat(x), "fc1"), "fc2")

    x = ir.switch(kind, convolutions=convolutions, linear=linear)(x, name="trunk")
    scores = ir.Linear(classes + 1, init=("normal", 0.01))(x, name="scores")
    return scores, ir.Linear(deltas, init=("normal", 0.001))(x, name="deltas")


@ir.block
def mask_head(x: ir.Value, classes: int, width: int) -> ir.Value:
    """Cut out each region for each class: (C, T, 14, 14) -> (classes, T, 28, 28)."""
    for i in range(1, 5):
        x = ir.Activation("relu")(conv(x, width, name=f"conv{i}"))
    # A transposed 2x2 convolution of stride 2: each pixel becomes four, and their bias is one.
    x = conv(x, 4 * width, 1, name="enlarge", bias=False)
    x = ir.Rearrange("(c p q) t h w -> C=c t H=(h p) W=(w q)", (("p", 2), ("q", 2)))(x)
    bias = ir.Parameter(("C", "T", "H", "W"), (width, 1, 1, 1))(name="enlarge_bias")
    x = ir.Activation("relu")(ir.Add()(x, bias))
    return conv(x, classes, 1, name="masks")


def space(
    *,
    classes: int = 80,
    size: tuple[int, int] = (800, 1280),
    channels: int = 3,
    proposals: int = 1000,
    detections: int = 100,
    stages: int = 3,
    masks: bool = True,
    width: int = 256,
    hidden: int = 1024,
    backbones: Mapping[str, Mapping[str, Any]] | tuple[str, ...] = tuple(BACKBONES),
) -> ir.Space:
    """Return the space of detectors over a choice of backbones.

    Their inputs are an image and boxes; their results objectness of five maps and deltas of each, then scores
    and deltas of each stage, the boxes after the last, and masks of each stage's head for the first of them.

    Args:
        classes: kinds of object, without the background.
        size, channels: height and width of the images, multiples of 32, and their channels.
        proposals, detections: boxes that enter; boxes that masks are made for.
        stages: of the cascade, 1 to 3.
        masks: whether there are heads for masks.
        width, hidden: filters of pyramid and heads, and features of the boxes' linear maps.
        backbones: those to choose from; as a mapping also the settings of each.
    """
    _check(size, stages, detections, proposals, backbones)
    settings = backbones if isinstance(backbones, Mapping) else {name: {} for name in backbones}
    image, boxes = ir.image(channels, size), ir.boxes(proposals)
    kind = ir.choice("box_head", "linear", "convolutions")
    # Deltas for each class as the backbones' papers have them; Faster R-CNN's background has its own, too.
    which = ir.choice("deltas", "classes", "all", "shared", searched=False)
    deltas = 4 * ir.table(which, {"classes": classes, "all": classes + 1, "shared": 1})

    chosen = ir.choice("backbone", *settings)
    branches = {name: functools.partial(BACKBONES[name], **more) for name, more in settings.items()}
    maps = pyramid(*ir.switch(chosen, branches)(image), width=width)
    results = [*region_proposals(*maps, width=width)]
    for stage in range(stages):
        regions = ir.RoIAlign(7, STRIDES)(boxes, *maps[: len(STRIDES)], name=f"regions{stage + 1}")
        head = f"box_head{stage + 1}"
        scores, moves = box_head(regions, kind, classes, deltas, width, hidden, name=head)
        boxes = ir.RefineBoxes(SCALES[stage], size)(boxes, moves, scores, name=f"boxes{stage + 1}")
        results += [scores, moves]
    results.append(boxes)
    if masks:
        found = ir.Slice("R", 0, detections)(boxes, name="detections")
        regions = ir.RoIAlign(14, STRIDES)(found, *maps[: len(STRIDES)], name="mask_regions")
        results += [
            mask_head(regions, classes, width, name=f"mask_head{stage + 1}")
            for stage in range(stages)
        ]
    return ir.Space(results, name="detection")


def _check(size: Any, stages: int, detections: int, proposals: int, backbones: Any) -> None:
    if len(size) != 2 or any(side % STRIDES[-1] for side in size):
        raise ir.SpaceError(f"detection: expected a size in multiples of {STRIDES[-1]}, got {size}")
    if not 1 <= stages <= len(SCALES):
        raise ir.SpaceError(f"detection: expected 1 to {len(SCALES)} stages, got {stages}")
    if not 1 <= detections <= proposals:
        raise ir.SpaceError(
            f"detection: expected up to {proposals} detections, as many as proposals, got {detections}"
        )
    for name in backbones:
        if name not in BACKBONES:
            raise ir.SpaceError(
                f"detection: expected backbones among {', '.join(BACKBONES)}, got {name!r}"
            )


# -- published detectors ------------------------------------------------------------------------------


COUNTER = (
    "the papers' counter also counts biases, norms, ReLUs and upsampled pixels, about 1 to 2 G"
)
MATMUL = COUNTER + "; it does not see the products of attention, 10.5 G"


def _cascade(backbone: str, model: ir.Model, source: str, note: str = COUNTER) -> ir.Model:
    """The cascade of the backbones' papers over a published network."""
    inner = {f"{backbone}/{name}": value for name, value in model.point.items()}
    point = {"box_head": "convolutions", "backbone": backbone, **inner}
    return ir.Model(point, {}, source, note=note)


def _faster_rcnn() -> ir.Model:
    point: dict[str, Any] = {"unit": "bottleneck", "order": "post", "attention": "none"}
    point |= {"width": 1, "inner_width": 1, "groups": 1}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate((3, 4, 6, 3), 1)}
    point = {f"resnet/{name}": value for name, value in point.items()}
    point |= {"box_head": "linear", "deltas": "all", "backbone": "resnet"}
    settings = {"classes": 90, "stages": 1, "masks": False}
    note = "on ResNet-50 with a feature pyramid, as torchvision has it; the lecture only cites it"
    return ir.Model(point, settings, "Ren et al. (2015); Lin et al. (2017)", note=note)


SWIN = "Liu et al. (2021), table 2(b)"
CONVNEXT = "Liu et al. (2022), table 3"
REPLKNET = "Ding et al. (2022), results on COCO"
REVCOL = "Cai et al. (2023), results on COCO"

MODELS: dict[str, ir.Model] = {
    "faster_rcnn": _faster_rcnn(),
    "cascade_mask_rcnn_swin_b": _cascade("swin", swin.MODELS["swin_b_224"], SWIN),
    "cascade_mask_rcnn_swin_l": _cascade("swin", swin.MODELS["swin_l_224"], CONVNEXT, MATMUL),
    "cascade_mask_rcnn_convnext_b": _cascade(
        "convnext", convnext.MODELS["convnext_b_224"], CONVNEXT
    ),
    "cascade_mask_rcnn_convnext_l": _cascade(
        "convnext", convnext.MODELS["convnext_l_224"], CONVNEXT
    ),
    "cascade_mask_rcnn_replknet_b": _cascade(
        "replknet", replknet.MODELS["replknet_31b_224"], REPLKNET
    ),
    "cascade_mask_rcnn_replknet_l": _cascade(
        "replknet", replknet.MODELS["replknet_31l_384"], REPLKNET
    ),
    "cascade_mask_rcnn_revcol_b": _cascade("revcol", revcol.MODELS["revcol_b_224"], REVCOL),
    "cascade_mask_rcnn_revcol_l": _cascade("revcol", revcol.MODELS["revcol_l_224"], REVCOL),
}
