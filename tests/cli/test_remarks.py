"""A search for a family prints it, reports it, and exports each of its networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasflow.cli import main
from nasflow.cli.source import space_of
from nasflow.search import results
from nasflow.search.remarks import remarks

SPACE = """
from nasflow import ir

def space(classes: int = 10, channels: int = 3, size: int = 32, scale: float = 4.0) -> ir.Space:
    factors = ir.factors(scale)
    x = ir.image(channels, factors.side(size))
    x = ir.Conv2d(ir.round_to_8(16 * factors.width), 3)(x)
    layers = factors.layers(ir.integer("units", 1, 4))
    x = ir.repeat(lambda x: ir.Conv2d(x.dim("C"), 3)(x), layers)(x)
    return ir.Space(ir.Linear(classes)(ir.Mean()(x)), name="scaled_tower")
"""
WORDS = (
    "search",
    "space=scaled_tower",
    "strategy=compound_scaling",
    "strategy.factors=[1.2,1.1,1.15]",
    "evaluator=cost",
    "objective.measures={macs: min}",
    "executor=inline",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "scaled_tower.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_family_is_printed_reported_and_exported(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "strategy.phis=[1]", "strategy.macs=[5e5]", "out=run"]) == 0
    printed = capsys.readouterr().out
    assert "alpha 1.2 (depth), beta 1.1 (width), gamma 1.15 (resolution)" in printed
    assert "growth  predicted" in printed
    for name in ("phi_1", "macs_500000"):
        assert {"model.py", "weights.safetensors", "graph.json"} <= {
            path.name for path in (here / "run" / name).iterdir()
        }
        assert name in printed
    assert "What the strategy found" in (here / "run" / "report.html").read_text()
    run = results.load(here / "run")
    said = remarks(run, space_of(run))
    assert said is not None and set(said.networks) == {"phi_1", "macs_500000"}


def test_a_budget_that_ends_early_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in WORDS if "factors" not in word]
    assert main([*words, "budget.trials=2", "out=run"]) == 0
    assert "no factors found, the budget ended after 2 networks" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["strategy.phis=[-1]", "strategy.macs=[1]", "space.scale=1"])
def test_what_cannot_be_scaled_is_one_line(
    word: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, word, "out=run"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_other_strategies_say_nothing(here: Path) -> None:
    words = [word for word in WORDS if not word.startswith("strategy")]
    assert main([*words, "strategy=random", "budget.trials=1", "out=run"]) == 0
    run = results.load(here / "run")
    assert remarks(run, space_of(run)) is None
