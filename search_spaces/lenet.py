"""LeNet-5: three convolutions with sub-sampling between them, and two fully connected layers.

LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 1998, section II.B. As is usual since, C3 sees all of S2's maps, sub-sampling
has no weights, and the output layer is linear instead of radial basis functions.
"""

from __future__ import annotations

from nasflow import ir


def space(*, classes: int = 10, size: int = 32, channels: int = 1) -> ir.Space:
    """Return the space: filters, kernel, non-linearity and pooling around LeNet-5's layers."""
    kernel = ir.choice("kernel", 3, 5, ordered=True)
    width = ir.choice("width", 0.5, 1, 2, 4, ordered=True)
    form = ir.choice("activation", "tanh", "relu")
    pooling = ir.choice("pool", "average", "max")

    def act(x: ir.Value) -> ir.Value:
        return ir.Activation(form)(x)

    def conv(x: ir.Value, filters: int, name: str) -> ir.Value:
        out = ir.nearest_integer(filters * width)
        return act(ir.Conv2d(out, kernel, padding=0, init="torch")(x, name=name))

    def halve(x: ir.Value, name: str) -> ir.Value:
        average, largest = ir.AvgPool(2, 2, padding=0), ir.MaxPool(2, 2, padding=0)
        return ir.switch(pooling, average=average, max=largest)(x, name=name)

    x = halve(conv(ir.image(channels, size), 6, "c1"), "s2")
    x = halve(conv(x, 16, "c3"), "s4")
    x = ir.Flatten()(conv(x, 120, "c5"))
    x = act(ir.Linear(ir.nearest_integer(84 * width))(x, name="f6"))
    return ir.Space(ir.Linear(classes)(x, name="output"), name="lenet")


MODELS: dict[str, ir.Model] = {
    "lenet5": ir.Model(
        {"kernel": 5, "width": 1, "activation": "tanh", "pool": "average"},
        source="LeCun et al. (1998), section II.B",
        note="C3 sees all maps of S2; with the paper's connection table it has 60,000 weights",
    )
}
