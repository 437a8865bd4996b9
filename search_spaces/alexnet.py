"""AlexNet and ZFNet: five convolutions, three overlapping max pools, three fully connected layers.

Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012, section 3: two halves of the filters, one a GPU, meet only in the third convolution (here:
two groups). Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
figure 3: a smaller kernel and stride in the first layer, strided second layer, no groups.
"""

from __future__ import annotations

from nasflow import ir

INIT = ("normal", 0.01)  # Krizhevsky et al., section 5


def space(*, classes: int = 1000, size: int = 227, channels: int = 3) -> ir.Space:
    """Return the space: the first layers' kernel and strides, groups, filters, normalisation."""
    groups = ir.choice("groups", 1, 2, ordered=True)
    norm = ir.choice("norm", "local_response", "none")
    features = ir.choice("features", 1024, 2048, 4096, ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.5, searched=False, default=0.5)

    def conv(
        x: ir.Value,
        number: int,
        filters: tuple[int, ...],
        kernel: ir.Operand,
        **settings: ir.Operand,
    ) -> ir.Value:
        with ir.scope(f"conv{number}"):
            out = ir.choice("filters", *filters, ordered=True)
        x = ir.Conv2d(out, kernel, init=INIT, **settings)(x, name=f"conv{number}")
        return ir.Activation("relu")(x)

    def normalise(x: ir.Value, name: str) -> ir.Value:
        local = ir.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0)
        return ir.switch(norm, local_response=local, none=lambda x: x)(x, name=name)

    def dense(x: ir.Value, name: str) -> ir.Value:
        x = ir.Linear(features, init=INIT)(ir.Dropout(dropout)(x), name=name)
        return ir.Activation("relu")(x)

    def pool(x: ir.Value) -> ir.Value:
        return ir.MaxPool(3, 2, padding=0, ceil=True)(x)

    with ir.scope("conv1"):
        kernel, stride = ir.choice("kernel", 7, 9, 11, ordered=True), ir.choice("stride", 2, 4)
        border = ir.choice("padding", 0, 1, 2, searched=False)
    with ir.scope("conv2"):
        strided = ir.choice("stride", 1, 2, ordered=True)
        border2 = ir.choice("padding", 0, 2, searched=False, default=2)

    x = conv(ir.image(channels, size), 1, (64, 96), kernel, stride=stride, padding=border)
    x = pool(normalise(x, "norm1"))
    x = conv(x, 2, (192, 256), 5, stride=strided, padding=border2, groups=groups)
    x = pool(normalise(x, "norm2"))
    x = conv(x, 3, (256, 384, 512), 3)
    x = conv(x, 4, (256, 384, 512, 1024), 3, groups=groups)
    x = pool(conv(x, 5, (256, 512), 3, groups=groups))
    x = dense(dense(ir.Flatten()(x), "fc6"), "fc7")
    return ir.Space(ir.Linear(classes, init=INIT)(x, name="fc8"), name="alexnet")


def _model(
    kernel: int, stride: int, filters: tuple[int, ...], source: str, groups: int = 1, **more: object
) -> ir.Model:
    point = {"groups": groups, "norm": "local_response", "features": 4096}
    point |= {"conv1/kernel": kernel, "conv1/stride": stride, "conv2/stride": 1}
    point |= {f"conv{number}/filters": count for number, count in enumerate(filters, 1)}
    size = 227 if kernel == 11 else 224
    return ir.Model({**point, **more}, {"size": size}, source)


ZEILER = "Zeiler & Fergus (2014), figure 3"
ZFNET = {"conv2/stride": 2, "conv1/padding": 1, "conv2/padding": 0}

MODELS: dict[str, ir.Model] = {
    "alexnet": _model(
        11, 4, (96, 256, 384, 384, 256), "Krizhevsky et al. (2012), section 3.5", groups=2
    ),
    "zfnet": _model(7, 2, (96, 256, 384, 384, 256), ZEILER, **ZFNET),
    "zfnet_doubled": _model(7, 2, (96, 256, 512, 1024, 512), f"{ZEILER}, table 3", **ZFNET),
}
