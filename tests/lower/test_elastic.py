"""A child in a supernet is the child cut out of it: outputs, gradients, statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nasflow
from nasflow import ir
from nasflow.errors import SpaceError
from nasflow.evaluate.batchnorm import recalibrate
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type
from nasflow.lower import elastic, to_torch
from nasflow.lower.resample import resample
from nasflow.lower.shares import Shares
from tests.lower.children import (
    affordable,
    apart,
    assert_gradients_agree,
    inputs,
    perturb,
    run,
    shuffling,
    stepped,
    supernet,
)
from tests.lower.small import small

QUIET = elastic.QUIET


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few random points: these tests name those that they use."""
    monkeypatch.setattr(elastic, "QUIET", 8)


@pytest.mark.parametrize("name", nasflow.spaces())
def test_child_is_what_is_cut_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = small(name)
    net = affordable(space, monkeypatch)
    if net is None:
        return
    for point in (space.smallest(), space.sample(1)):
        child, module = net.at(point), net.extract(point)
        x = inputs(child.graph)
        assert apart(run(child, *x), run(module, *x)) < 1e-12
        if point == space.smallest():
            assert_gradients_agree(net, point, x)
            written = to_torch(child.graph).double()
            written.load_state_dict(module.state_dict())  # strict: the keys are the same
            assert apart(run(module, *x), run(written.train(module.training), *x)) < 1e-12
        if len(x) == 1:
            for part in (child, module):
                torch.manual_seed(0)
                recalibrate(part, x)
        with torch.no_grad():
            assert apart(run(child.eval(), *x), run(module.eval(), *x)) < 1e-12


def test_biggest_child_takes_weights_whole() -> None:
    space = shuffling()
    net = space.to_supernet()
    child = net.at(space.largest())
    own = {id(parameter) for parameter in net.parameters()}
    taken = child.tensors()
    assert {id(t) for key, t in taken.items() if id(t) in own} == own
    assert sum(p.numel() for p in net.parameters()) == child.graph.params


def test_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = shuffling().to_supernet(1), shuffling().to_supernet(1)
    assert torch.equal(state, torch.get_rng_state())
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    other = shuffling().to_supernet(2)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_statistics_never_leak_between_children() -> None:
    space = shuffling()
    net = space.to_supernet()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    small, big = net.at(space.smallest()), net.at(space.largest())
    small(torch.randn(4, 3, 8, 8) + 5)
    fresh = [t for key, t in big.tensors().items() if key.endswith("running_mean")]
    assert fresh and all(not t.any() for t in fresh)
    assert any(t.any() for key, t in small.tensors().items() if key.endswith("running_mean"))
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


def test_extracted_modules_share_nothing() -> None:
    space = small("autoformer")
    net = space.to_supernet()
    first, second = net.extract(space.largest()), net.extract(space.largest())

    def kept(module: torch.nn.Module) -> set[int]:
        return {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}

    assert not kept(first) & (kept(second) | kept(net) | kept(net.at(space.largest())))
    tables = [b for m in first.modules() for b in m._buffers.values() if b is not None]
    assert len({id(table) for table in tables}) < len(tables)  # one table serves all its layers


def test_what_is_made_in_inference_mode_trains_later() -> None:
    space = small("swin")
    point = space.smallest()
    x = torch.randn(2, *space.bind(point).inputs[0].shape)
    first, second = space.to_supernet(), space.to_supernet()
    with torch.inference_mode():
        modules = [first.at(point), first.extract(point)]
    for module in (*modules, second.extract(point)):
        module(x).sum().backward()


def test_weights_that_are_assigned_are_those_of_children() -> None:
    space = shuffling()
    net, other = space.to_supernet(seed=0), space.to_supernet(seed=1)
    point, x = space.smallest(), torch.randn(8, 3, 8, 8)
    net.at(point)
    net.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(net(point, x), other(point, x))
    net(point, x).sum().backward()
    assert any(parameter.grad is not None for parameter in net.parameters())


def test_recalibration_stays_in_the_child() -> None:
    space = shuffling()
    net = space.to_supernet()
    point, x = space.smallest(), torch.randn(8, 3, 8, 8) + 3
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    child, module = net.at(point), net.extract(point)
    for part in (child, module):
        recalibrate(part, [x])
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    other = net.at(space.largest()).tensors()
    assert not any(t.any() for key, t in other.items() if key.endswith("running_mean"))
    measured = {key: t for key, t in module.state_dict().items() if "running" in key}
    assert measured and all(apart(child.tensors()[key], t) < 1e-5 for key, t in measured.items())
    with torch.no_grad():
        assert apart(child.eval()(x), module.eval()(x)) < 1e-5
        assert apart(net.extract(point)(x), module(x)) < 1e-5  # statistics are copied


def test_gradients_can_be_asked_for_watched_and_differentiated() -> None:
    space = shuffling()
    net = supernet(space)
    point = space.smallest()
    child, x = net.at(point), inputs(space.bind(point))
    child(*x).square().sum().backward()
    held = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    own = {name: p for name, p in net.named_parameters() if name in held}
    asked = torch.autograd.grad(child(*x).square().sum(), list(own.values()))
    for (name, parameter), gradient in zip(own.items(), asked, strict=True):
        assert torch.allclose(gradient, held[name], atol=1e-9)
        assert torch.equal(parameter.grad, held[name])  # what was there is left alone
    name, watched = next(iter(own.items()))
    seen: list[Tensor] = []
    handle = watched.register_hook(seen.append)
    child(*x).square().sum().backward()
    handle.remove()
    assert torch.allclose(seen[0], held[name], atol=1e-9)
    assert torch.allclose(watched.grad, 2 * held[name], atol=1e-9)
    loss = child(*x).square().sum()
    (gradient,) = torch.autograd.grad(loss, watched, create_graph=True)
    gradient.square().sum().backward()
    assert watched.grad is not None and watched.grad.isfinite().all()


def test_float32_children_agree() -> None:
    space = shuffling()
    net = space.to_supernet()
    point = space.sample(0)
    x = torch.randn(4, 3, 8, 8)
    assert apart(net(point, x), net.extract(point)(x)) < 1e-5


def test_points_beyond_what_was_found_are_refused() -> None:
    space = shuffling()
    net = space.to_supernet()
    grown = shuffling(size=12)
    net.space = grown
    with pytest.raises(SpaceError, match=r"classifier: .* found when the supernet was made"):
        net.at(grown.largest())


def test_widths_rounded_to_whole_groups_have_room() -> None:
    """The widest network has neither the biggest group nor the ratio that goes with that."""
    space = nasflow.space("regnet", size=32, classes=2, deepest=1, widest=64)
    shares = Shares()
    elastic.explore(shares, space, ())
    for seed in range(150):
        shares.grow(shares.lay(space.bind(space.sample(seed))))  # raises where there is none


def leftovers() -> ir.Space:
    """A value that is now and then all that is left of a concatenation, and passed on as it is."""
    x = ir.image(3, 4)
    parts = [ir.Conv2d(2)(x, name=f"part{i}") for i in range(4)]
    gates = [ir.choice(f"keep{i}", False, True) for i in range(3)]
    gated = [ir.Gated(part, gate) for part, gate in zip(parts, gates, strict=False)]
    joined = ir.Concat()(*gated, parts[3], name="joined")
    fits = ir.when(joined.dim("C") == 2, lambda x: x, lambda x: ir.Conv2d(2)(x, name="project"))
    fitted = fits(joined, name="fit")
    y = ir.Conv2d(3)(ir.pick(ir.choice("which", 0, 1), [parts[0], fitted]), name="reads")
    return ir.Space(
        ir.Conv2d(3)(ir.Concat()(y, fitted, name="again"), name="last"), name="leftovers"
    )


def test_a_layout_that_is_passed_on_brings_no_room_for_what_is_always_absent() -> None:
    space = leftovers()
    net = supernet(space)
    shapes = {name: tuple(p.shape[:2]) for name, p in net.named_parameters()}
    assert shapes["fit_else/project/weight"] == (2, 8)  # what all children have there is followed
    assert shapes["reads/weight"] == (3, 2) and shapes["last/weight"] == (3, 5)
    for point in space.enumerate():
        x = inputs(space.bind(point))
        assert apart(run(net.at(point), *x), run(net.extract(point), *x)) < 1e-12


def refused(space: ir.Space, count: int) -> list[str]:
    """Return why which of so many random points have no room in a space's supernet."""
    shares, found = Shares(), []
    elastic.explore(shares, space, ())
    for seed in range(count):
        try:
            shares.grow(shares.lay(space.bind(space.sample(seed))))
        except SpaceError as error:
            found.append(f"{seed}: {error}")
    return found


def test_cells_that_pick_and_concatenate_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "QUIET", QUIET)
    assert refused(nasflow.space("enas", nodes=4, repeats=1, filters=4, size=8), 300) == []


CELLS: dict[str, tuple[str, dict[str, object]]] = {
    "nasnet": ("nasnet", {}),
    "small": ("nasnet", {"repeats": 1, "filters": 8}),
    "amoebanet": ("nasnet", {"operations": "amoebanet", "repeats": 1, "filters": 8}),
    "four inputs": ("nasnet", {"inputs": 4, "blocks": 4, "repeats": 1, "filters": 8}),
    "enas": ("enas", {"nodes": 5, "repeats": 1, "filters": 8}),
    "darts": ("darts", {"layers": 3, "filters": 8, "nodes": 3}),
    "smash": ("smash", {"layers": (2, 2)}),
}


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CELLS)
def test_every_random_cell_has_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "QUIET", QUIET)
    space, settings = CELLS[name]
    assert refused(nasflow.space(space, **settings), 3000) == []


def test_an_axis_has_one_room_grouped_or_not() -> None:
    width, groups = (ir.choice(name, *options) for name, options in (("w", (4, 8)), ("g", (1, 2))))
    conv = ir.Conv2d(width, groups=groups)(ir.image(4, 4), name="conv")
    space, shares = ir.Space(conv, name="grouped"), Shares()
    for point in ({"w": 8, "g": 2}, {"w": 4, "g": 1}):
        shares.grow(shares.lay(space.bind(point)))
    shares.plot.frozen = True
    shares.grow(shares.lay(space.bind({"w": 8, "g": 1})))  # raises where there is none


def test_weights_with_an_entry_for_each_place_are_kept_once_per_resolution() -> None:
    size = ir.choice("size", 4, 8, ordered=True)
    x = ir.Conv2d(ir.choice("width", 1, 2))(ir.image(1, size))
    space = ir.Space(ir.Linear(3)(ir.Flatten()(x), name="head"), name="flat")
    shapes = {key: tuple(p.shape) for key, p in space.to_supernet().named_parameters()}
    assert shapes["head/weight@4x4"] == (3, 32) and shapes["head/weight@8x8"] == (3, 128)


@operation
class Doubled(Operation):
    """Repeat the channels; says nothing of index sets."""

    def infer(self, *types: Type) -> Type:
        return types[0].resize(C=2 * types[0].size("C"))

    def source(self, *types: Type) -> Source:
        return Source("torch.cat([{0}, {0}], dim=1)")


def test_operations_that_cannot_be_followed_are_named() -> None:
    x = Doubled()(ir.Conv2d(ir.choice("width", 2, 4))(ir.image(3, 4)))
    with pytest.raises(SpaceError, match="doubled: cannot follow index sets through axis C"):
        ir.Space(x, name="doubled").to_supernet()


def test_grouped_convolutions_lay_out_what_they_read() -> None:
    space = shuffling()
    net = space.to_supernet()
    child = net.at({**space.largest(), "width": 8})
    (before,) = [use for _, use in child.uses() if use.path == "grouped_conv2d"]
    rows = before.takes["weight"][1][0]
    assert list(rows.entries) == [g * 12 + j for g in range(4) for j in range(4)]


def test_a_parameter_may_be_kept_several_times() -> None:
    """Every copy is as wide as the widest child's, also one that only a narrow child was seen with."""
    width, which = ir.choice("width", 2, 4, ordered=True), ir.choice("which", 0, 1, 2)
    x = ir.Conv2d(width)(ir.image(3, 4))
    scale = ir.Parameter(("C", "H", "W"), (width, 1, 1), "ones", copy=(which, 3))(name="scale")
    net = ir.Space(ir.Mean()(ir.Multiply()(x, scale)), name="scaled").to_supernet()
    names = [name for name, _ in net.named_parameters() if "scale" in name]
    assert len(names) == 3
    assert all(net.get_parameter(name).shape == (4, 1, 1) for name in names)
    net.at({"width": 2, "which": 1})(torch.randn(1, 3, 4, 4)).sum().backward()
    moved = [net.get_parameter(name).grad is not None for name in sorted(names)]
    assert moved == [False, True, False]


def kernels(shrink: str) -> ir.Space:
    kernel, width = (ir.choice(n, *o, ordered=True) for n, o in (("k", (3, 5, 7)), ("w", (2, 4))))
    x = ir.Conv2d(width, kernel, shrink=shrink)(ir.image(3, 8), name="conv")
    return ir.Space(ir.Mean()(x), name="kernels")


def test_kernels_are_their_centre_mapped_by_learned_matrices() -> None:
    net = kernels("transform").to_supernet().double()
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if "@" in name}
    assert shapes == {"conv/weight@5x5": (25, 25), "conv/weight@3x3": (9, 9)}
    plain = kernels("centre").to_supernet().double()
    plain.load_state_dict({k: t for k, t in net.state_dict().items() if "@" not in k})
    for k in (3, 5, 7):  # at the start each is the centre
        x = inputs(net.at({"k": k, "w": 2}).graph)
        assert apart(net({"k": k, "w": 2}, *x), plain({"k": k, "w": 2}, *x)) < 1e-12
    perturb(net)
    point: ir.Point = {"k": 3, "w": 2}
    found = net.extract(point).state_dict()["conv.weight"]
    whole = dict(net.named_parameters())
    maps = {name: p for name, p in whole.items() if "@" in name}
    assert apart(found, stepped(whole["conv/weight"][:2], maps, 3)) < 1e-12
    assert apart(found, whole["conv/weight"][:2, :, 2:5, 2:5]) > 1e-3
    assert_gradients_agree(net, point, inputs(net.at(point).graph))
    assert all(matrix.grad is not None and matrix.grad.any() for matrix in maps.values())


def test_a_size_of_a_mapped_kernel_must_be_known() -> None:
    net = kernels("transform").to_supernet()
    net.space = ir.Space(
        ir.Mean()(ir.Conv2d(4, 1, shrink="transform")(ir.image(3, 8), name="conv")), name="other"
    )
    with pytest.raises(SpaceError, match=r"conv: this network needs conv/weight of .* 1x1 kernel"):
        net.at({})


def test_position_tables_are_interpolated() -> None:
    table = torch.arange(17.0)[:, None].expand(17, 2)
    small = resample(table, 0, 5)
    assert small.shape == (5, 2) and small[0, 0] == 0  # the class token's place stays
    assert torch.allclose(resample(table[:6], 0, 3)[:, 0], torch.tensor([0.5, 2.5, 4.5]))
    assert torch.equal(resample(table, 0, 17), table)
