"""The commands, end to end, on a space small enough to be trained in a blink."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nasflow.cli import main
from nasflow.search import results

SPACE = """
from nasflow import ir

def space(classes: int = 10, channels: int = 3, size: int = 32) -> ir.Space:
    x = ir.image(channels, size)
    width = ir.choice("width", 4, 8, 16, ordered=True)
    x = ir.Conv2d(width, ir.choice("kernel", 1, 3), 2, bias=False)(x)
    x = ir.Activation("relu")(ir.BatchNorm()(x))
    return ir.Space(ir.Linear(classes)(ir.Mean()(x)), name="blink")

MODELS = {"blink_wide": ir.Model(point={"width": 16, "kernel": 3}, source="this test")}
"""
QUICK = (
    "space=blink",
    "strategy=random",
    "executor=inline",
    "evaluator.epochs=1",
    "evaluator.images=200",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, in a working folder that holds the space."""
    here = tmp_path_factory.mktemp("work")
    (here / "search_spaces").mkdir()
    (here / "search_spaces" / "blink.py").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.syspath_prepend(str(here))
        assert main(["search", *QUICK, "budget.trials=3", "out=run"]) == 0
    return here / "run"


@pytest.fixture(autouse=True)
def here(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the space lies."""
    monkeypatch.chdir(run.parent)
    monkeypatch.syspath_prepend(str(run.parent))


def test_a_search_without_a_success_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    hopeless = [*QUICK, "evaluator.learning_rate=1e30", "budget.trials=2", "out=failed"]
    assert main(["search", *hopeless]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "no network succeeded, most often (2 times) because: the loss is NaN" in out


def test_search_leaves_ledger_report_and_the_best_network(run: Path) -> None:
    found = results.load(run)
    assert len(found.entries) == 3
    assert found.plan["space"] == {"name": "blink", "classes": 10, "channels": 1, "size": 8}
    report = (run / "report.html").read_text()
    assert "trials: 3 evaluated" in report
    assert "<svg" in report
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    kept = {path.stem for path in (run / "weights").iterdir()}
    assert kept == {entry.fingerprint for entry in found.entries}


def test_the_best_network_is_exported_with_the_weights_that_were_measured(run: Path) -> None:
    measures = json.loads((run / "best" / "network.json").read_text())["measures"]
    assert measures == results.load(run).ranked[0].result.measures
    check_model(run / "best")
    stored = load_file(run / "best" / "weights.safetensors")
    kept = load_file(run / "weights" / f"{results.load(run).ranked[0].fingerprint}.safetensors")
    assert stored.keys() == kept.keys()
    assert all(torch.equal(stored[name], kept[name]) for name in stored)


def check_model(folder: Path) -> None:
    """Load the exported source on its own, and the weights into it, strictly."""
    text = (folder / "model.py").read_text()
    assert "nasflow" not in text
    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = [value for value in vars(module).values() if isinstance(value, type)][-1]()
    network.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    assert network.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_resume_goes_on_with_a_bigger_budget(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = results.load(run).entries
    assert main(["resume", f"run={run}", "budget.trials=4"]) == 0
    after = results.load(run).entries
    assert [entry.n for entry in after[:3]] == [entry.n for entry in before]
    assert len(after) == 4
    assert "going on after 3 results" in capsys.readouterr().out


def test_show_prints_types_and_cost_of_every_node(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", f"run=file://{run}", "rank=2", "to=pictures"]) == 0
    printed = capsys.readouterr().out
    assert "width=" in printed
    assert "classifier" in printed or "linear" in printed
    assert "fingerprint" in printed and " bytes an input" in printed
    assert "the whole input" in printed and "None" not in printed
    assert list(Path("pictures").glob("*.svg"))


def test_export_of_a_model_and_of_its_graph_agree(capsys: pytest.CaptureFixture[str]) -> None:
    channel = "settings.channels=1"
    assert main(["export", "model=blink_wide", channel, "settings.size=8", "to=a"]) == 0
    assert main(["export", "model=a/graph.json", "to=b"]) == 0
    assert "(untrained)" in capsys.readouterr().out
    assert Path("a/model.py").read_text() == Path("b/model.py").read_text()
    check_model(Path("b"))


def test_train_goes_where_it_is_told_and_is_exported(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluator.epochs=1", "evaluator.images=200", "out=trained"]
    assert main(["train", "model=blink_wide", *words]) == 0
    assert "test_accuracy" in capsys.readouterr().out
    document = json.loads(Path("trained/training.json").read_text())
    assert document["measures"]["epochs"] == 1
    assert Path("trained/model.py").is_file()


def test_zoo_lists_a_users_own_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "match=blink*", "format=csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model,space,input,params,macs"
    assert lines[1].startswith("blink_wide,blink,3x32x32,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", *QUICK, "budget.trials=0"], "budget.trials"),
        (["search", *QUICK, "out=run"], "already holds a run"),
        (["search", *QUICK, "out=/proc/nowhere"], "/proc/nowhere"),
        (["search", *QUICK, "data=npz", "data.path=missing.npz"], "missing.npz"),
        (["search", *QUICK, "data=npz"], "data.path"),
        (["search", *QUICK, "seed=many"], "seed"),
        (["search", *QUICK, "evaluator.epochs=0"], "evaluator.epochs"),
        (["search", *QUICK, "objective.limits.parms=5"], "did you mean 'params'"),
        (
            ["search", "space=blink", "strategy=random", "ray.address=127.0.0.1:1"],
            "no Ray cluster answers",
        ),
        (["resume", "run=."], "not a run folder"),
        (["resume", "run=nowhere"], "nowhere"),
        (["show", "run=run", "rank=99"], "rank"),
        (["show", "run=run", "rank=first"], "rank"),
        (["show"], "say which network"),
        (["show", "model=blink_wid"], "did you mean 'blink_wide'"),
        (["show", "model=blink_wide", "point.widht=4"], "did you mean 'width'"),
        (["show", "model=blink_wide", "settings.size=0"], "axis H"),
        (["show", "model=run/report.json"], "cannot be read"),
        (["export", "model=blink_wide"], "to"),
        (["export", "model=blink_wide", "to=/proc/nowhere"], "cannot be written"),
        (["report", "run=search_spaces"], "not a run folder"),
        (["train", "model=blink_wide", "evaluator=cost"], "an evaluator that trains"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("nasflow: ")
    assert errors.count("\n") == 1
    assert message in errors


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 1}', "[" * 100_000, "null", '"graph"'],
    ids=["empty", "torn", "list", "nothing", "no nodes", "deep", "null", "text"],
)
def test_a_damaged_graph_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("graph.json").write_text(text)
    assert main(["show", "model=graph.json"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "graph.json" in errors


def test_multirun_makes_a_run_of_each_combination() -> None:
    words = ["--multirun", *QUICK, "seed=1,2", "budget.trials=1", "out=many"]
    assert main(["search", *words]) == 0
    assert [results.load(Path(f"many/{i}")).plan["seed"] for i in range(2)] == [1, 2]
