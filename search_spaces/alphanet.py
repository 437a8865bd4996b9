"""AlphaNet: children of the AttentiveNAS supernet, trained with an alpha-divergence.

Wang et al., "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling", CVPR 2021
(arXiv 2011.09011), table 2: BigNAS's stages with smaller widths, elastic expansion and MobileNetV3's
head. Wang et al., "AlphaNet: Improved Training of Supernets with Alpha-Divergence", ICML 2021 (arXiv
2102.07954) trains the same supernet; the children are those of its published configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act
from search_spaces._mobile import Stage, chosen, efficient_head, mobile_stage, point

ANY = (4, 5, 6)
STAGES = (
    Stage((16, 24), (1, 2), (3, 5), (1,), 1, False),
    Stage((24, 32), (3, 4, 5), (3, 5), ANY, 2, False),
    Stage((32, 40), (3, 4, 5, 6), (3, 5), ANY, 2, True),
    Stage((64, 72), (3, 4, 5, 6), (3, 5), ANY, 2, False),
    Stage((112, 120, 128), (3, 4, 5, 6, 7, 8), (3, 5), ANY, 1, True),
    Stage((192, 200, 208, 216), (3, 4, 5, 6, 7, 8), (3, 5), (6,), 2, True),
    Stage((216, 224), (1, 2), (3, 5), (6,), 1, True),
)


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    sizes: tuple[int, ...] = (192, 224, 256, 288),
    stems: tuple[int, ...] = (16, 24),
    features: tuple[int, ...] = (1792, 1984),
    stages: Sequence[Stage] = STAGES,
) -> ir.Space:
    """Return the space: resolution, width of stem and features, and four choices for each stage.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        sizes, stems, features: sides of the images; widths of the first and the last layer.
        stages: for each stage its widths, depths, kernels, expansions, stride, and whether it
            squeezes and excites.
    """
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    stem = chosen("stem", stems)
    x = conv_bn_act(ir.image(channels, side), stem, 3, 2, activation="silu", name="stem")
    for number, stage in enumerate(stages, 1):
        with ir.scope(f"stage{number}"):
            x = mobile_stage(x, Stage(*stage))
    x = efficient_head(x, 6 * x.dim("C"), chosen("features", features), "silu", dropout)
    return ir.Space(
        ir.Linear(classes, init=("normal", 0.01))(x, name="classifier"), name="alphanet"
    )


def _model(
    resolution: int,
    widths: Sequence[int],
    kernels: Sequence[int],
    expands: Sequence[int],
    depths: Sequence[int],
    attentive: bool = False,
    note: str = "",
) -> ir.Model:
    found = point(resolution, widths, depths, kernels, expands, STAGES)
    source = "AlphaNet, Wang et al. (2021), table 5 and released configuration"
    if attentive:
        source = "AttentiveNAS, Wang et al. (2021), table 3 and released configuration"
    return ir.Model({**found, "dropout": 0.2}, {}, source, note=note)


# Resolution; widths of stem, seven stages, features; kernels, expansions and depths of the stages.
MODELS: dict[str, ir.Model] = {
    "alphanet_a0": _model(
        192,
        (16, 16, 24, 32, 64, 112, 192, 216, 1792),
        (3, 3, 3, 3, 3, 3, 3),
        (1, 4, 4, 4, 4, 6, 6),
        (1, 3, 3, 3, 3, 3, 1),
    ),
    "alphanet_a1": _model(
        224,
        (16, 16, 24, 32, 64, 112, 192, 216, 1984),
        (3, 3, 3, 5, 3, 5, 3),
        (1, 4, 4, 4, 4, 6, 6),
        (1, 3, 3, 3, 3, 3, 1),
    ),
    "alphanet_a2": _model(
        224,
        (16, 16, 24, 32, 64, 112, 200, 224, 1984),
        (3, 3, 3, 3, 3, 5, 3),
        (1, 4, 5, 4, 4, 6, 6),
        (1, 3, 3, 3, 3, 4, 1),
    ),
    "alphanet_a3": _model(
        224,
        (16, 16, 24, 32, 64, 112, 208, 224, 1984),
        (3, 3, 3, 5, 3, 3, 3),
        (1, 4, 4, 4, 4, 6, 6),
        (2, 3, 3, 4, 3, 5, 1),
    ),
    "alphanet_a4": _model(
        256,
        (16, 16, 24, 32, 64, 112, 192, 216, 1984),
        (3, 3, 3, 5, 3, 5, 3),
        (1, 4, 4, 5, 4, 6, 6),
        (1, 3, 3, 4, 3, 5, 1),
    ),
    "alphanet_a5": _model(
        256,
        (16, 16, 24, 32, 64, 112, 208, 216, 1984),
        (3, 3, 3, 3, 3, 5, 3),
        (1, 4, 4, 5, 4, 6, 6),
        (1, 3, 3, 4, 4, 5, 1),
    ),
    "alphanet_a5_596m": _model(
        288,
        (16, 16, 24, 32, 64, 112, 200, 216, 1984),
        (3, 3, 5, 5, 3, 3, 3),
        (1, 4, 4, 4, 5, 6, 6),
        (2, 3, 4, 3, 3, 5, 1),
        note="the released code counts 594.8 million MACs as well",
    ),
    "alphanet_a6": _model(
        288,
        (16, 16, 24, 32, 64, 112, 216, 224, 1984),
        (3, 3, 3, 3, 3, 5, 3),
        (1, 4, 6, 5, 4, 6, 6),
        (1, 3, 3, 4, 4, 6, 1),
    ),
    "attentive_nas_a5": _model(
        256,
        (16, 16, 24, 32, 72, 112, 192, 216, 1792),
        (3, 3, 3, 5, 3, 3, 3),
        (1, 4, 5, 4, 4, 6, 6),
        (1, 3, 3, 3, 4, 6, 1),
        attentive=True,
    ),
}
