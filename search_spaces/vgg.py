"""VGG: stages of 3x3 convolutions, a max pool after each, and three fully connected layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(arXiv 1409.1556), table 1. With squeeze-and-excitation as in Hu et al. (2018), table 2, whose base
network has batch norm, and Deep Image's networks (Wu et al., 2015, arXiv 1501.02876), which are wider VGG-16s.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import squeeze_excite

FILTERS = (64, 128, 256, 512, 512)
REDUCTION = 16  # of the hidden layer of SE


@ir.block
def convolution(
    x: ir.Value, filters: ir.Operand, norm: ir.Operand, attention: ir.Operand
) -> ir.Value:
    """A 3x3 convolution, its norm if any, a ReLU, squeeze-and-excitation if any."""

    def plain(x: ir.Value) -> ir.Value:
        return ir.Conv2d(filters, 3)(x, name="conv")

    def normed(x: ir.Value) -> ir.Value:
        return ir.BatchNorm()(ir.Conv2d(filters, 3)(x, name="conv"), name="norm")

    x = ir.Activation("relu")(ir.switch(norm, none=plain, batch=normed)(x, name="layer"))

    def squeeze(x: ir.Value) -> ir.Value:
        return squeeze_excite(x, x.dim("C") // REDUCTION)

    return ir.switch(attention, none=lambda x: x, se=squeeze)(x, name="attention")


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    stages: int = 5,
    deepest: int = 4,
    widths: tuple[float, ...] = (0.25, 0.5, 1),
    features: tuple[int, ...] = (512, 1024, 2048, 4096),
) -> ir.Space:
    """Return the space of VGG networks.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        stages: how many stages, each halving the resolution; at most 5.
        deepest: most convolutions of a stage.
        widths: factors of all filters; features: units of the hidden layers.
    """
    norm = ir.choice("norm", "none", "batch")
    attention = ir.choice("attention", "none", "se")
    width = ir.choice("width", *widths, ordered=True)
    hidden = ir.choice("features", *features, ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.5, searched=False, default=0.5)
    last_pool = ir.choice("last_pool", 2, 4, searched=False)  # 4 for images twice as high

    x = ir.image(channels, size)
    for stage, filters in enumerate(FILTERS[:stages], 1):
        out = ir.nearest_integer(filters * width)
        with ir.scope(f"stage{stage}"):
            depth = ir.integer("depth", 1, deepest)
            layers = ir.repeat(
                lambda x, out=out: convolution(x, out, norm, attention), depth, name="layers"
            )
            pool = last_pool if stage == stages else 2
            x = ir.MaxPool(pool, pool, padding=0)(layers(x))
    x = ir.Flatten()(x)
    for name in ("fc1", "fc2"):
        x = ir.Activation("relu")(ir.Linear(hidden, init=("normal", 0.01))(x, name=name))
        x = ir.Dropout(dropout)(x)
    return ir.Space(ir.Linear(classes, init=("normal", 0.01))(x, name="classifier"), name="vgg")


def _model(depths: Sequence[int], norm: str = "none", attention: str = "none") -> ir.Model:
    point = {"norm": norm, "attention": attention, "width": 1, "features": 4096}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    source = "Simonyan & Zisserman (2015), table 1"
    if attention == "none":
        return ir.Model(point, source=source)
    note = "an SE after every convolution: assumed, and meets the printed multiply-adds"
    return ir.Model(point, source="Hu et al. (2018), table 2", reconstructed=True, note=note)


def _deep_image(size: int, last_pool: int, note: str) -> ir.Model:
    point = {**_model((2, 2, 3, 3, 3)).point, "features": 6144, "last_pool": last_pool}
    settings = {"size": size, "features": (6144,)}
    source = "Wu et al. (2015), section 4"
    return ir.Model(point, settings, source, reconstructed=True, note=note)


DEEP_IMAGE = (
    "the paper's largest model has 16 layers and 212.7M weights (as remembered: no public copy was found): VGG-16 "
    "with 6144 hidden units has just as many, without biases, for crops of 224 pixels from 256"
)
HIGH_RES = (
    "no figures are published; assumed: the low-resolution network with a 4x4 last pool, for crops of 448 "
    "from 512"
)

MODELS: dict[str, ir.Model] = {
    "vgg11": _model((1, 1, 2, 2, 2)),
    "vgg13": _model((2, 2, 2, 2, 2)),
    "vgg16": _model((2, 2, 3, 3, 3)),
    "vgg19": _model((2, 2, 4, 4, 4)),
    "vgg16_bn": _model((2, 2, 3, 3, 3), "batch"),
    "se_vgg16": _model((2, 2, 3, 3, 3), "batch", "se"),
    "deep_image_low_res": _deep_image(224, 2, DEEP_IMAGE),
    "deep_image_high_res": _deep_image(448, 4, HIGH_RES),
}
