"""Weights have the names of their nodes, and come from elsewhere by name or by order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasflow import ir
from nasflow.errors import DataError
from nasflow.lower import copy_weights, state_dict_names, to_source
from tests.lower.spaces import SPACES


def network() -> ir.Graph:
    x = ir.Activation()(ir.BatchNorm()(ir.Conv2d(4, 3)(ir.image(3, 8), name="conv"), name="bn"))
    return ir.Space(ir.Linear(5)(ir.Mean()(x), name="head"), name="net").bind({})


def foreign() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1)
    ).eval()


def test_names_are_paths() -> None:
    names = [name for name, _, _ in state_dict_names(network())]
    assert names[:4] == ["conv.weight", "conv.bias", "bn.weight", "bn.bias"]
    assert names[-2:] == ["head.weight", "head.bias"]
    space = SPACES["resnet"]()
    found = {name for name, _, _ in state_dict_names(space.bind(space.sample(0)))}
    assert "stage0_blocks.0.shortcut_else.conv.weight" in found


def test_shared_weights_are_named_once() -> None:
    space = SPACES["several"]()
    names = [name for name, _, _ in state_dict_names(space.bind(space.sample(0)))]
    assert len(names) == len(set(names))
    assert "first.conv.weight" in names and not any(name.startswith("second") for name in names)
    assert {"float_", "lambda_.weight"} <= set(names)


def test_foreign_weights_are_copied_by_order() -> None:
    module, other = network().to_torch().eval(), foreign()
    copy_weights(module, other.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(module(x), other(x).mean(dim=(2, 3)))


def test_foreign_weights_are_copied_by_name() -> None:
    module, other = network().to_torch().eval(), foreign()
    mine = module.state_dict()
    parts = {"conv": "0", "bn": "1", "head": "3"}
    named = {key: f"{parts[key.split('.')[0]]}.{key.split('.')[1]}" for key in mine}
    state = dict(reversed(other.state_dict().items()))
    copy_weights(module, state, named)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(module(x), other(x).mean(dim=(2, 3)))


def test_what_does_not_fit_is_refused() -> None:
    module, state = network().to_torch(), foreign().state_dict()
    with pytest.raises(DataError, match="expected 9 tensors, got 10"):
        copy_weights(module, {**state, "more": torch.zeros(1)})
    with pytest.raises(DataError, match="nothing for"):
        copy_weights(module, state, {"conv.weight": "0.weight"})
    state["3.weight"] = state["3.weight"].reshape(4, 5)
    with pytest.raises(DataError, match=r"head.weight: expected shape \(5, 4\)"):
        copy_weights(module, state)


FRESH = """
import sys, torch
from safetensors.torch import load_file
import model
assert "nasflow" not in sys.modules
cls = [value for value in vars(model).values() if isinstance(value, type)][-1]
network = cls()
network.load_state_dict(load_file("weights.safetensors"))
network.eval()
x = torch.load("input.pt")
torch.save(network(*x), "output.pt")
"""


@pytest.mark.parametrize("name", ["cells", "translator"])
def test_a_fresh_process_gives_the_same_output_from_the_files(tmp_path: Path, name: str) -> None:
    space = SPACES[name]()
    graph = space.bind(space.sample(0))
    module = graph.to_torch(seed=0).eval()
    given = [
        torch.randint(5, (2, *kind.shape)) if kind.dtype == "int" else torch.randn(2, *kind.shape)
        for kind in graph.inputs
    ]
    (tmp_path / "model.py").write_text(to_source(graph))
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    torch.save(given, tmp_path / "input.pt")
    command = [sys.executable, "-c", FRESH]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "output.pt"), module(*given))
