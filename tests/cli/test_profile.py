"""From a profile of a space to a search within a limit on the latency it predicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasflow.cli import main
from nasflow.evaluate import latency_table
from nasflow.search import results

SPACE = """
from nasflow import ir

def space(classes: int = 10, channels: int = 3, size: int = 32) -> ir.Space:
    x = ir.image(channels, size)
    width = ir.choice("width", 4, 8, 16, 32, ordered=True)
    x = ir.Conv2d(width, ir.choice("kernel", 1, 3), 2, bias=False)(x)
    x = ir.Activation("relu")(ir.BatchNorm()(x))
    return ir.Space(ir.Linear(classes)(ir.Mean()(x)), name="flash")

MODELS = {"flash_wide": ir.Model(point={"width": 32, "kernel": 3}, source="this test")}
"""
PROFILE = ("profile", "table=t.json", "repeats=2", "networks=4", "points=50")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder with a space and its profile."""
    here = tmp_path_factory.mktemp("work")
    (here / "search_spaces").mkdir()
    (here / "search_spaces" / "flash.py").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.syspath_prepend(str(here))
        assert main([*PROFILE, "device=here", "space=flash"]) == 0
    return here


@pytest.fixture(autouse=True)
def here(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the space lies."""
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))


def test_a_second_profile_measures_nothing_anew(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("t.json").read_text()
    assert main([*PROFILE, "space=flash"]) == 0
    assert "operations (0 new)" in capsys.readouterr().out
    assert Path("t.json").read_text() == before
    assert len(json.loads(before)["networks"]) == 4


def test_a_model_of_the_space_with_the_same_input_needs_what_differs_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*PROFILE[:1], "table=m.json", *PROFILE[2:], "model=flash_wide"]) == 0
    assert "5 operations (5 new) and 1 whole networks" in capsys.readouterr().out


def test_a_search_keeps_to_a_predicted_latency() -> None:
    table = latency_table.read("t.json")
    from nasflow import discovery

    space = discovery.space("flash", classes=10, channels=1, size=8)
    times = sorted(table.predict(space.bind(point)) for point in space.enumerate())
    bound = times[3]
    words = (
        "search",
        "space=flash",
        "strategy=random",
        "executor=inline",
        "evaluator=cost",
        "out=run",
    )
    limits = ("latency.table=t.json", f"objective.limits.latency_ms={bound}")
    assert main([*words, *limits, "objective.measures={macs: max}"]) == 0
    run = results.load("run")
    assert len(run.entries) == 4 and "exhausted" in str(run.reason)
    assert all(e.result.measures["latency_ms"] <= bound for e in run.entries)
    told = json.loads(Path("run/results.json").read_text())
    assert told["evaluated"] == 4 and told["pareto"]["hypervolume"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile"], "space=NAME, or model=NAME"),
        (["profile", "space=flash", "device=phone"], "device 'phone'"),
        (["profile", "space=flash", "table=/proc/no/t.json"], "/proc/no"),
        (["profile", "model=flash_wid"], "did you mean 'flash_wide'"),
        (["profile", "space=flash", "table=t.json", "batch=4"], "measured with batch=1"),
        (["search", "space=flash", "latency.table=no.json"], "no.json: cannot be read"),
        (["search", "space=flash", "objective.limits.latency_ms=1"], "latency.table=FILE"),
        (["search", "space=flash", "latency.table=alien.json"], "another machine"),
        (["search", "space=flash", "objective.limits.macs=5"], "the smallest found has macs"),
        (
            [
                "search",
                "space=flash",
                "space.size=16",
                "latency.table=t.json",
                "objective.limits.latency_ms=1",
            ],
            "no time for",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alien = json.loads(Path("t.json").read_text())
    alien["machine"]["processor"] = "Kirin 970"
    Path("alien.json").write_text(json.dumps(alien))
    assert (
        main([*arguments, *(("strategy=random", "out=bad") if arguments[0] == "search" else ())])
        == 2
    )
    errors = capsys.readouterr().err
    assert errors.startswith("nasflow: ") and errors.count("\n") == 1
    assert message in errors
    assert not Path("bad").exists()
