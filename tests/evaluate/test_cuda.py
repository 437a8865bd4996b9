"""Evaluators on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import nasflow
from nasflow import ir
from nasflow.data import digits
from nasflow.errors import CandidateError
from nasflow.evaluate.batchnorm import recalibrate
from nasflow.evaluate.hypernet import Making
from nasflow.evaluate.latency import Latency
from nasflow.evaluate.mixture import Searching
from nasflow.evaluate.profile import Setting, measure_operations, missing, open_table
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.reversible import ReversibleColumns
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train
from nasflow.evaluate.training import measure
from nasflow.evaluate.zero_cost import ZeroCost
from nasflow.lower.hypernet import HyperSupernet
from nasflow.lower.mixed import Mixed
from strategies.sandwich import Sandwich
from tests.evaluate.networks import HandWritten, plain
from tests.evaluate.sharing import SPACE, space
from tests.evaluate.test_latency_table import network
from tests.evaluate.test_reversible import network as columns
from tests.evaluate.test_supernet import LEARN, compare_compiled

if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no GPU here", allow_module_level=True)
CUDA = torch.device("cuda")


def data() -> Any:
    return digits.load(augment={"crop": 1})


@pytest.mark.parametrize("recipe", [{}, {"precision": "float32"}, {"average": 0.9}])
def test_training_learns_in_bfloat16_and_float32(recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = Train(data(), device="cuda", keep=str(tmp_path), epochs=5, **recipe)
    measures = trainer(HandWritten(plain), seed=0)
    assert measures["accuracy"] > 0.9
    module = HandWritten(plain).to_torch()
    module.load_state_dict(load_file(tmp_path / "f00d.safetensors"))
    accuracy, _ = measure(module, data(), data().validation)
    assert accuracy == pytest.approx(measures["accuracy"], abs=0.02)  # on the CPU


def test_memory_that_is_not_there_fails_the_candidate() -> None:
    class Huge(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.empty(1 << 46, device=x.device)

    with pytest.raises(CandidateError, match="out of memory"):
        Train(data(), device="cuda")(HandWritten(lambda: nn.Sequential(plain(), Huge())), seed=0)


def test_shared_weights_are_trained_and_judged_there(tmp_path: Path) -> None:
    evaluator = SharedWeights(data(), SPACE, device="cuda", **LEARN)  # type: ignore[arg-type]
    reports: list[dict[str, float]] = []
    evaluator.prepare(Sandwich(space(), 0), tmp_path, 0, reports.append, {})
    assert reports[-1]["biggest"] > 0.5 and reports[-1]["smallest"] > 0.3
    here = SharedWeights(data(), SPACE, device="cpu", weights=str(tmp_path))
    for point in (space().largest(), space().smallest()):
        graph = space().bind(point)
        there, own = (each(graph, point=point)["accuracy"] for each in (evaluator, here))
        assert there == pytest.approx(own, abs=0.01)


def test_shared_weights_go_on_after_a_kill(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def stop(entry: dict[str, float]) -> None:
        if entry["epoch"] == 2:
            raise Killed

    def train(folder: Path, observe: Any) -> dict[str, torch.Tensor]:
        evaluator = SharedWeights(data(), SPACE, device="cuda", epochs=4, average=0.9)
        evaluator.prepare(Sandwich(space(), 0), folder, 0, observe, {})
        return load_file(folder / "supernet" / "weights.safetensors")

    whole = train(tmp_path / "whole", lambda entry: None)
    with pytest.raises(Killed):
        train(tmp_path / "halves", stop)
    for name, tensor in train(tmp_path / "halves", lambda entry: None).items():
        # Some sums on a GPU have no fixed order.
        assert torch.allclose(tensor, whole[name], rtol=0.05, atol=0.02), name


def test_compiled_children_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compare_compiled("cuda", "inductor", monkeypatch)


@pytest.mark.parametrize("order", [1, 2])
def test_mixtures_are_trained_there(order: int) -> None:
    images = data().prepared((8, 8), CUDA)
    x = ir.switch(ir.choice("kernel", 1, 3), {1: ir.Conv2d(8, 1), 3: ir.Conv2d(8, 3)})
    y = ir.Activation("relu")(x(ir.image(1, 8)))
    made = ir.Space(ir.Linear(images.classes)(ir.Mean()(y)), name="small")
    searching = Searching(
        Mixed(made, 0, "biggest").to(CUDA),
        images,
        Recipe.of({"batch": 64, "epochs": 2}),
        0,
        order,
        0.01,
        0.001,
    )
    losses = [searching.epoch(number)["train_loss"] for number in range(2)]
    assert losses[1] < losses[0]


def test_hypernetworks_are_trained_there() -> None:
    images = data().prepared((8, 8), CUDA)
    net = HyperSupernet(space(), 0, width=8, piece=64, depth=1).to(CUDA)

    class Ends:
        def paths(self, step: int, steps: int) -> list[Any]:
            return [space().largest(), space().smallest()]

    recipe = Recipe.of({"batch": 50, "epochs": 2, "learning_rate": 0.05, "precision": "float32"})
    making = Making(net, images, recipe, 0, Ends())
    losses = [making.train_epoch() for _ in range(2)]
    assert losses[1] < losses[0]


def test_zero_cost_scores_are_those_of_the_cpu() -> None:
    made = nasflow.space("nas_bench_201", classes=10, size=8, channels=1, filters=4, cells=1)
    graph = made.bind(made.sample(3))
    found = [ZeroCost(data(), device=place, batch=16)(graph, seed=0) for place in ("cpu", "cuda")]
    scores = {k for k in found[0] if "seconds" not in k}
    assert scores == {k for k in found[1] if "seconds" not in k}
    for name in scores:
        assert found[1][name] == pytest.approx(found[0][name], rel=0.02), name


def test_reversible_columns_have_their_gradients_there() -> None:
    torch.manual_seed(0)
    plainly = columns(3).cuda().double()
    torch.manual_seed(0)
    reversible = columns(3).cuda().double()
    reversible.load_state_dict(plainly.state_dict())
    reversible.columns = ReversibleColumns(reversible.columns)
    x = torch.randn(4, 3, 32, 32, device="cuda", dtype=torch.float64)
    grads = []
    for module in (plainly, reversible):
        torch.manual_seed(1)
        module(x).square().sum().backward()
        grads.append([p.grad for p in module.parameters()])
    for first, second in zip(*grads, strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            assert torch.allclose(first, second, rtol=1e-5, atol=1e-8)


def test_latency_and_profile_measure_there(tmp_path: Path) -> None:
    measures = Latency(device="cuda", warmup=2, repeats=5)(HandWritten(plain))
    assert 0 < measures["latency_ms"] < 100
    setting = Setting(repeats=2, device="cuda")
    table = open_table(tmp_path / "t.json", setting)
    assert table.machine["gpu"] == torch.cuda.get_device_name()
    measure_operations(table, missing(table, [network()]), setting, say=lambda line: None)
    assert all(us >= 0 for us in table.operations.values())


def test_norms_are_measured_anew_there() -> None:
    module = plain().cuda()
    recalibrate(module, [torch.randn(64, 1, 8, 8, device="cuda") + 3])
    assert module[1].running_mean.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_a_search_shares_the_gpu_among_trials(tmp_path: Path) -> None:
    words = ["executor.gpus=0.5", "executor.cpus=1", "budget.trials=4", "evaluator.epochs=1"]
    command = [sys.executable, "-m", "nasflow", "search", "+space=nas_bench_201", *words]
    done = subprocess.run(
        [*command, "+strategy=random", f"out={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "best" / "weights.safetensors").is_file()
