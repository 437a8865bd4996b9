from __future__ import annotations

import pytest
import torch
from torch import nn

from nasflow.errors import ConfigError
from nasflow.evaluate.recipe import Recipe


def test_schedules_at_known_places() -> None:
    cosine = Recipe(epochs=12, warmup=2, floor=0.1)
    assert [cosine.factor(e) for e in (0, 1, 2, 7, 12)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])
    falling = Recipe(schedule="exponential", warmup=1, decay=0.5, decay_every=2, floor=0.2)
    assert [falling.factor(e) for e in (0.5, 1, 3, 9)] == pytest.approx([0.5, 1, 0.5, 0.2])
    assert Recipe(schedule="constant", warmup=0).factor(3) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_norms_and_biases_do_not_decay_unless_asked(optimizer: str) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)
    parameters = [*module.parameters(), frozen]
    recipe = Recipe(optimizer=optimizer, weight_decay=0.1)
    groups = recipe.make_optimizer(parameters).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (3, 0.0)]
    whole = Recipe(optimizer=optimizer, weight_decay=0.1, decay_all=True)
    groups = whole.make_optimizer(parameters).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(4, 0.1)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epoch": 3}, r"no option 'epoch' \(did you mean 'epochs'\?\)"),
        ({"epochs": "few"}, "epochs must be a whole number, got 'few'"),
        ({"batch": 2.5}, "batch must be a whole number, got 2.5"),
        ({"clip": "no"}, "clip must be a number or null, got 'no'"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"epochs": 0}, "epochs must be above 0, got 0"),
        ({"optimizer": "sdg"}, r"one of sgd, adamw, rmsprop, got 'sdg' \(did you mean 'sgd'\?\)"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"average": 1.0}, "average must be at least 0 and below 1, got 1.0"),
        ({"weight_decay": -1}, "weight_decay must be 0 or more, got -1"),
    ],
)
def test_wrong_settings_get_one_clear_line(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Recipe.of(options)
