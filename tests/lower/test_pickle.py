"""Modules of classes that were made from text travel between processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import nasflow
from tests.lower.children import inputs
from tests.lower.small import small

ROOT = Path(__file__).parents[2]
LOADS = """
import pickle, sys
import torch
modules, x = pickle.load(open(sys.argv[1], "rb"))
with torch.no_grad():
    pickle.dump([module(*x) for module in modules], open(sys.argv[2], "wb"))
"""


@pytest.mark.parametrize("name", ["halonet", "nas_bench_macro", "swin", "revcol"])
def test_another_process_computes_the_same(name: str, tmp_path: Path) -> None:
    space = small(name)
    point = space.smallest()
    graph = space.bind(point)
    modules = [graph.to_torch(seed=0).eval(), space.to_supernet().extract(point).eval()]
    x = [each.float() if each.is_floating_point() else each for each in inputs(graph)]
    (tmp_path / "in").write_bytes(pickle.dumps((modules, x)))
    command = [sys.executable, "-c", LOADS, str(tmp_path / "in"), str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True)
    for module, found in zip(modules, pickle.loads((tmp_path / "out").read_bytes()), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(found, module(*x))


def test_what_was_changed_stays_changed() -> None:
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    module = space.to_supernet().extract(space.sample(1))
    module.classifier = nn.Identity()
    module.weight_of_mine = nn.Parameter(torch.ones(3))
    module.train(False)
    for again in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert type(again) is type(module) and not again.training
        assert isinstance(again.classifier, nn.Identity)
        assert again.weight_of_mine is not module.weight_of_mine
        assert again.state_dict().keys() == module.state_dict().keys()


def test_a_class_derived_from_a_written_one_stays_itself() -> None:
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    graph = space.bind(space.sample(1))
    written = type(graph.to_torch(seed=0))
    derived = type("Derived", (written,), {"__module__": __name__})
    assert type(copy.deepcopy(derived())) is derived
