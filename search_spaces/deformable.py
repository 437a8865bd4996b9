"""Deformable convolution: every tap of a kernel looks where an offset, computed from the map, sends it.

Dai et al., "Deformable Convolutional Networks", ICCV 2017 (arXiv 1703.06211), section 2.1 and figure 2. The
network around it is plain: stages of convolutions, any of which may be deformable.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act


@ir.block
def deformable(x: ir.Value, out: ir.Operand, kernel: ir.Operand, stride: int) -> ir.Value:
    """Offsets from a convolution that starts at zero; then the convolution they move."""
    field = ir.Conv2d(2 * kernel * kernel, kernel, stride, init="zeros")(x, name="offsets")
    x = ir.DeformableConv2d(out, kernel, stride, bias=False)(x, field, name="conv")
    return ir.Activation("relu")(ir.BatchNorm()(x, name="norm"))


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    widths: tuple[int, ...] = (16, 32, 64),
    stages: int = 3,
    deepest: int = 3,
) -> ir.Space:
    """Return the space of plain networks with deformable convolutions.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        widths: filters of the first stage; every stage doubles them and halves the resolution.
        stages, deepest: how many stages, and most convolutions of each.
    """
    width = ir.choice("width", *widths, ordered=True)
    x = ir.image(channels, size)
    for stage in range(stages):
        out = width * 2**stage
        with ir.scope(f"stage{stage + 1}"):
            kind = ir.choice("kind", "plain", "deformable")
            kernel = ir.choice("kernel", 3, 5, ordered=True)
            depth = ir.integer("depth", 1, deepest)

            def layer(
                x: ir.Value,
                i: int,
                kind: ir.Decision = kind,
                kernel: ir.Decision = kernel,
                out: ir.Operand = out,
                first: int = 2 if stage else 1,
            ) -> ir.Value:
                stride = first if i == 0 else 1
                return ir.switch(
                    kind,
                    plain=lambda x: conv_bn_act(x, out, kernel, stride),
                    deformable=lambda x: deformable(x, out, kernel, stride),
                )(x, name="layer")

            x = ir.repeat(layer, depth)(x)
    return ir.Space(classifier(x, classes), name="deformable")


POINT: dict[str, ir.Scalar] = {"width": 16, "stage3/kind": "deformable"}
for _stage in (1, 2, 3):
    POINT |= {f"stage{_stage}/depth": 1, f"stage{_stage}/kernel": 3}
    POINT.setdefault(f"stage{_stage}/kind", "plain")

MODELS = {
    # As in the paper, the last stage is deformable.
    "deformable_conv": ir.Model(POINT, source="Dai et al. (2017), section 2.1")
}
