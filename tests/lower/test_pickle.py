"""Modules of classes that were made from text travel between processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

import nasflow
from nasflow.lower import module
from nasflow.lower.assemble import assembled_class
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
    found = pickle.loads((tmp_path / "out").read_bytes())
    with torch.no_grad():
        torch.testing.assert_close(found, [own(*x) for own in modules])


def test_what_was_changed_stays_changed() -> None:
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    own = space.to_supernet().extract(space.sample(1))
    own.classifier = nn.Identity()
    own.mine = nn.Parameter(torch.ones(3))
    own.train(False)
    for again in (pickle.loads(pickle.dumps(own)), copy.deepcopy(own)):
        assert type(again) is type(own) and not again.training
        assert isinstance(again.classifier, nn.Identity)
        assert again.mine is not own.mine
        assert again.state_dict().keys() == own.state_dict().keys()


def test_a_class_derived_from_a_written_one_stays_itself() -> None:
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    graph = space.bind(space.sample(1))
    written = type(graph.to_torch(seed=0))
    derived = type("Derived", (written,), {"__module__": __name__})
    assert type(copy.deepcopy(derived())) is derived


def test_a_copy_is_of_the_same_class_however_many_were_made_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 1)
    monkeypatch.setattr(module, "_kept", OrderedDict())
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    first = space.bind(space.sample(1)).to_torch(seed=0)
    space.bind(space.sample(2)).to_torch(seed=0)
    assert type(first).__module__ not in sys.modules
    for again in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert type(again) is type(first)


def test_what_was_compiled_is_left_behind() -> None:
    space = nasflow.space("nas_bench_macro", size=16, channels=4)
    written = space.bind(space.sample(1)).to_torch(seed=0)
    written.compile()
    assert pickle.loads(pickle.dumps(written))._compiled_call_impl is None


def test_threads_get_the_classes_that_they_ask_for() -> None:
    texts = [f"    def forward(self, x):\n        return x + {i}" for i in range(200)]

    def asked(i: int) -> bool:
        return assembled_class("Same", texts[i], ())()(1) == 1 + i

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(asked, range(len(texts))))
    finally:
        sys.setswitchinterval(before)
