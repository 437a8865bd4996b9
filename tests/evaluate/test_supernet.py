"""Shared weights: how they are trained, and what children are worth in them."""

from __future__ import annotations

import dataclasses
import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nasflow import ir
from nasflow.data import Augment, digits
from nasflow.errors import CandidateError, ConfigError, RunError
from nasflow.evaluate.batchnorm import recalibrate
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.sharing import Sharing, regularise
from nasflow.evaluate.supernet import SharedWeights, located
from nasflow.evaluate.training import clocks, keep_as_tensors, measure
from nasflow.lower import Supernet
from nasflow.lower.residual import zero_residual
from strategies.sandwich import Sandwich
from tests.evaluate.sharing import SPACE, STRATEGIES, shared, space

LEARN = {
    "epochs": 8,
    "images": None,
    "batch": 32,
    "learning_rate": 0.3,
    "warmup": 1.0,
    "average": None,
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SharedWeights, Path, list[Any]]:
    """Return an evaluator with trained weights, the run's folder, and what was reported."""
    folder, reports = tmp_path_factory.mktemp("run"), []
    evaluator = shared(**LEARN)
    evaluator.prepare(Sandwich(space(), 0), folder, 0, reports.append, {})
    return evaluator, folder, reports


def sharing(rules: Any, device: str = "cpu", **recipe: Any) -> Sharing:
    settings = {"channels_last": False, "clip": None, "momentum": 0.0, "warmup": 0.0, **recipe}
    data = shared().data.prepared((8, 8), torch.device(device))
    return Sharing(Supernet(space(), 0), data, Recipe.of(settings), 0, rules)


class Steady:
    """Train the biggest and the smallest child in each step, and in all but each third one a third."""

    def paths(self, step: int, steps: int) -> list[Any]:
        return [space().largest(), space().smallest(), space().sample(7 if step % 3 else step)]


def moved(device: str, compiled: bool) -> torch.Tensor:
    """Return how far each entry of the shared weights moves in some steps."""
    recipe = {"precision": "float32", "learning_rate": 0.01, "compile": compiled}
    training = sharing(Steady(), device, **recipe)
    before = nn.utils.parameters_to_vector(training.supernet.parameters()).detach().clone()
    training.steps = 8
    training.train_epoch()
    return nn.utils.parameters_to_vector(training.supernet.parameters()).detach() - before


def compare_compiled(device: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that those children are compiled that come in every step, and that they learn the same."""
    compiled: list[Any] = []

    def compiling(module: nn.Module) -> Any:
        compiled.append(module.point)
        return make(module, backend=backend)

    make = torch.compile
    monkeypatch.setattr(torch, "compile", compiling)
    expected = moved(device, compiled=False)
    assert not compiled and expected.norm() > 0
    difference = moved(device, compiled=True) - expected
    assert compiled == [space().largest(), space().smallest()]
    assert difference.norm() < 1e-3 * expected.norm()


def test_children_that_come_in_every_step_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compare_compiled("cpu", "aot_eager", monkeypatch)


def test_what_cannot_be_compiled_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(module: nn.Module) -> Any:
        return make(module, backend=refuse)

    def refuse(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler\nand more about it")

    make = torch.compile
    monkeypatch.setattr(torch, "compile", refusing)
    evaluator = shared(compile=True)
    with pytest.raises(RunError, match=r"evaluator.compile: .*no compiler.*; set it to false$"):
        evaluator.prepare(Sandwich(space(), 0), tmp_path, 0, lambda entry: None, {})


def test_scheduled_drop_path_is_compiled_once() -> None:
    graph = ir.Space(ir.Mean()(ir.DropPath(0.3, True)(ir.Conv2d(10)(ir.image(1, 8))))).bind({})
    graphs: list[Any] = []

    def backend(traced: Any, inputs: Any) -> Any:
        graphs.append(traced)
        return traced

    module = graph.to_torch(seed=0).train()
    told = clocks(module)
    keep_as_tensors(told, torch.device("cpu"))
    run = torch.compile(module, backend=backend)
    for done in (0.0, 0.3, 0.6):
        regularise(module, True, done)
        run(torch.randn(4, 1, 8, 8))
    assert len(told) == len(graphs) == 1


# -- a step ---------------------------------------------------------------------------------------


def test_gradients_of_a_step_are_the_mean_over_its_children() -> None:
    made = space()
    points = [made.largest(), made.smallest(), made.sample(3)]
    training = sharing(SimpleNamespace(paths=lambda step, steps: points))
    wanted = [torch.zeros_like(weight) for weight in training.supernet.parameters()]
    batch = training.data.train.take(torch.arange(32))
    numbers = torch.Generator().manual_seed(0), None
    images, target = training._batch(batch, *numbers)  # type: ignore[arg-type]
    for point in points:
        training.supernet.zero_grad()
        child = training.supernet.at(point).train()
        small = tuple(child.graph.inputs[0].shape[1:])
        seen = nn.functional.interpolate(images, small, mode="bilinear", antialias=True)
        target(child(seen)).backward()
        for total, weight in zip(wanted, training.supernet.parameters(), strict=True):
            total += 0 if weight.grad is None else weight.grad / 3
    training._step(batch, torch.Generator().manual_seed(0), None)  # type: ignore[arg-type]
    for total, weight in zip(wanted, training.supernet.parameters(), strict=True):
        assert torch.allclose(total, weight.grad, atol=1e-6)  # type: ignore[arg-type]


def test_children_learn_from_the_first_and_update_gets_each_path() -> None:
    made, seen, lists = space(), [], []

    def loss(path: int, logits: Any, target: Any, teacher: Any) -> Any:
        seen.append((path, teacher is None, teacher is not None and teacher.requires_grad))
        return target(logits)

    def update(gradients: Any) -> Any:
        lists.append(gradients)
        return gradients[0]

    points = [made.largest(), made.smallest()]
    rules = SimpleNamespace(paths=lambda step, steps: points, loss=loss, update=update)
    training = sharing(rules)
    batch = training.data.train.take(torch.arange(32))
    training._step(batch, torch.Generator().manual_seed(0), None)  # type: ignore[arg-type]
    assert seen == [(0, True, False), (1, False, False)]
    ((big, small),) = lists
    assert all(gradient is not None for gradient in big)
    assert any(gradient is None for gradient in small)  # a unit that is not in the smallest
    given = [weight.grad for weight in training.supernet.parameters()]
    assert all(a is b for a, b in zip(given, big, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_weights_may_have_their_first_gradient_late(optimizer: str) -> None:
    made = space()
    points = [made.smallest(), made.largest()]
    rules = SimpleNamespace(paths=lambda step, steps: points[step : step + 1])
    training = sharing(rules, optimizer=optimizer, momentum=0.9, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in training.supernet.named_parameters()}
    batch = training.data.train.take(torch.arange(32))
    for step in range(2):
        training.step = step
        training._step(batch, torch.Generator().manual_seed(0), None)  # type: ignore[arg-type]
        same = {n for n, p in training.supernet.named_parameters() if torch.equal(p, before[n])}
        assert bool(same) == (step == 0)  # what no path has touched does not decay either


def test_only_regularised_paths_have_dropout_and_decay() -> None:
    training = sharing(Sandwich(space(), 0, children=2), weight_decay=0.4)
    batch = training.data.train.take(torch.arange(32))
    training._step(batch, torch.Generator().manual_seed(0), None)  # type: ignore[arg-type]
    decays = {group["weight_decay"] for group in training.optimizer.param_groups}
    assert decays == {0.4 / 4, 0.0}
    child = training.supernet.at({**space().largest(), "dropout": 0.5}).train()
    (dropout,) = (module for module in child.modules() if isinstance(module, nn.Dropout))
    regularise(child, False)
    assert child.training and not dropout.training
    regularise(child, True)
    assert dropout.training


def test_processes_that_train_together_halve_the_batch_and_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = space()
    points = [made.largest(), made.smallest()]
    rules = SimpleNamespace(paths=lambda step, steps: points)
    whole = sharing(rules).data.train.take(torch.arange(32))

    def gradients(rank: int, reduce: Any) -> list[torch.Tensor]:
        monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
        training = sharing(rules)
        training.rank, training.world = rank, 2
        part = whole.take(torch.arange(32)[rank::2])
        training._step(part, torch.Generator().manual_seed(0), None)  # type: ignore[arg-type]
        return [weight.grad for weight in training.supernet.parameters()]  # type: ignore[misc]

    sent: list[torch.Tensor] = []
    gradients(0, lambda flat: sent.append(flat.clone()))
    other: list[torch.Tensor] = []
    gradients(1, lambda flat: other.append(flat.clone()))
    assert not torch.allclose(sent[0], other[0])  # each has a part of the batch
    mean = gradients(1, lambda flat: flat.add_(sent[0]))
    found = torch.cat([gradient.flatten() for gradient in mean])
    assert torch.allclose(found, (sent[0] + other[0]) / 2, atol=1e-6)


def test_repeats_of_an_image_in_two_processes_are_changed_each_anew() -> None:
    rules = SimpleNamespace(paths=lambda step, steps: [])
    batches = []
    for rank in range(2):
        training = sharing(rules, batch=32)
        training.rank, training.world = rank, 2
        training.data = dataclasses.replace(
            training.data, augment=Augment.of({"crop": 2, "repeats": 2})
        )
        order, tensors, _ = training._randomness()
        batches.append(next(training._batches(order, tensors)))
    assert torch.equal(batches[0].labels, batches[1].labels)  # the same images
    same = (batches[0].images == batches[1].images).flatten(1).all(1)
    assert same.float().mean() < 0.5


def test_residual_branches_start_as_nothing() -> None:
    net = Supernet(space(), 0)
    names = zero_residual(net)
    assert names == [f"units/{i}/unit/norm2/weight" for i in range(2)]
    weights = dict(net.named_parameters())
    assert all(not weights[name].any() for name in names)
    assert weights["units/0/unit/norm1/weight"].all()
    assert weights["stem_norm/weight"].all()


# -- a training -----------------------------------------------------------------------------------


def test_shared_weights_learn_the_digits(trained: Any) -> None:
    evaluator, folder, reports = trained
    assert [report["epoch"] for report in reports] == list(range(1, 9))
    assert reports[-1]["train_loss"] < reports[0]["train_loss"]
    assert reports[-1]["biggest"] > 0.5
    document = json.loads((folder / "supernet" / "training.json").read_text())
    assert document["history"] == reports
    again: list[Any] = []
    fresh = shared(**LEARN)
    fresh.prepare(Sandwich(space(), 0), folder, 0, again.append, {})
    assert not again  # there is nothing left to train
    point = space().largest()
    graph = space().bind(point)
    assert fresh(graph, point=point)["accuracy"] == evaluator(graph, point=point)["accuracy"]


def same_training(folder: Path) -> None:
    """Check that the training in ``torn`` is the one in ``whole``, to the last bit."""

    def story(name: str) -> Any:
        document = json.loads((folder / name / "supernet" / "training.json").read_text())
        return [{k: v for k, v in e.items() if k != "seconds"} for e in document["history"]]

    def weights(name: str) -> Any:
        return load_file(folder / name / "supernet" / "weights.safetensors")

    assert story("whole") == story("torn")
    whole, torn = weights("whole"), weights("torn")
    assert whole.keys() == torn.keys()
    assert all(torch.equal(whole[key], torn[key]) for key in whole)


def test_a_frozen_teacher_is_there_after_a_resume(tmp_path: Path) -> None:
    def interrupt(entry: dict[str, float]) -> None:
        if entry["epoch"] == 3:  # the teacher is frozen in the second
            raise KeyboardInterrupt

    rules = STRATEGIES["ofa"](space())
    shared().prepare(rules, tmp_path / "whole", 0, lambda entry: None, {})
    with pytest.raises(KeyboardInterrupt):
        shared().prepare(rules, tmp_path / "torn", 0, interrupt, {})
    shared().prepare(rules, tmp_path / "torn", 0, lambda entry: None, {})
    same_training(tmp_path)


def test_a_killed_training_resumes_to_the_same_curve(tmp_path: Path) -> None:
    rules = STRATEGIES["sandwich"](space())
    shared().prepare(rules, tmp_path / "whole", 0, lambda entry: None, {})
    command = [sys.executable, "-m", "tests.evaluate.sharing", str(tmp_path / "torn"), "sandwich"]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "epoch\n"
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -9
    assert not (tmp_path / "torn" / "supernet" / "weights.safetensors").exists()
    shared().prepare(rules, tmp_path / "torn", 0, lambda entry: None, {})
    same_training(tmp_path)


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    first = shared(epochs=2)
    (tmp_path / "supernet").mkdir()
    first.train(Sandwich(space(), 0), tmp_path, 0, lambda entry: None)
    with pytest.raises(RunError, match="another training: its seed is 0, here 1"):
        shared(epochs=2).train(Sandwich(space(), 1), tmp_path, 1, lambda entry: None)


# -- a child --------------------------------------------------------------------------------------


def test_a_child_is_worth_what_its_own_module_is(trained: Any, tmp_path: Path) -> None:
    _, folder, _ = trained
    keeping = shared(weights=str(folder), keep=str(tmp_path))
    point = space().sample(5)
    graph = space().bind(point)
    measures = keeping(graph, point=point)
    assert measures["macs"] == graph.cost().macs
    module = graph.to_torch()
    module.load_state_dict(load_file(tmp_path / f"{graph.fingerprint}.safetensors"))
    data, batches = keeping._data(tuple(graph.inputs[0].shape[1:]))
    accuracy, _ = measure(module, data, data.validation)
    assert accuracy == measures["accuracy"]
    statistics = {k: v.clone() for k, v in module.state_dict().items() if "running" in k}
    recalibrate(
        module, map(data.normalise, batches)
    )  # the stored statistics are those of the calibration images
    for key, value in statistics.items():
        assert torch.allclose(value, module.state_dict()[key], atol=1e-6)


def test_weights_are_read_in_place_and_statistics_are_ones_own(trained: Any) -> None:
    evaluator, _, _ = trained
    buffers: list[Any] = []
    data = pickle.dumps(evaluator, protocol=5, buffer_callback=buffers.append)
    stored = [memoryview(bytes(buffer.raw())) for buffer in buffers]  # read-only, as Ray's store
    copy = pickle.loads(data, buffers=stored)
    assert len(data) < 20_000  # arrays travel outside
    point = space().largest()
    graph = space().bind(point)
    assert copy(graph, point=point)["loss"] == evaluator(graph, point=point)["loss"]
    places = {np.asarray(part).__array_interface__["data"][0] for part in stored}
    inside = [weight.data_ptr() for weight in copy.net.parameters() if weight.numel()]
    assert sum(place in places for place in inside) == len(inside)
    assert all(not array.flags.writeable for array in copy._arrays.values())


def test_what_cannot_be_used_is_one_line(trained: Any, tmp_path: Path) -> None:
    _, folder, _ = trained
    with pytest.raises(RunError, match=r"there is no .*nowhere"):
        located("nowhere")
    with pytest.raises(ConfigError, match="no trained weights"):
        point = space().largest()
        shared()(space().bind(point), point=point)
    with pytest.raises(ConfigError, match=r"evaluator\.calibration"):
        shared(calibration=0)
    with pytest.raises(ConfigError, match=r"evaluator\.weights must be a word or null, got 5"):
        SharedWeights(shared().data, None, 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        shared(epoch=1)
    other = SharedWeights(shared().data, {"name": "nas_bench_macro", "size": 8}, str(folder), "cpu")
    with pytest.raises(RunError, match="another space's weights"):
        _ = other.net


def test_a_child_beyond_the_weights_fails_alone(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasflow.errors import SpaceError

    evaluator, _, _ = trained

    def refuse(point: Any) -> Any:
        raise SpaceError("needs more")

    monkeypatch.setattr(evaluator.net, "at", refuse)
    point = space().largest()
    with pytest.raises(CandidateError, match="needs more"):
        evaluator(space().bind(point), point=point)


def failing(method: str, result: Any = None) -> Any:
    """Return a strategy of one path a step, of which a method raises, or gives ``result``."""

    def call(*given: Any) -> Any:
        if result is not None:
            return result
        raise KeyError("depth")

    return SimpleNamespace(**{"paths": lambda step, steps: [space().largest()], method: call})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (failing("paths"), r"failed in paths\(\): KeyError: 'depth'$"),
        (failing("loss"), r"failed in loss\(\): KeyError: 'depth'$"),
        (failing("update"), r"failed in update\(\): KeyError: 'depth'$"),
        (failing("initialise"), r"failed in initialise\(\): KeyError: 'depth'$"),
        (failing("paths", []), "named no path for step 0: expected at least one"),
    ],
)
def test_whose_failure_it_is_is_one_line(rules: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message):
        shared().prepare(rules, tmp_path, 0, lambda entry: None, {})


def test_batches_of_one_image_are_one_line(tmp_path: Path) -> None:
    tiny = {**SPACE, "size": 2}
    evaluator = SharedWeights(digits.load(), tiny, device="cpu", batch=1, epochs=1)
    with pytest.raises(RunError, match=r"one image a step .*: raise evaluator\.batch$"):
        evaluator.prepare(None, tmp_path, 0, lambda entry: None, {})


def test_held_out_images_are_asked_for_before_weights_are_trained(tmp_path: Path) -> None:
    evaluator = SharedWeights(digits.load(validation=0.0), SPACE, device="cpu")
    with pytest.raises(ConfigError, match=r"set data\.validation above 0"):
        evaluator.prepare(None, tmp_path, 0, lambda entry: None, {})
    assert not list(tmp_path.iterdir())


def test_points_that_make_no_network_are_left_out() -> None:
    width = ir.choice("width", 4, 6, ordered=True)
    groups = ir.choice("groups", 1, 4, ordered=True)
    x = ir.Conv2d(4, 3, groups=groups)(ir.Conv2d(width, 3)(ir.image(1, 8), name="a"), name="b")
    uneven = ir.Space(ir.Linear(10)(ir.Mean()(x), name="head"), name="uneven")  # 6 is not 2 x 4
    rules = SimpleNamespace(paths=lambda step, steps: [uneven.largest(), uneven.smallest()])
    data = digits.load().prepared((8, 8), torch.device("cpu"))
    training = Sharing(Supernet(uneven), data, Recipe(batch=64, images=128), 0, rules)
    training.train_epoch()
    assert training.skipped == training.steps
