"""A small space on the digits, and a driver that trains its supernet, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from nasflow import ir
from nasflow.data import digits
from nasflow.evaluate.supernet import SharedWeights
from strategies.ofa import OFA
from strategies.sandwich import Sandwich

SPACE = {"name": "tests.evaluate.sharing.space"}
RECIPE = {"epochs": 4, "images": 320, "average": 0.9, "watch": 2, "calibration": 128}


@ir.block
def unit(x: ir.Value, width: ir.Operand, kernel: ir.Operand) -> ir.Value:
    """A residual unit."""
    y = ir.Conv2d(width, kernel, bias=False)(x, name="first")
    y = ir.Activation("relu")(ir.BatchNorm()(y, name="norm1"))
    y = ir.Conv2d(x.dim("C"), 1, bias=False)(y, name="second")
    value: ir.Value = ir.Add()(x, ir.BatchNorm()(y, name="norm2"))
    return value


def space(classes: int = 10, channels: int = 1, size: int = 8) -> ir.Space:
    """Return a space of resolution, width, kernel and depth, with dropout that points may set."""
    side = ir.choice("resolution", size // 2, size, ordered=True)
    x = ir.Conv2d(16, 3, 2, bias=False)(ir.image(channels, side), name="stem")
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="stem_norm"))
    width = ir.choice("width", 4, 8, 16, ordered=True)
    kernel = ir.choice("kernel", 1, 3, ordered=True)
    x = ir.repeat(lambda x, i: unit(x, width, kernel), ir.integer("depth", 1, 2), name="units")(x)
    x = ir.Dropout(ir.choice("dropout", 0.0, 0.5, searched=False))(ir.Mean()(x, name="pool"))
    return ir.Space(ir.Linear(classes)(x, name="head"), name="residual")


def shared(**settings: object) -> SharedWeights:
    """Return an evaluator that trains quickly, on the CPU."""
    data = digits.load(augment={"crop": 1})
    return SharedWeights(data, SPACE, device="cpu", **{**RECIPE, **settings})  # type: ignore[arg-type]


STRATEGIES = {
    "sandwich": lambda made: Sandwich(made, 0, children=1, biggest={"dropout": 0.5}),
    "ofa": lambda made: OFA(made, 0, full=0.4, phases=("width",), children=(2,)),
}

if __name__ == "__main__":  # python -m tests.evaluate.sharing FOLDER STRATEGY
    evaluator = shared()
    rules = STRATEGIES[sys.argv[2]](evaluator.own_space)
    evaluator.prepare(rules, Path(sys.argv[1]), 0, lambda e: print("epoch", flush=True), {})
