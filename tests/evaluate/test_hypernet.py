"""The training of a network that makes other networks' weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.evaluate.hypernet import HypernetWeights, Making
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.sharing import Gradients
from nasflow.lower.hypernet import HyperSupernet
from tests.evaluate.sharing import shared, space


class Pair:
    """Train the biggest and the smallest child in each step."""

    def __init__(self, made: ir.Space) -> None:
        self.points = [made.largest(), made.smallest()]

    def paths(self, step: int, steps: int) -> list[ir.Point]:
        return self.points


class Averaging(Pair):
    """Average the gradients of paths itself."""

    def update(self, found: list[Gradients]) -> Gradients:
        return [
            sum(g if g is not None else torch.zeros(()) for g in each) / len(found)
            if any(g is not None for g in each)
            else None
            for each in zip(*found, strict=True)
        ]


def test_a_strategy_that_combines_gradients_gets_those_of_each_path() -> None:
    data = shared().data.limited(100, 0).prepared((8, 8), torch.device("cpu"))
    trained = []
    for rules in (Pair(space()), Averaging(space())):
        recipe = Recipe.of({"batch": 50, "epochs": 1, "learning_rate": 0.01})
        net = HyperSupernet(space(), 0, width=8, piece=64, depth=1)
        making = Making(net, data, recipe, 0, rules)
        making.train_epoch()
        trained.append({k: v.detach().clone() for k, v in net.state_dict().items()})
    for name, value in trained[0].items():
        assert torch.allclose(value, trained[1][name], atol=1e-5), name


def test_an_unknown_value_is_named_as_it_was_set() -> None:
    nothing: Any = None
    with pytest.raises(ConfigError, match=r"^evaluator\.made: expected one of .* mean 'pointwise'"):
        HypernetWeights(nothing, nothing, made="points")
