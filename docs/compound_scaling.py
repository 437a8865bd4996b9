"""Write docs/compound-scaling.md: what compound scaling does to three baselines, and the published fit.

python docs/compound_scaling.py > docs/compound-scaling.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import nasflow
from nasflow import discovery
from strategies.compound_scaling import CompoundScaling

FACTORS = (1.2, 1.1, 1.15)  # Tan & Le (2019), section 3.3
BASELINES = (("efficientnet", "efficientnet_b0"), ("resnet", "resnet18"), ("vit", "deit_ti"))
HEAD = """\
# Compound scaling

Tan & Le (2019, "EfficientNet", section 3.3) make a good small network larger in depth, width and resolution at
once: layers grow by alpha^phi, channels by beta^phi, the images' side by gamma^phi, with
alpha * beta^2 * gamma^2 near 2, so that multiply-adds should double with each unit of phi. `compound_scaling`
does both of the paper's steps with any baseline of any space:

1. at phi = 1 it tries every alpha, beta and gamma of a grid that meets the constraint (or lets another strategy
   choose among them: `strategy.search=tpe`), each with the run's evaluator;
2. with the best it emits the family: a network for each of `strategy.phis`, and for each budget in
   `strategy.macs` the largest network within it.

```console
$ python -m nasflow search space=efficientnet strategy=compound_scaling
$ python -m nasflow search space=resnet strategy=compound_scaling strategy.search=random strategy.candidates=8
$ python -m nasflow search space=vit strategy=compound_scaling strategy.factors=[1.2,1.1,1.15] strategy.macs=[2e6,4e6]
```

The table at the end, and in the report, has the measured growth of multiply-adds beside 2^phi, and each member
of the family lies in the run's folder as `best/` does (`phi_1/`, `phi_2/`, ...). A smaller `strategy.step` makes
the grid finer (the paper's factors need 0.05: 108 triples; 0.1 has 20), `strategy.baseline` names another
baseline, `strategy.point={width: 0.5}` changes it.

## What a space must offer

Numeric decisions for depth, width and resolution. `ir.factors(scale)` declares three that a search leaves alone
and a point may set, and that multiply inside the graph:

```python
from nasflow import ir


def space(scale: float = 1.0, size: int = 32) -> ir.Space:
    factors = ir.factors(scale)  # with 1, none are declared
    x = ir.image(3, factors.side(size))
    x = ir.Conv2d(ir.round_to_8(16 * factors.width), 3)(x)
    layers = factors.layers(ir.integer("layers", 1, 4))  # rounded up
    x = ir.repeat(lambda x: ir.Conv2d(x.dim("C"), 3)(x), layers)(x)
    return ir.Space(ir.Linear(10)(ir.Mean()(x)), name="tower")


small = space(scale=4.0).bind({"layers": 2})
large = space(scale=4.0).bind(
    {"layers": 2, "depth_factor": 1.44, "width_factor": 1.21, "resolution_factor": 1.32}
)
assert large.macs > small.macs and large.inputs[0].shape == (3, 42, 42)
```

`efficientnet`, `resnet` and `vit` have the setting `scale`. Elsewhere existing decisions can be named, by pattern:
`space=mobilenet_v2 strategy.depth=['stage*/layers']` (width and resolution are found by their names). A scaled
value goes to the nearest one the space offers, whole numbers of layers are rounded up; where the space does
not reach, one line says so.
"""
DIGITS = """\
## On the handwritten digits

Three searches as above, on 8x8 images, 2 busy virtual cores, 3 to 5 minutes each (ResNet for 2 epochs, `random`
over 8 triples; DeiT for 3, `tpe` over 6; EfficientNet for 5, the whole grid). Rewards are accuracies of single
short trainings: they show that the loop works, not which factors are best.

| baseline | alpha, beta, gamma | growth of MACs at phi 1, 2, 3 | accuracy of the baseline and at phi 1, 2, 3 |
| --- | --- | --- | --- |
| `space=efficientnet`, B0 at width 0.25 | 1, 1, 1.4 | 1.15, 1.25, 2.29 | 0.20, 0.39, 0.61, 0.88 |
| `space=resnet`, two units a stage | 1, 1.2, 1.2 | 2.52, 4.54 | 0.83, 0.91, 0.77 |
| `space=vit`, patch 2, two blocks, one head | 1.2, 1, 1.3 | 2.34, 4.77 | 0.10, 0.19, 0.24 |

EfficientNet halves its images five times: on 8 pixels most of its maps are one pixel, so a finer image is worth
most and costs far less than 2^phi says. The prediction holds where maps are large, as below.
"""
FIT = """\
## EfficientNet-B1 to B7 beside the rule

The published networks are points of `efficientnet` with their published factors, which their authors rounded by
hand. With alpha 1.2, beta 1.1 and gamma 1.15 each of the three numbers asks for a phi of its own; *fit* is the
phi nearest to all three (least squares of the logarithms), and the last two columns compare MACs with B0's.
"""
GROWTH = """\
## Three baselines scaled by the same rule

alpha 1.2, beta 1.1, gamma 1.15 throughout (their product is 1.92), exact multiply-adds from the graph. Layers are
rounded up in each stage, channels to multiples of 8 (to whole ones in ResNet), and DeiT's images to whole patches
of 16 pixels (its heads get wider, not more): that is why growth is uneven, most of all where stages have two
layers, of which 1.2 times as many are three.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [
        HEAD,
        DIGITS,
        FIT,
        _fit(),
        GROWTH,
        *(_growth(family, name) for family, name in BASELINES),
    ]
    return "\n".join(parts)


def fit(values: Sequence[float], factors: Sequence[float] = FACTORS) -> float:
    """Return the phi for which factors^phi is nearest to the values, in logarithms."""
    logs = [math.log(factor) for factor in factors]
    return sum(math.log(v) * log for v, log in zip(values, logs, strict=True)) / sum(
        log * log for log in logs
    )


def _fit() -> str:
    base = nasflow.model("efficientnet_b0")
    rows = []
    for number in range(1, 8):
        name = f"efficientnet_b{number}"
        point = discovery.models()[name][1].point
        side = point["resolution"]
        values = (point["depth"], point["width"], side / 224)
        each = [fit((v,), (f,)) for v, f in zip(values, FACTORS, strict=True)]
        phi, growth = fit(values), nasflow.model(name).macs / base.macs
        numbers = (
            *(f"{value:.2f}" for value in each),
            f"{phi:.2f}",
            f"{growth:.2f}",
            f"{2**phi:.2f}",
        )
        rows.append((f"B{number}", *values[:2], f"{values[2]:.3f} ({side})", *numbers))
    header = (
        *("network", "depth", "width", "resolution", "phi of depth", "of width", "of resolution"),
        *("fit", "MACs over B0", "2^fit"),
    )
    return _table(header, rows)


def _growth(family: str, name: str) -> str:
    space = nasflow.space(family, scale=4.0)
    strategy = CompoundScaling(space, baseline=name, factors=FACTORS, phis=(1, 2, 3, 4))
    rows = []
    for phi, point in {
        0.0: strategy.base,
        **dict(zip(strategy.phis, strategy.family().values(), strict=True)),
    }.items():
        graph = space.bind(point)
        growth = graph.macs / strategy.base_macs
        side = graph.inputs[0].size("H")
        rows.append((f"{phi:g}", side, f"{graph.macs:,}", f"{growth:.2f}", f"{2**phi:.2f}"))
    return _table((f"{name}: phi", "side", "MACs", "growth", "2^phi"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
