"""One-shot search end to end: from the command line to files that anyone can load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from nasflow.cli import main
from nasflow.cli.configuration import CONF
from nasflow.search import results

SPACE = """
from nasflow import ir

def space(classes: int = 10, channels: int = 3, size: int = 32) -> ir.Space:
    x = ir.image(channels, ir.choice("resolution", size // 2, size, ordered=True))
    width = ir.choice("width", 4, 8, 16, ordered=True)
    x = ir.Conv2d(width, ir.choice("kernel", 1, 3, ordered=True), 2, bias=False)(x)
    x = ir.Activation("relu")(ir.BatchNorm()(x))
    return ir.Space(ir.Linear(classes)(ir.Flatten()(x)), name="glance")
"""
QUICK = (
    "+space=glance",
    "+strategy=sandwich",
    "executor=inline",
    "evaluator.epochs=4",
    "evaluator.images=400",
    "strategy.coarse=2",
    "strategy.zero_init=false",
    "evaluator.batch=16",
    "evaluator.learning_rate=0.3",
    "evaluator.average=null",
)
ROOT = Path(__file__).resolve().parents[2]
# Measures exported files on the validation images, with nothing of nasflow but the data set.
JUDGE = """
import importlib.util, sys
import torch
from safetensors.torch import load_file
from nasflow.data import digits
data = digits.load()
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("exported", f"{folder}/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = [value for value in vars(module).values() if isinstance(value, type)][-1]()
    network.load_state_dict(load_file(f"{folder}/weights.safetensors"))
    side = int(open(f"{folder}/side").read())
    split = data.prepared((side, side), torch.device("cpu")).validation
    with torch.no_grad():
        answers = network.eval()(data.normalise(split.images)).argmax(1)
    print(float((answers == split.labels).float().mean()))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, in a working folder that holds the space."""
    here = tmp_path_factory.mktemp("work")
    (here / "search_spaces").mkdir()
    (here / "search_spaces" / "glance.py").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.syspath_prepend(str(here))
        assert main(["search", *QUICK, "budget.trials=11", "out=run"]) == 0
    return here / "run"


@pytest.fixture(autouse=True)
def here(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the space lies."""
    monkeypatch.chdir(run.parent)
    monkeypatch.syspath_prepend(str(run.parent))


def test_exported_children_have_the_accuracy_that_was_reported(run: Path) -> None:
    folders = [run / "best", *(run / f"budget{i}" for i in (1, 2, 3))]
    reported = []
    for folder in folders:
        known = json.loads((folder / "network.json").read_text())
        reported.append(known["measures"]["accuracy"])
        (folder / "side").write_text(str(known["point"]["resolution"]))
    command = [sys.executable, "-c", JUDGE, *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    printed = done.stdout
    assert max(reported) > 0.15  # something was learned, so that equality means something
    assert [float(line) for line in printed.split()] == pytest.approx(reported, abs=1e-6)


def test_the_best_under_each_budget_is_exported_and_kept(run: Path) -> None:
    found = results.load(run)
    costs = []
    for number in (1, 2, 3):
        known = json.loads((run / f"budget{number}" / "network.json").read_text())
        (entry,) = [e for e in found.entries if e.fingerprint == known["fingerprint"]]
        cheaper = [e for e in found.entries if e.result.measures["macs"] <= known["macs"]]
        assert entry.result.reward == max(e.result.reward or 0 for e in cheaper)
        assert (run / "weights" / f"{entry.fingerprint}.safetensors").is_file()
        costs.append(known["macs"])
    assert costs == sorted(costs)
    front = {e.fingerprint for e in found.front}
    assert {found.ranked[0].fingerprint} <= front


def test_any_strategy_searches_trained_weights(run: Path) -> None:
    words = ["search", "+space=glance", "+strategy=rl", "evaluator=supernet", "executor=inline"]
    before = load_file(run / "supernet" / "weights.safetensors")
    assert main([*words, f"evaluator.weights={run}", "budget.trials=3", "out=again"]) == 0
    assert not Path("again/supernet").exists()
    known = {e.fingerprint: e.result.measures["accuracy"] for e in results.load(run).entries}
    found = results.load(Path("again")).entries
    assert len(found) == 3
    assert all(known.get(e.fingerprint, e.result.measures["accuracy"])
               == e.result.measures["accuracy"] for e in found)  # fmt: skip
    assert before.keys() == load_file(run / "supernet" / "weights.safetensors").keys()


def test_hard_limits_bound_the_children_that_are_tried(run: Path) -> None:
    words = [*QUICK, f"evaluator.weights={run}", "objective.limits.macs=400", "budget.trials=3"]
    assert main(["search", *words, "out=limited"]) == 0
    entries = results.load(Path("limited")).entries
    assert all(e.result.measures["macs"] <= 400 for e in entries)
    assert Path("limited/budget1/model.py").is_file()


def test_export_and_resume_work_as_for_every_run(run: Path) -> None:
    assert main(["export", f"run={run}", "rank=1", "to=exported"]) == 0
    mine, own = (
        load_file("exported/weights.safetensors"),
        load_file(run / "best/weights.safetensors"),
    )
    assert all((mine[key] == own[key]).all() for key in own)
    stamp = (run / "supernet" / "weights.safetensors").stat().st_mtime_ns
    assert main(["resume", f"run={run}", "executor.name=inline", "budget.trials=12"]) == 0
    assert len(results.load(run).entries) == 12
    assert (run / "supernet" / "weights.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["alphanet", "nasvit", "ofa", "spos", "autoformer", "fairnas"])
def test_every_variant_runs(name: str) -> None:
    words = [word for word in QUICK if "strategy" not in word and "epochs" not in word]
    words += [f"+strategy={name}", "strategy.coarse=1", "evaluator.epochs=1"]
    if name == "ofa":
        words += ["evaluator.epochs=2", "strategy.full=0.5", "strategy.phases=[kernel,width]",
                  "strategy.children=[1,2]"]  # fmt: skip
    assert main(["search", *words, "budget.trials=2", f"out={name}"]) == 0
    assert json.loads(Path(name, "budget1", "network.json").read_text())["measures"]


def test_enas_trains_weights_and_controller_then_its_children() -> None:
    parts = "evaluator.evaluators"
    words = ["search", "+space=glance", "+strategy=enas", "executor=inline", "strategy.updates=1",
             f"{parts}.supernet.epochs=2", f"{parts}.supernet.images=200", f"{parts}.train.epochs=2",
             f"{parts}.train.images=200", "budget.trials=2", "out=enas"]  # fmt: skip
    assert main(words) == 0
    document = json.loads(Path("enas/supernet/training.json").read_text())
    assert [0 <= entry["reward"] <= 1 for entry in document["history"]] == [True, True]
    known = json.loads(Path("enas/best/network.json").read_text())
    assert known["measures"]["train_seconds"] > 0
    assert Path("enas/best/weights.safetensors").is_file()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small pictures as ImageNet's lie."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 3)):
        for label in range(3):
            (root / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (20 + number, 24, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / f"class{label}" / f"{number}.jpg")
    return root


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "paper").glob("*.yaml")))
def test_papers_recipes_run_on_streamed_pictures(name: str, pictures: Path) -> None:
    words = [
        "search", "+space=glance", f"+strategy={name}", "scale=paper", f"data.path={pictures}",
        "data.size=16", "data.validation=0.25", "data.workers=0", "space.size=16",
        "evaluator.epochs=2", "evaluator.batch=8", "evaluator.warmup=0", "evaluator.calibration=6",
        "evaluator.watch=0", "evaluator.learning_rate=0.01", "evaluator.precision=bfloat16",
        "executor=inline", "budget.trials=2", "strategy.budgets=null", "strategy.coarse=1", f"out=paper-{name}",
    ]  # fmt: skip
    if name in ("sandwich", "alphanet"):
        words.append("strategy.biggest=null")  # a space without dropout
    if name == "ofa":
        words += ["strategy.full=0.5", "strategy.phases=[kernel,width,resolution]"]
    assert main(words) == 0
    document = json.loads(Path(f"paper-{name}", "supernet", "training.json").read_text())
    assert len(document["history"]) == 2 and document["training"]["augment"]["area"] == 0.08


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*QUICK, "strategy.budgets=[1]"], "the least that was found among the smallest child"),
        ([*QUICK, "strategy.childern=3"], "did you mean 'children'"),
        ([*QUICK, "evaluator.weights=nowhere"], "nowhere"),
        ([*QUICK, "evaluator.workers=0"], "evaluator.workers"),
        ([*QUICK, "evaluator.learning_rate=1e38"], "cannot be trained"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["search", *arguments, f"out={tmp_path}/bad"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("nasflow: ")
    assert errors.count("\n") == 1
    assert message in errors


def test_scale_paper_is_the_published_space_and_the_papers_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["search", "+space=bignas", "+strategy=sandwich", "scale=paper", "data.path=images"]
    assert main([*words, "evaluator.epochs=7", "--cfg", "job"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["space"]["sizes"] == [192, 224, 288, 320] and config["space"]["size"] is None
    assert len(config["space"]["stages"]) == 7
    assert config["evaluator"]["optimizer"] == "rmsprop"
    assert config["evaluator"]["epochs"] == 7  # what is given counts
    assert config["strategy"]["biggest"] == {"dropout": 0.2}
    assert main(["search", "+strategy=rl", "scale=paper"]) == 2
    assert "no recipe for strategy 'rl'" in capsys.readouterr().err
    assert main(["search", "scale=papr"]) == 2
    assert "expected reduced or paper" in capsys.readouterr().err
