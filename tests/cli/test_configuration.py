"""What the command line makes of overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasflow.cli import configuration
from nasflow.cli.configuration import combinations, compose
from nasflow.errors import ConfigError

MINE = ("space=mine_", "strategy=patient_")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("plus", ["", "+"])
def test_groups_with_and_without_plus(plus: str) -> None:
    config = compose(
        "search", [f"{plus}space=mine_", f"{plus}strategy=patient_", f"{plus}budget.trials=3"]
    )
    assert config.space.name == "mine_"
    assert config.strategy.name == "patient_"
    assert config.budget.trials == 3


@pytest.mark.usefixtures("own")
def test_settings_of_a_space_are_the_keywords_of_its_function() -> None:
    config = compose("search", [*MINE, "space.width=16"])
    assert (config.space.width, list(config.space.kernels)) == (16, [3, 5])
    assert config.strategy.patience == 3
    with pytest.raises(
        ConfigError, match=r"space 'mine_' has no field 'widht' \(did you mean 'width'\?\)"
    ):
        compose("search", [*MINE, "space.widht=16"])


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space=mime_", r"unknown space 'mime_' \(did you mean 'mine_'\?\); there are: "),
        ("strategy=patient", r"unknown strategy 'patient' \(did you mean 'patient_'\?\)"),
        ("budget.trails=3", r"unknown field 'budget.trails' \(did you mean 'budget.trials'\?\)"),
        ("sed=3", r"unknown field 'sed' \(did you mean 'seed'\?\)"),
        ("+budget.trails=3", r"unknown field 'budget.trails' \(did you mean 'budget.trials'\?\)"),
        ("+limits.macs=100", r"unknown field 'limits.macs'"),
        ("seed=[1", r"cannot read 'seed=\[1': no viable"),
        ("strategy=", r"unknown strategy ''; there are: "),
        ("~executor", r"~executor: executor cannot be taken away; set it with executor=\.\.\."),
        ("~budget", r"~budget: budget cannot be taken away"),
        ("space=../mine_", r"unknown space '\.\./mine_' \(did you mean 'mine_'\?\)"),
        ("budget=3", r"budget: expected its fields, such as budget\.trials=\.\.\., got 3"),
        ("data=digit", r"unknown data 'digit' \(did you mean 'digits'\?\)"),
    ],
)
def test_every_mistake_is_one_line_with_the_nearest_name(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose("search", [*MINE, override])
    assert "\n" not in str(caught.value)


def test_measures_replace_those_of_the_objective() -> None:
    for words in (["objective.measures={params:min}"], ["objective.measures={params: min}"]):
        assert dict(compose("search", words).objective.measures) == {"params": "min"}
    assert list(compose("search", ["objective.measures.macs=min"]).objective.measures) == [
        "accuracy",
        "macs",
    ]


@pytest.mark.usefixtures("own")
def test_paths_are_taken_as_they_are() -> None:
    config = compose("search", [*MINE, "out=/tmp/a b/c=d,e(1)'s"])
    assert config.out == "/tmp/a b/c=d,e(1)'s"


def test_own_folder_of_configuration_comes_first(own: Path) -> None:
    folder = own / "my conf"
    (folder / "space").mkdir(parents=True)
    (folder / "space" / "wide.yaml").write_text("_target_: search_spaces.mine_.space\nwidth: 64\n")
    (folder / "objective").mkdir()
    (folder / "objective" / "accuracy.yaml").write_text("measures: {f1: max}\n")
    config = compose("search", ["space=wide", "strategy=patient_", "space.name=x"], str(folder))
    assert (config.space.width, config.space.name, dict(config.objective.measures)) == (
        64,
        "x",
        {"f1": "max"},
    )


def test_combinations_expand_sweeps_but_not_paths() -> None:
    assert combinations(["seed=1,2", "out=a,b", "+space=x,y"]) == [
        ("seed=1", "out=a,b", "+space=x"),
        ("seed=1", "out=a,b", "+space=y"),
        ("seed=2", "out=a,b", "+space=x"),
        ("seed=2", "out=a,b", "+space=y"),
    ]


@pytest.mark.usefixtures("own")
def test_apply_changes_only_what_is_there() -> None:
    config = compose("search", MINE)
    configuration.apply(config, ["budget.trials=7"])
    assert config.budget.trials == 7
    with pytest.raises(ConfigError, match=r"did you mean 'budget\.trials'"):
        configuration.apply(config, ["budget.trial=7"])


@pytest.mark.parametrize("group", ["space", "strategy"])
def test_what_is_searched_cannot_be_taken_away(group: str) -> None:
    with pytest.raises(ConfigError, match=f"^~{group}: {group} cannot be taken away"):
        compose("search", [f"~{group}"])


def test_a_command_without_a_group_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^unknown field 'space'"):
        compose("show", ["space=nasnet"])
