"""NAS-Bench-Macro: eight layers of a MobileNetV2-like network, each one of three blocks.

Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021 (arXiv 2103.11922);
details follow the authors' github.com/xiusu/NAS-Bench-Macro. All 6,561 networks were trained:
`nasflow.evaluate.table.nas_bench_macro` looks them up.
"""

from __future__ import annotations

from collections.abc import Callable

from nasflow import ir

STAGES = (
    2,
    3,
    3,
)  # layers in each; the first of a stage halves the resolution and doubles the width


def conv_norm(
    x: ir.Value, out: ir.Operand, kernel: int = 1, stride: int = 1, groups: ir.Operand = 1
) -> ir.Value:
    x = ir.Conv2d(out, kernel, stride, groups=groups, bias=False, init="torch")(x)
    return ir.BatchNorm()(x)


@ir.block
def project(x: ir.Value, out: int, stride: int) -> ir.Value:
    """Stand for the identity where the shape changes."""
    return conv_norm(x, out, 1, stride)


@ir.block
def mbconv(x: ir.Value, out: int, stride: int, expand: int, kernel: int) -> ir.Value:
    hidden = x.dim("C") * expand
    relu = ir.Activation("relu")
    with ir.scope("expand"):
        y = relu(conv_norm(x, hidden))
    with ir.scope("depthwise"):
        y = relu(conv_norm(y, hidden, kernel, stride, groups=hidden))
    with ir.scope("project"):
        y = conv_norm(y, out)
    return y if stride > 1 else ir.Add()(x, y)


BLOCKS: dict[str, Callable[..., ir.Value]] = {
    "identity": lambda x, out, stride: project(x, out, stride) if stride > 1 else x,
    "mbconv_e3_k3": lambda x, out, stride: mbconv(x, out, stride, 3, 3),
    "mbconv_e6_k5": lambda x, out, stride: mbconv(x, out, stride, 6, 5),
}


def space(classes: int = 10, size: int = 32, channels: int = 32) -> ir.Space:
    """Return the space; stages have 2, 4 and 8 times `channels`, the last convolution 1,280."""
    with ir.scope("stem"):
        x = ir.Activation("relu")(conv_norm(ir.image(3, size), channels, 3))
    layer = 0
    for stage, layers in enumerate(STAGES):
        for index in range(layers):
            out, stride = channels * 2 ** (stage + 1), 2 if index == 0 else 1
            branches = {
                name: lambda x, make=make, out=out, stride=stride: make(x, out, stride)
                for name, make in BLOCKS.items()
            }
            choice = ir.choice(f"layer{layer}", *BLOCKS)
            x = ir.switch(choice, branches)(x, name=f"layer{layer}")
            layer += 1
    with ir.scope("head"):
        x = ir.Activation("relu")(conv_norm(x, 1280))
    return ir.Space(ir.Linear(classes)(ir.Mean()(x), name="classifier"), name="nas_bench_macro")


def _model(digits: str, source: str) -> ir.Model:
    point = {f"layer{i}": tuple(BLOCKS)[int(digit)] for i, digit in enumerate(digits)}
    return ir.Model(point=point, source=f"Su et al. (2021), {source}")


MODELS = {
    "nas_bench_macro_best": _model("22212202", "the best on CIFAR-10 by the mean of three runs")
}
