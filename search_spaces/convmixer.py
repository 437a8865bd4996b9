"""ConvMixer: patches mixed by large depthwise convolutions, channels by 1 x 1 convolutions.

Trockman & Kolter, "Patches Are All You Need?", TMLR 2023 (arXiv 2201.09792), section 2 and table 1.
"""

from __future__ import annotations

from nasflow import ir


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (7, 14),
    widths: tuple[int, ...] = (256, 512, 768, 1024, 1536),
    depths: tuple[int, int] = (4, 32),
) -> ir.Space:
    """Return the space of ConvMixers, named width/depth, for square images of ``size`` pixels."""
    patch = ir.choice("patch", *patches, ordered=True)
    width = ir.choice("width", *widths, ordered=True)
    kernel = ir.choice("kernel", 3, 5, 7, 8, 9, ordered=True)
    activation = ir.choice("activation", "gelu", "relu")
    depth = ir.integer("depth", *depths)

    def block(x: ir.Value) -> ir.Value:
        return convmixer_block(x, kernel, activation)

    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(
        ir.image(channels, size), name="stem"
    )
    x = ir.repeat(block, depth)(activated(x, activation))
    x = ir.Linear(classes)(ir.Mean()(x, name="pool"), name="head")
    return ir.Space(x, name="convmixer")


def activated(x: ir.Value, activation: ir.Operand) -> ir.Value:
    return ir.BatchNorm()(ir.Activation(activation)(x))


@ir.block
def convmixer_block(x: ir.Value, kernel: ir.Operand, activation: ir.Operand) -> ir.Value:
    """Convolve each channel beside a skip connection, then mix channels: (C, H, W) -> the same."""
    width = x.dim("C")
    depthwise = ir.Conv2d(width, kernel, groups=width, padding="same", init="torch")
    x = ir.Add()(x, activated(depthwise(x, name="depthwise"), activation))
    pointwise = ir.Conv2d(width, 1, init="torch")
    return activated(pointwise(x, name="pointwise"), activation)


def _model(
    width: int, depth: int, kernel: int, activation: str = "gelu", note: str = ""
) -> ir.Model:
    point = {
        "patch": 7,
        "width": width,
        "kernel": kernel,
        "activation": activation,
        "depth": depth,
    }
    return ir.Model(point, source="Trockman & Kolter (2022), table 1", note=note)


_NOTE = "the printed MACs count more than products"

MODELS: dict[str, ir.Model] = {
    "convmixer_768_32": _model(768, 32, kernel=7, activation="relu", note=_NOTE),
    "convmixer_1536_20": _model(1536, 20, kernel=9, note=_NOTE),
    "convmixer_1024_12": _model(1024, 12, kernel=8),
    "convmixer_512_16": _model(512, 16, kernel=8),
}
