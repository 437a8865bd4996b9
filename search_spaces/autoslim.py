"""AutoSlim: MobileNetV2 with a number of channels of its own for every layer.

Yu & Huang, "AutoSlim: Towards One-Shot Architecture Search for Channel Numbers", 2019 (arXiv
1903.11728), section 4: channels are taken off MobileNetV2 at 1.5 times its width, in steps of 8 here;
the published numbers are those of the authors' released configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act, mbconv

# Filters, stride and layers of each stage of MobileNetV2.
STAGES = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))
STEM, HEAD = 32, 1280


def slimmed(name: str, filters: int) -> ir.Decision:
    """A number of channels up to one and a half times the original one."""
    return ir.integer(name, 8, filters * 3 // 2, step=8)


def space(*, classes: int = 1000, size: int = 224, channels: int = 3) -> ir.Space:
    """Return the space: channels between blocks, one a stage, and inside blocks, one each."""
    stem = slimmed("stem", STEM)
    x = conv_bn_act(ir.image(channels, size), stem, 3, 2, activation="relu6", name="stem")
    before = STEM
    for number, (filters, stride, layers) in enumerate(STAGES, 1):
        with ir.scope(f"stage{number}"):
            out = slimmed("filters", filters)
            for i in range(layers):
                hidden = slimmed(f"hidden{i}", 6 * before) if number > 1 else x.dim("C")
                step = stride if i == 0 else 1
                x = mbconv(x, out, hidden, stride=step, activation="relu6", name=f"layer{i}")
                before = filters
    x = conv_bn_act(x, slimmed("head", HEAD), activation="relu6", name="head")
    return ir.Space(classifier(x, classes, init=("normal", 0.01)), name="autoslim")


def _model(
    filters: Sequence[int], hidden: Sequence[Sequence[int]], macs: str, head: int = 1920
) -> ir.Model:
    stem, *stages = filters
    point = {"stem": stem, "head": head}
    point |= {f"stage{number}/filters": count for number, count in enumerate(stages, 1)}
    for number, counts in enumerate(hidden, 2):
        point |= {f"stage{number}/hidden{i}": count for i, count in enumerate(counts)}
    return ir.Model(point, source=f"Yu & Huang (2019), table 2 and released code, {macs}")


MODELS: dict[str, ir.Model] = {
    "autoslim_mobilenetv2": _model(
        (8, 8, 16, 24, 48, 64, 176, 280),
        ((96, 96), (96, 144, 144), (144, 288, 288, 288), (288, 432, 432), (648, 720, 720), (1440,)),
        "207 M",
    ),
    "autoslim_mobilenetv2_305m": _model(
        (8, 8, 16, 24, 56, 96, 240, 480),
        (
            (96, 96),
            (96, 144, 144),
            (144, 288, 288, 288),
            (288, 432, 432),
            (864, 1440, 960),
            (1440,),
        ),
        "305 M",
    ),
    "autoslim_mobilenetv2_505m": _model(
        (32, 16, 24, 48, 88, 144, 240, 480),
        (
            (144, 176),
            (192, 240, 144),
            (264, 288, 336, 432),
            (576, 576, 648),
            (864, 1440, 1440),
            (1440,),
        ),
        "505 M",
    ),
}
