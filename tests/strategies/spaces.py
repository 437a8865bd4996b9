"""Small spaces for driving strategies."""

from __future__ import annotations

from nasflow import ir


def flat(*counts: int) -> ir.Space:
    """Return a space of one decision d0, d1, ... for each count, with that many options."""
    x = ir.image(3, 8)
    for i, count in enumerate(counts):
        x = ir.Scale(ir.choice(f"d{i}", *range(count)))(x)
    return ir.Space(x, name="flat")


def gated() -> ir.Space:
    """Return a space of 196 points in which some decisions open others.

    One decision has a single option, one is ordered, one has tuples, one is not searched.
    """
    x = ir.Activation(ir.choice("only", "relu"))(ir.image(3, 8))
    x = ir.Conv2d(8, ir.choice("pair", (1, 3), (3, 1)))(x)
    branches = {
        "kernels": lambda x: ir.Conv2d(8, ir.choice("kernel", 3, 5, 7))(x),
        "groups": lambda x: ir.Conv2d(8, groups=ir.choice("groups", 1, 2, 4, 8))(x),
    }
    x = ir.switch(ir.choice("kind", *branches), branches)(x)
    x = ir.Conv2d(8, bias=ir.choice("bias", False, True, searched=False, default=True))(x)
    x = ir.repeat(lambda x, i: ir.Conv2d(ir.choice("width", 8, 16))(x), ir.integer("depth", 1, 3))(
        x
    )
    return ir.Space(x, name="gated")
