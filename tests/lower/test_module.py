"""What to_torch gives is the network that the graph describes."""

from __future__ import annotations

import ast
import sys
import time
import traceback
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nasflow import ir
from nasflow.errors import GraphError
from nasflow.lower import state_dict_names, to_source, to_torch
from nasflow.lower.module import load
from tests.lower.interpreter import run
from tests.lower.spaces import SPACES

SEEDS = range(4)


@cache
def graph(name: str, seed: int) -> ir.Graph:
    space = SPACES[name]()
    return space.bind(space.sample(seed))


def inputs(graph: ir.Graph, device: str = "cpu") -> list[Tensor]:
    shapes = [((2, *kind.shape), kind.dtype) for kind in graph.inputs]
    return [
        torch.randint(5, shape, device=device)
        if dtype == "int"
        else torch.randn(shape, device=device)
        for shape, dtype in shapes
    ]


every = pytest.mark.parametrize("seed", SEEDS)
each = pytest.mark.parametrize("name", SPACES)


@every
@each
def test_computes_what_the_graph_says(name: str, seed: int) -> None:
    network = graph(name, seed)
    module = to_torch(network, seed=seed)
    for target in module.state_dict().values():  # so that no two weights are alike
        if target.is_floating_point():
            target.add_(torch.rand(target.shape), alpha=0.1)
    module.eval()
    given = inputs(network)
    with torch.no_grad():
        expected = run(network, module.state_dict(), *given)
        found = module(*given)
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(expected)
    for a, b, kind in zip(found, expected, network.outputs, strict=True):
        assert a.shape == (2, *kind.shape)
        torch.testing.assert_close(a, b)


@every
@each
def test_counts_agree(name: str, seed: int) -> None:
    network = graph(name, seed)
    module = to_torch(network, device="meta").eval()
    assert sum(p.numel() for p in module.parameters()) == network.params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = module(*inputs(network, "meta"))
    assert counter.get_total_flops() == 2 * 2 * network.macs  # two samples
    found = found if isinstance(found, tuple) else (found,)
    assert [tuple(x.shape[1:]) for x in found] == [kind.shape for kind in network.outputs]


@each
def test_state_dict_is_what_the_graph_declares(name: str) -> None:
    network = graph(name, 0)
    state = to_torch(network).state_dict()
    declared = {key: shape for key, _, shape in state_dict_names(network)}
    assert {key: tuple(value.shape) for key, value in state.items()} == declared
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(to_source(network), scope)
    written = ast.parse(to_source(network)).body[-1]
    assert isinstance(written, ast.ClassDef)
    scope[written.name]().load_state_dict(state)


@each
def test_a_graph_from_json_lowers_alike(name: str) -> None:
    network = graph(name, 1)
    assert to_source(ir.Graph.from_json(network.to_json())) == to_source(network)


def test_trains() -> None:
    network = graph("cells", 0)
    module = to_torch(network, seed=0)
    module(*inputs(network)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_seed_fixes_the_weights_and_leaves_the_global_state_alone() -> None:
    network = graph("resnet", 0)
    before = torch.get_rng_state()
    a, b, c = (to_torch(network, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["stem_conv.weight"], c["stem_conv.weight"])
    d, e = to_torch(network).state_dict(), to_torch(network).state_dict()
    assert not torch.equal(d["stem_conv.weight"], e["stem_conv.weight"])


def test_the_default_device_is_used() -> None:
    with torch.device("meta"):
        module = to_torch(graph("resnet", 0))
    assert {p.device.type for p in module.parameters()} == {"meta"}


def test_equal_networks_are_one_class() -> None:
    assert type(to_torch(graph("resnet", 0))) is type(to_torch(graph("resnet", 0)))
    text = "from torch import nn\n"
    assert load(text) is load(text)
    assert sys.modules[load(text).__name__] is load(text)


def test_tracebacks_show_the_written_line() -> None:
    module = to_torch(graph("resnet", 0))
    with pytest.raises(RuntimeError) as caught:
        module(torch.zeros(1, 5, 16, 16))
    assert "self.stem_conv(" in "".join(traceback.format_exception(caught.value))


def test_tensors_that_an_operation_does_not_declare_are_refused() -> None:
    class Undeclared(ir.Operation):
        def infer(self, *types: ir.Type) -> ir.Type:
            return types[0]

        def source(self, *types: ir.Type) -> ir.Source:
            return ir.Source("{self}({0})", build=ir.Call("nn.BatchNorm2d", (("c", 3),)))

    network = ir.Space(ir.image(3, 4) and ir.Activation()(ir.image(3, 4)), name="net").bind({})
    made = ir.Applied(Undeclared(), network.inputs)
    network = ir.Graph("net", network.inputs, [ir.Node("own", made, (0,), "own")], [1])
    with pytest.raises(GraphError, match=r"own\..*declares nothing but its module keeps"):
        to_torch(network)


def test_a_thousand_nodes_lower_quickly() -> None:
    x = ir.image(3, 8)
    for _ in range(250):
        x = ir.Activation()(conv(ir.Conv2d(4)(x)))
    network = ir.Space(x, name="deep").bind({})
    started = time.process_time()
    to_torch(network, device="meta")
    assert time.process_time() - started < 3.0  # 0.6 s on a quiet machine


@ir.block
def conv(x: ir.Value) -> ir.Value:
    return ir.BatchNorm()(ir.Conv2d(4, 3)(x))


def test_exports_and_compiles_whole() -> None:
    network = graph("cells", 1)
    module = to_torch(network, seed=0).eval()
    given = inputs(network)
    with torch.no_grad():
        program = torch.export.export(module, tuple(given))
        torch.testing.assert_close(program.module()(*given), module(*given))
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*given), module(*given))
