"""ResNet in ResNet: two streams, one with shortcuts and one without, that feed each other.

Targ, Almeida & Lyman, "Resnet in Resnet: Generalizing Residual Architectures" (2016, arXiv 1603.08029), section
2 and figure 1. Depths of the stages as in pytorchcv's port.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import conv_bn, conv_bn_act


def norm_relu(x: ir.Value, name: str) -> ir.Value:
    return ir.Activation("relu")(ir.BatchNorm()(x, name=name))


@ir.block
def generalized(
    residual: ir.Value, transient: ir.Value, filters: ir.Operand, stride: int
) -> tuple[ir.Value, ir.Value]:
    """A generalized residual block (figure 1(b), equations 1 and 2)."""

    def conv(x: ir.Value, name: str) -> ir.Value:
        return ir.Conv2d(filters, 3, stride, bias=False)(x, name=name)

    changes = (residual.dim("C") != filters) if stride == 1 else True

    def project(x: ir.Value) -> ir.Value:
        return ir.Conv2d(filters, 1, stride, bias=False)(x, name="project")

    shortcut = ir.when(changes, project, lambda x: x)(residual, name="shortcut")
    kept, given = conv(residual, "residual"), conv(residual, "to_transient")
    passed, taken = conv(transient, "transient"), conv(transient, "to_residual")
    residual = norm_relu(ir.Add()(kept, taken, shortcut), "residual_norm")
    return residual, norm_relu(ir.Add()(passed, given), "transient_norm")


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    widths: tuple[int, ...] = (12, 24, 48),
    deepest: tuple[int, ...] = (4, 6, 6),
) -> ir.Space:
    """Return the space of ResNets in ResNet.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        widths: filters of each stream in the first stage; every stage doubles them.
        deepest: most blocks of each stage.
    """
    width = ir.choice("width", *widths, ordered=True)
    image = ir.image(channels, size)
    streams = (
        conv_bn_act(image, width, 3, name="stem_residual"),
        conv_bn_act(image, width, 3, name="stem_transient"),
    )
    for stage, most in enumerate(deepest):
        filters = width * 2**stage
        with ir.scope(f"stage{stage + 1}"):
            depth = ir.integer("depth", 1, most)

            def block(
                residual: ir.Value, transient: ir.Value, filters: ir.Operand = filters
            ) -> tuple[ir.Value, ir.Value]:
                return generalized(residual, transient, filters, 1)

            streams = generalized(*streams, filters, 2 if stage else 1, name="first")
            streams = ir.repeat(block, depth - 1)(*streams)
    x = conv_bn(ir.Concat()(*streams), classes, name="classifier")
    return ir.Space(ir.Mean()(x), name="rir")


MODELS = {
    "resnet_in_resnet": ir.Model(
        {"width": 48, **{f"stage{s}/depth": d for s, d in enumerate((4, 6, 6), 1)}},
        source="Targ et al. (2016), section 3, 18-layer + wide RiR; stages as in pytorchcv",
        note="the paper prints 10.3M for 18 layers (as remembered: no public copy of its table was found); "
        "pytorchcv's port of its figure has 9.5M",
    )
}
