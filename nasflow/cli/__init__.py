"""The command line: ``python -m nasflow <command> [field=value ...]``.

A command is one module of this package, named as the command. Its docstring is its help text, and it defines
``run(config) -> int`` (the exit code). Nothing heavier than the standard library is imported before a command is known.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nasflow.errors import ConfigError, NasflowError, NasflowWarning, nearest

COMMANDS = ("search", "resume", "zoo", "show", "export", "train", "report", "profile")
OPTIONS = {
    "--help": "print this text",
    "--cfg": "print the configuration instead of running (`--cfg job`)",
    "--config-dir": "a folder of your own configuration files, looked into before nasflow's",
    "--multirun": "run every combination of comma-separated values (search only)",
}
_python_warning = warnings.formatwarning
SHORT = {"-h": "--help", "-c": "--cfg", "-m": "--multirun", "-cd": "--config-dir"}


@dataclass(frozen=True)
class Line:
    """A parsed command line."""

    command: str
    overrides: tuple[str, ...]
    options: dict[str, str]


def entry() -> None:
    """Run the program's arguments and exit with the command's code."""
    warnings.formatwarning = _warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no error
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 2 for anything a person can mend, 130 when interrupted."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # people's own files are found, as under `python -m`
    try:
        return _run(arguments)
    except NasflowError as error:
        print(f"nasflow: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nasflow: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `nasflow zoo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(arguments: Sequence[str]) -> Line:
    """Split arguments into command, options and overrides; raises ConfigError for what is none of these."""
    command, *rest = arguments
    overrides: list[str] = []
    options: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        if not word.startswith("-"):
            overrides.append(_override(word))
            continue
        name, given, value = word.partition("=")
        name = SHORT.get(name, name)
        if name not in OPTIONS:
            raise ConfigError(
                f"unknown option {word!r}{nearest(name, OPTIONS)}; there are: {', '.join(OPTIONS)}"
            )
        if name in ("--cfg", "--config-dir") and not given:
            value = next(words, "")
        options[name] = value
    if options.get("--cfg", "job") != "job":
        raise ConfigError(f"--cfg takes 'job', not {options['--cfg']!r}")
    if "--config-dir" in options and not Path(options["--config-dir"]).is_dir():
        raise ConfigError(f"--config-dir: {options['--config-dir']!r} is not a folder")
    return Line(command, tuple(overrides), options)


def _override(word: str) -> str:
    if ("=" not in word and not word.startswith("~")) or not word.partition("=")[0].strip("+~"):
        raise ConfigError(f"expected field=value, got {word!r}")
    return word


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return our own warnings as one line; where in the program they were raised says a person nothing."""
    if issubclass(category, NasflowWarning):
        return f"nasflow: warning: {' '.join(str(message).split())}\n"
    return _python_warning(message, category, filename, lineno, line)


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from nasflow import __version__

        print(f"nasflow {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        raise ConfigError(
            f"unknown command {arguments[0]!r}{nearest(arguments[0], COMMANDS)}; there are: {', '.join(COMMANDS)}"
        )
    return _command(parse(arguments))


def _command(line: Line) -> int:
    from nasflow.cli import configuration, files

    command = importlib.import_module(f"nasflow.cli.{line.command}")
    if "--help" in line.options:
        print(_help(line.command, command.__doc__ or "", line.options.get("--config-dir")))
        return 0
    if "--multirun" in line.options and line.command != "search":
        raise ConfigError(f"--multirun works with search, not with {line.command}")
    configure = getattr(command, "configure", configuration.compose)
    if "--multirun" in line.options:
        combinations = configuration.combinations(line.overrides)
        code = int(command.run_many(combinations, line.options.get("--config-dir")))
        files.push()
        return code
    config = configure(line.command, line.overrides, line.options.get("--config-dir"))
    if "--cfg" in line.options:
        print(configuration.to_yaml(config), end="")
        return 0
    configuration.require(config)
    code = int(command.run(config))
    files.push()
    return code


def _overview() -> str:
    lines = [
        "Neural architecture search on a typed graph.",
        "",
        "usage: python -m nasflow <command> [field=value ...]",
        "",
    ]
    for name in COMMANDS:
        module = importlib.import_module(f"nasflow.cli.{name}")
        lines.append(f"  {name:8} {(module.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "`python -m nasflow <command> --help` says more."])


def _help(name: str, text: str, config_dir: str | None) -> str:
    from nasflow.cli import configuration

    lines = [f"usage: python -m nasflow {name} [field=value ...] [options]", "", text.strip(), ""]
    lines += ["Fields (their values now; `--cfg job` prints them all):"]
    lines += [f"  {line}" for line in configuration.fields(name)]
    lines += ["", "Options:", *(f"  {option:14} {meaning}" for option, meaning in OPTIONS.items())]
    for group, options in configuration.choices(name, config_dir).items():
        lines += ["", f"{group}= one of", f"  {', '.join(options)}"]
    return "\n".join(lines)
