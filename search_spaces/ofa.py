"""Once-for-all: MobileNetV3's trunk with open depth, and a kernel and an expansion for every layer.

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020
(arXiv 1908.09791), section 3.2. The named children are the released specialised networks.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act, mbconv
from search_spaces._mobile import chosen, efficient_head

# Filters, stride, squeeze-and-excitation and non-linearity of each stage (MobileNetV3-Large's).
STAGES = (
    (24, 2, False, "relu"),
    (40, 2, True, "relu"),
    (80, 2, False, "hard_swish"),
    (112, 1, True, "hard_swish"),
    (160, 2, True, "hard_swish"),
)
STEM, LAST, FEATURES = 16, 960, 1280


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    sizes: tuple[int, ...] = tuple(range(128, 225, 4)),
    widths: tuple[float, ...] = (1.0, 1.2),
    depths: tuple[int, ...] = (2, 3, 4),
    kernels: tuple[int, ...] = (3, 5, 7),
    expands: tuple[int, ...] = (3, 4, 6),
    transform: bool = True,
) -> ir.Space:
    """Return the space: resolution and width of all, depth of a stage, kernel and expansion of a layer.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        sizes, widths: sides of the images; multipliers of all filters. The paper trains one
            supernet for each width.
        depths, kernels, expands: of every stage, and of every layer.
        transform: whether a supernet maps the centre of a kernel by a learned matrix to a smaller
            one, as the paper's does; else the centre is the smaller one.
    """
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    width = ir.choice("width", *widths, ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.1, 0.2, searched=False)

    def scaled(filters: int) -> ir.Operand:
        return ir.round_to_8(filters * width)

    x = ir.image(channels, side)
    x = conv_bn_act(x, scaled(STEM), 3, 2, activation="hard_swish", name="stem")
    x = mbconv(x, scaled(STEM), x.dim("C"), activation="relu", name="first")
    for number, (filters, stride, se, form) in enumerate(STAGES, 1):
        with ir.scope(f"stage{number}"):
            out = scaled(filters)

            def layer(
                x: ir.Value,
                i: int,
                out: ir.Operand = out,
                stride: int = stride,
                se: bool = se,
                form: str = form,
            ) -> ir.Value:
                kernel = chosen("kernel", kernels)
                hidden = x.dim("C") * chosen("expand", expands)
                squeeze = ir.round_to_8(hidden // 4) if se else 0
                step = stride if i == 0 else 1
                more = {"gate": "hard_sigmoid", "shrink": "transform" if transform else "centre"}
                return mbconv(x, out, hidden, kernel, step, squeeze, form, "relu", **more)

            x = ir.repeat(layer, chosen("depth", depths), name="layers")(x)
    x = efficient_head(x, scaled(LAST), scaled(FEATURES), "hard_swish", dropout)
    return ir.Space(ir.Linear(classes, init=("normal", 0.01))(x, name="classifier"), name="ofa")


def _model(resolution: int, width: float, stages: str, released: str, note: str = "") -> ir.Model:
    """Return a child; ``stages`` has for each layer its kernel and its expansion, two digits."""
    point: dict[str, object] = {"resolution": resolution, "width": width}
    point["dropout"] = 0.1 if width == 1.0 else 0.2
    for number, layers in enumerate(stages.split(";"), 1):
        pairs = [(int(layer[0]), int(layer[1])) for layer in layers.split()]
        point[f"stage{number}/depth"] = len(pairs)
        for i, (kernel, expand) in enumerate(pairs):
            name = f"stage{number}/layers/{i}"
            point |= {f"{name}/kernel": kernel, f"{name}/expand": expand}
    source = f"Cai et al. (2020), table 3; released as {released}"
    return ir.Model(point, {"sizes": (resolution,)}, source, note=note)


NOTE = (
    "4.4M parameters is what BigNAS's table prints; the authors list 5.8M. The network released for "
    "the LG G8 at 24 ms is the same"
)
MODELS: dict[str, ir.Model] = {
    "ofa_230m": _model(
        220, 1.0, "33 33; 74 53 33; 56 54 53; 34 74 53; 56 76 36 34", "pixel1_lat@58ms", NOTE
    ),
    "ofa_389m": _model(
        224, 1.2, "33 33; 53 56 33; 54 54 33; 56 54 34 34; 36 36 76 33", "flops@389M"
    ),
    "ofa_482m": _model(
        224, 1.2, "53 33 33; 54 34 54 33; 54 56 33 33; 56 76 36 54; 76 36 36 33", "flops@482M"
    ),
    "ofa_595m": _model(
        236, 1.2, "33 54 33; 54 54 36 53; 76 56 33 54; 36 56 76 34; 36 36 56 33", "flops@595M"
    ),
    "ofa_743m": _model(
        260, 1.2, "33 36 33; 54 36 33 53; 56 56 34 74; 56 36 36 34; 36 36 56 33", "note10_lat@64ms"
    ),
}
