"""Commands, options and exit codes."""

from __future__ import annotations

import pytest

from nasflow.cli import COMMANDS, main, parse
from nasflow.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch"], "unknown command 'serch' (did you mean 'search'?)"),
        (["zoo", "--hepl"], "unknown option '--hepl' (did you mean '--help'?)"),
        (["zoo", "resnet50"], "expected field=value, got 'resnet50'"),
        (["resume"], "run must be given: run=..."),
        (["zoo", "=3"], "expected field=value, got '=3'"),
        (["zoo", "--cfg", "hydra"], "--cfg takes 'job', not 'hydra'"),
        (["zoo", "--multirun"], "--multirun works with search"),
        (["zoo", "--config-dir", "/nowhere"], "'/nowhere' is not a folder"),
        (["zoo", "format=xml"], "expected one of table, csv, json"),
        (["zoo", "match=qqqq"], "no model matches 'qqqq'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_options_and_overrides_may_come_in_any_order() -> None:
    line = parse(["zoo", "--cfg=job", "match=a", "-cd", ".", "format=csv"])
    assert line.overrides == ("match=a", "format=csv")
    assert line.options == {"--cfg": "job", "--config-dir": "."}
    with pytest.raises(ConfigError):
        parse(["zoo", "-x"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_prints_its_configuration(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: python -m nasflow {command}" in capsys.readouterr().out


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {command} " in printed for command in COMMANDS)
