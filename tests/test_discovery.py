"""Spaces, strategies and models are found by name, and what is not there is named with the nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nasflow
from nasflow import discovery
from nasflow.errors import ConfigError, NasflowWarning, SpaceError
from nasflow.evaluate import evaluator
from nasflow.search import job


def test_what_comes_with_nasflow_is_found() -> None:
    assert "nasnet" in nasflow.spaces()
    assert {"random", "rl"} <= set(discovery.names("strategy"))
    assert nasflow.model("nasnet_a_6_4032").cost().params == 88_753_150


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nasflow.space("nasnett"),
            r"unknown space 'nasnett' \(did you mean 'nasnet'\?\); there are: ",
        ),
        (
            lambda: nasflow.space("nasnet", block=3),
            r"no setting 'block' \(did you mean 'blocks'\?\)",
        ),
        (
            lambda: nasflow.model("nasnet_a_6_4031"),
            r"unknown model .*\(did you mean 'nasnet_a_6_4032'\?\)",
        ),
        (
            lambda: discovery.find("strategy", "no.such.module"),
            "cannot be imported: ModuleNotFoundError",
        ),
        (
            lambda: discovery.find("space", "nasflow.ir.nothing"),
            "has no function or class 'nothing'",
        ),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's folder search_spaces/, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "search_spaces").mkdir()
    return tmp_path / "search_spaces"


def test_a_file_here_is_a_space_at_once(folder: Path) -> None:
    (folder / "here_a.py").write_text(
        "from nasflow import ir\n"
        "def space():\n    return ir.Space(ir.Linear(2)(ir.Mean()(ir.image(1, 4))), name='here')\n"
        "MODELS = {'here_model': ir.Model()}\n"
    )
    assert nasflow.space("here_a").size == 1
    assert nasflow.models()["here_model"][0] == "here_a"
    assert nasflow.model("here_model").params == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def space(:", "cannot be imported: SyntaxError"),
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("x = 1", "defines no function `space"),
        ("def space():\n    return 3", "expected its function to return an ir.Space, got 3"),
    ],
    ids=["syntax", "import", "exit", "empty", "no space"],
)
def test_a_broken_file_is_named(
    folder: Path, text: str, message: str, request: pytest.FixtureRequest
) -> None:
    name = "broken_" + request.node.callspec.id.replace(" ", "_")
    (folder / f"{name}.py").write_text(text)
    with pytest.raises((ConfigError, SpaceError), match=message):
        nasflow.space(name)


def test_a_broken_file_hides_no_models_but_its_own(folder: Path) -> None:
    (folder / "broken_models.py").write_text("def space(:")
    with pytest.warns(NasflowWarning, match=r"models of space 'broken_models' .*SyntaxError"):
        assert nasflow.model("lenet5").params == 61_706


def test_models_that_are_none_are_left_out(folder: Path) -> None:
    (folder / "odd_models.py").write_text("def space():\n    pass\nMODELS = ['resnet50']\n")
    with pytest.warns(NasflowWarning, match=r"'odd_models' .* expected MODELS to map names"):
        assert "odd_models" not in nasflow.models()


def test_settings_from_configuration_have_tuples_for_lists(folder: Path) -> None:
    (folder / "listed.py").write_text(
        "from nasflow import ir\n"
        "def space(size=8):\n    return ir.Space(ir.Linear(2)(ir.Mean()(ir.image(1, size))), name='listed')\n"
    )
    wide = nasflow.space("listed", size=[12, 8]).bind({})
    assert wide.inputs[0].shape == (1, 12, 8)
    assert (
        job.space_of({"name": "listed", "size": [12, 8]}).bind({}).fingerprint == wide.fingerprint
    )


def test_the_default_space_takes_images_that_are_not_square() -> None:
    space = nasflow.space("nasnet", size=[12, 8], channels=1, blocks=1)
    assert space.bind(space.sample(seed=0)).inputs[0].shape == (1, 12, 8)


def test_a_space_that_raises_is_one_line_that_says_where(folder: Path) -> None:
    (folder / "raising.py").write_text("def space(blocks=1):\n    return range(blocks)\n")
    message = r"space 'raising' cannot be made: TypeError: .* \(raising.py, line 2\)$"
    with pytest.raises(ConfigError, match=message):
        nasflow.space("raising", blocks="x")


@pytest.mark.parametrize("blocks", [0, -1, "x"])
def test_cells_without_blocks_are_refused(blocks: object) -> None:
    with pytest.raises(SpaceError, match="expected 1 to 100 blocks in a cell, got"):
        nasflow.space("nasnet", blocks=blocks)


@pytest.mark.parametrize("spec", [{}, {"name": None, "size": 8}, {"name": 3}])
def test_a_space_without_a_name_is_one_line(spec: dict[str, Any]) -> None:
    for build in (discovery.space_from, job.space_of, evaluator.space_of):
        with pytest.raises(ConfigError, match="space: expected a name"):
            build(spec)
