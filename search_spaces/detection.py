"""Detectors: a pyramid of maps, regions proposed on it, and heads that classify, move and cut them out.

Cai & Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018 (arXiv 1712.00726),
figure 3(d), with the masks of He et al., "Mask R-CNN", ICCV 2017 (arXiv 1703.06870), figure 4 right, on Lin et
al.'s feature pyramid (CVPR 2017, arXiv 1612.03144, section 3), as the papers of the backbones train and count
it: Swin (arXiv 2103.14030, appendix A2.2), ConvNeXt, RepLKNet and RevCol with their released configurations.
With one stage and no masks it is Faster R-CNN (Ren et al., 2015, arXiv 1506.01497). Where every stage's masks
build on those of the stage before, and all heads see what kind of stuff is where, it is Chen et al.'s "Hybrid
Task Cascade" (CVPR 2019, arXiv 1901.07518); HTC++ also lets the coarsest map attend to itself (Swin, A2.2).

Which of the proposals are kept is no part of the network: it depends on the picture how many remain. So boxes
are its second input, and each stage refines those of the stage before.
"""

from __future__ import annotations

import functools
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import attention, mlp
from search_spaces import convnext, replknet, resnet, revcol, swin
from search_spaces._backbones import BACKBONES, STRIDES, Backbones, Maps, check, choose, point

ANCHORS = 3  # shapes of box at each place
SCALES = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
"""What each stage multiplies its deltas by: later ones move boxes less (section 4.1 of the cascade)."""
HEAD_WIDTH = 32  # of the coarsest map's attention, as in Swin's last stage

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
def mask_head(
    x: ir.Value, *before: ir.Value, classes: int, width: int
) -> tuple[ir.Value, ir.Value]:
    """Cut out each region for each class: (C, T, 14, 14) -> (classes, T, 28, 28), and what it saw.

    What the stage ``before`` saw is mapped and added (Hybrid Task Cascade, section 3.1.2).
    """
    for seen in before:
        x = ir.Add()(x, ir.Activation("relu")(conv(seen, width, 1, name="before")))
    for i in range(1, 5):
        x = ir.Activation("relu")(conv(x, width, name=f"conv{i}"))
    seen = x
    # A transposed 2x2 convolution of stride 2: each pixel becomes four, and their bias is one.
    x = conv(x, 4 * width, 1, name="enlarge", bias=False)
    x = ir.Rearrange("(c p q) t h w -> C=c t H=(h p) W=(w q)", (("p", 2), ("q", 2)))(x)
    bias = ir.Parameter(("C", "T", "H", "W"), (width, 1, 1, 1))(name="enlarge_bias")
    x = ir.Activation("relu")(ir.Add()(x, bias))
    return conv(x, classes, 1, name="masks"), seen


@ir.block
def semantic_branch(*maps: ir.Value, width: int, kinds: int) -> tuple[ir.Value, ir.Value]:
    """Tell what kind of stuff each place shows: all maps, at the second's size, summed and convolved.

    Returns features (width, H, W) and scores (kinds, H, W). Hybrid Task Cascade, section 3.2 and figure 4.
    """

    def map_relu(x: ir.Value, kernel: int, name: str) -> ir.Value:
        return ir.Activation("relu")(ir.Conv2d(width, kernel)(x, name=name))

    height, across = maps[1].dim("H"), maps[1].dim("W")
    parts = [
        map_relu(x if i == 2 else ir.Resize(height, across, True)(x), 1, f"lateral{i}")
        for i, x in enumerate(maps, 1)
    ]
    x = ir.Add()(*parts)
    for i in range(1, 5):
        x = map_relu(x, 3, f"conv{i}")
    return map_relu(x, 1, "embedding"), ir.Conv2d(kinds)(x, name="scores")


@ir.block
def global_attention(x: ir.Value) -> ir.Value:
    """Let all places of a map attend to each other: a transformer's block, (C, H, W) -> the same."""
    height, width = x.dim("H"), x.dim("C")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    y = ir.LayerNorm()(x, name="norm1")
    x = ir.Add()(x, attention(y, width // HEAD_WIDTH, HEAD_WIDTH, name="attn"))
    x = ir.Add()(x, mlp(ir.LayerNorm()(x, name="norm2"), 4 * width, name="mlp"))
    return ir.Rearrange("(h w) d -> C=d h w", (("h", height),))(x)


def space(
    *,
    classes: int = 80,
    size: tuple[int, int] = (800, 1280),
    channels: int = 3,
    proposals: int = 1000,
    detections: int = 100,
    stages: int = 3,
    masks: bool = True,
    stuff: int = 0,
    context: int = 0,
    width: int = 256,
    hidden: int = 1024,
    backbones: Backbones = tuple(BACKBONES),
) -> ir.Space:
    """Return the space of detectors over a choice of backbones.

    Their inputs are an image and boxes; their results objectness of five maps and deltas of each, then scores
    and deltas of each stage, the boxes after the last, masks of each stage's head for the first of them, and
    in the hybrid task cascade scores of stuff.

    Args:
        classes: kinds of object, without the background.
        size, channels: height and width of the images, multiples of 32, and their channels.
        proposals, detections: boxes that enter; boxes that masks are made for.
        stages: of the cascade, 1 to 3.
        masks: whether there are heads for masks.
        stuff: kinds of it that the hybrid task cascade tells apart; 0 for the plain cascade.
        context: blocks of attention over the whole coarsest map.
        width, hidden: filters of pyramid and heads, and features of the boxes' linear maps.
        backbones: those to choose from; as a mapping also the settings of each.
    """
    _check(size, stages, detections, proposals, backbones)
    image, boxes = ir.image(channels, size), ir.boxes(proposals)
    kind = ir.choice("box_head", "linear", "convolutions")
    # Deltas for each class as the backbones' papers have them; Faster R-CNN's background has its own, too.
    which = ir.choice("deltas", "classes", "all", "shared", searched=False)
    deltas = 4 * ir.table(which, {"classes": classes, "all": classes + 1, "shared": 1})

    *finer, coarsest = choose(image, backbones)
    for i in range(1, context + 1):
        coarsest = global_attention(coarsest, name=f"context{i}")
    maps = pyramid(*finer, coarsest, width=width)
    branch = semantic_branch(*maps, width=width, kinds=stuff, name="stuff") if stuff else ()

    def regions(boxes: ir.Value, side: int, name: str) -> ir.Value:
        """Look boxes up in the maps, and in the features of stuff: (width, T, side, side)."""
        found = ir.RoIAlign(side, STRIDES)(boxes, *maps[: len(STRIDES)], name=name)
        for features in branch[:1]:
            seen = ir.RoIAlign(14, STRIDES[1:2])(boxes, features, name=f"{name}_stuff")
            if side < 14:
                seen = ir.AvgPool((1, 2, 2), (1, 2, 2), 0)(seen)
            found = ir.Add()(found, seen)
        return found

    results = [*region_proposals(*maps, width=width)]
    for stage in range(1, stages + 1):
        x = regions(boxes, 7, f"regions{stage}")
        scores, moves = box_head(x, kind, classes, deltas, width, hidden, name=f"box_head{stage}")
        boxes = ir.RefineBoxes(SCALES[stage - 1], size)(boxes, moves, scores, name=f"boxes{stage}")
        results += [scores, moves]
    results.append(boxes)
    if masks:
        x = regions(ir.Slice("R", 0, detections)(boxes, name="detections"), 14, "mask_regions")
        before: tuple[ir.Value, ...] = ()
        for stage in range(1, stages + 1):
            found, seen = mask_head(
                x, *before, classes=classes, width=width, name=f"mask_head{stage}"
            )
            results.append(found)
            before = (seen,) if stuff else ()
    return ir.Space([*results, *branch[1:]], name="detection")


def _check(size: Any, stages: int, detections: int, proposals: int, backbones: Backbones) -> None:
    check(size, backbones)
    if not 1 <= stages <= len(SCALES):
        raise ir.SpaceError(f"detection: expected 1 to {len(SCALES)} stages, got {stages}")
    if not 1 <= detections <= proposals:
        raise ir.SpaceError(
            f"detection: expected up to {proposals} detections, as many as proposals, got {detections}"
        )


# -- published detectors ------------------------------------------------------------------------------


COUNTER = (
    "the papers' counter also counts biases, norms, ReLUs and upsampled pixels, about 1 to 2 G"
)
NORMS = (
    COUNTER
    + "; of batch norms and ReLUs, where others have layer norms and GELUs, it counts 1.3 to 1.9 G more"
)
MATMUL = COUNTER + "; it does not see the products of attention, 10.5 G"


def _cascade(backbone: str, model: ir.Model, source: str, note: str = COUNTER) -> ir.Model:
    """The cascade of the backbones' papers over a published network."""
    return ir.Model({"box_head": "convolutions", **point(backbone, model)}, {}, source, note=note)


def _htcpp(
    backbone: str,
    model: ir.Model,
    context: int,
    source: str,
    note: str,
    reconstructed: bool = False,
) -> ir.Model:
    """Swin's HTC++ over a published network: stuff of COCO-Stuff, deltas that all classes share."""
    decisions = {"box_head": "convolutions", "deltas": "shared", **point(backbone, model)}
    settings = {"stuff": STUFF, "context": context}
    return ir.Model(decisions, settings, source, reconstructed, note)


def _faster_rcnn() -> ir.Model:
    decisions = {
        **point("resnet", resnet.MODELS["resnet50"]),
        "box_head": "linear",
        "deltas": "all",
    }
    settings = {"classes": 90, "stages": 1, "masks": False}
    note = "on ResNet-50 with a feature pyramid, as torchvision has it; the lecture only cites it"
    return ir.Model(decisions, settings, "Ren et al. (2015); Lin et al. (2017)", note=note)


SWIN = "Liu et al. (2021), table 2(b)"
CONVNEXT = "Liu et al. (2022), table 3"
REPLKNET = "Ding et al. (2022), results on COCO"
REVCOL = "Cai et al. (2023), results on COCO"
HTCPP = "Liu et al. (2021), table 2(c) and appendix A2.2"
HUGE = (
    "no configuration is published: Swin's HTC++, with two blocks of attention where Swin has one, has the "
    "printed parameters; the printed MACs are of a smaller picture, as RevCol-H alone has 6,339 G at 1280 x 800"
)
STUFF = 183  # kinds that COCO-Stuff labels, as in MMDetection's configuration of HTC

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
        "replknet", replknet.MODELS["replknet_31b_224"], REPLKNET, NORMS
    ),
    "cascade_mask_rcnn_replknet_l": _cascade(
        "replknet", replknet.MODELS["replknet_31l_384"], REPLKNET, NORMS
    ),
    "cascade_mask_rcnn_revcol_b": _cascade("revcol", revcol.MODELS["revcol_b_224"], REVCOL),
    "cascade_mask_rcnn_revcol_l": _cascade("revcol", revcol.MODELS["revcol_l_224"], REVCOL),
    "htcpp_swin_b": _htcpp("swin", swin.MODELS["swin_b_224"], 1, HTCPP, ""),
    "htcpp_swin_l": _htcpp("swin", swin.MODELS["swin_l_224"], 1, HTCPP, ""),
    "htcpp_revcol_h": _htcpp("revcol", revcol.MODELS["revcol_h"], 2, REVCOL, HUGE, True),
}
