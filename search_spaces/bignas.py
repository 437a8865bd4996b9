"""BigNAS: one set of weights for children of 200 to 1,000 million multiply-adds.

Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models", ECCV 2020
(arXiv 2003.11142), its table of the search space: resolution, width, depth and kernel are elastic,
expansion is not; every layer squeezes and excites.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act
from search_spaces._mobile import Stage, chosen, mobile_stage, point

STAGES = (
    Stage((16, 24), (1, 2), (3,), (1,), 1, True),
    Stage((24, 32), (2, 3), (3,), (6,), 2, True),
    Stage((40, 48), (2, 3), (3, 5), (6,), 2, True),
    Stage((80, 88), (2, 3, 4), (3, 5), (6,), 2, True),
    Stage((112, 120, 128), (2, 3, 4, 5, 6), (3, 5), (6,), 1, True),
    Stage((192, 200, 208, 216), (2, 3, 4, 5, 6), (3, 5), (6,), 2, True),
    Stage((320, 328, 336, 344, 352), (1, 2), (3, 5), (6,), 1, True),
)


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    sizes: tuple[int, ...] = (192, 224, 288, 320),
    stems: tuple[int, ...] = (32, 40),
    features: tuple[int, ...] = (1280, 1408),
    stages: Sequence[Stage] = STAGES,
) -> ir.Space:
    """Return the space: resolution, width of stem and features, and the choices of each stage.

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
            x = mobile_stage(x, Stage(*stage), narrow=True)
    x = conv_bn_act(x, chosen("features", features), activation="silu", name="last")
    return ir.Space(classifier(x, classes, dropout, init=("normal", 0.01)), name="bignas")


KERNELS = (3, 3, 5, 3, 5, 5, 3)
NARROW = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
NOTE = (
    "the paper draws its children only in a figure of its appendix; this point meets the printed "
    "parameters and MACs"
)
FOUND = f"{NOTE}; depths and kernels are those of MMRazor's transcription"
SEVERAL = f"{NOTE}, as several do: it is the one nearest to bignas_m"


def _model(
    resolution: int, depths: Sequence[int], note: str, widths: Sequence[int] = NARROW
) -> ir.Model:
    expands = [stage.expands[0] for stage in STAGES]
    found = point(resolution, widths, depths, KERNELS, expands, STAGES)
    return ir.Model({**found, "dropout": 0.2}, {}, "Yu et al. (2020), table 1", True, note)


MODELS: dict[str, ir.Model] = {
    "bignas_s": _model(192, (1, 2, 2, 2, 2, 3, 1), FOUND),
    "bignas_m": _model(224, (1, 2, 2, 2, 4, 4, 1), FOUND),
    "bignas_l": _model(
        224, (1, 2, 2, 3, 6, 4, 1), SEVERAL, (32, 16, 32, 40, 80, 128, 192, 320, 1280)
    ),
    "bignas_xl": _model(
        288, (1, 2, 3, 3, 5, 6, 2), SEVERAL, (32, 16, 24, 40, 80, 112, 216, 320, 1280)
    ),
}
