"""Compose a command's configuration from ``conf/``, the user's own folder and the command line, with Hydra."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow import discovery
from nasflow.errors import ConfigError, nearest
from nasflow.options import check_whole

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = discovery.BUNDLED / "conf"
PRIMARY = {"search": "config"}  # every other command's file has the command's name
PATHS = (
    "out",
    "run",
    "to",
    "data.path",
)  # taken as they are: `=`, `,` and brackets mean nothing in them
BUILT = ("space", "strategy")  # their settings are the keywords of a function, not fields of a file
AUTO = "auto"  # a setting of a space that follows the data
FROM_DATA = ("classes", "channels", "size")
OPEN = (
    *BUILT,
    "objective",
    "point",
    "settings",
)  # fields below these may be new; who reads them says what there is


def compose(
    command: str, overrides: Sequence[str] = (), config_dir: str | None = None
) -> DictConfig:
    """Return the configuration of `command` under `overrides`.

    ``+group=option`` and ``group=option`` mean the same, and a space or strategy is an option as soon as
    its file exists. Raises ConfigError, one line, for anything Hydra refuses.
    """
    groups = choices(command, config_dir)
    words = [_normal(word, groups) for override in overrides for word in _whole(override)]
    for word in words:
        _parsed(word)
        _check_option(word, groups)
    config = _hydra(command, words, config_dir)
    _check_shape(command, config)
    for group in BUILT:
        if group in config:
            _complete(config, group)
    return config


def choices(command: str, config_dir: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return ``{group: options}`` for the groups in the defaults list of `command`, and those in them."""
    found: dict[str, set[str]] = {}
    for folder in _folders(config_dir):
        for file in sorted(folder.glob("*/**/*.yaml")):
            found.setdefault(file.parent.relative_to(folder).as_posix(), set()).add(file.stem)
    for group in BUILT:
        found.setdefault(group, set()).update(discovery.names(group))
    used = re.findall(r"^\s*-\s*(?:override\s+)?/?([\w/]+):", _text(command), re.MULTILINE)
    inner = (group for group in sorted(found) if group.rpartition("/")[0] in used)
    return {group: tuple(sorted(found[group])) for group in (*used, *inner) if group in found}


def fields(command: str) -> list[str]:
    """Return the lines of the command's own configuration file below its defaults list."""
    lines = _text(command).splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == "- _self_"), -1)
    return [line for line in lines[start + 1 :] if line.strip() and not line.startswith("  - ")]


def combinations(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of the comma-separated values in `overrides` (Hydra's sweep syntax)."""
    lists = []
    for word in overrides:
        if _path_key(word):
            lists.append([word])
            continue
        override = _parsed(word)
        swept = override.is_sweep_override()
        key = override.get_key_element()
        lists.append(
            [f"{key}={value}" for value in override.sweep_string_iterator()] if swept else [word]
        )
    return list(itertools.product(*lists))


def apply(config: DictConfig, overrides: Sequence[str]) -> None:
    """Set fields that `config` already has; raises ConfigError for others."""
    from omegaconf import OmegaConf

    known = keys(config)
    for word in overrides:
        override = _parsed(_normal(word, {}))
        key = override.key_or_group
        if key not in known:
            raise ConfigError(f"unknown field {key!r}{nearest(key, known)}")
        OmegaConf.update(config, key, override.value())


def keys(config: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all fields."""
    found = []
    for key in config:
        found.append(f"{prefix}{key}")
        value = config._get_node(key)
        if hasattr(value, "keys") and not value._is_none() and not value._is_missing():
            found += keys(value, f"{prefix}{key}.")
    return found


def to_yaml(config: DictConfig) -> str:
    """Write a configuration as YAML."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_yaml(config))


def plain(config: Any) -> Any:
    """Return a node as plain dicts, lists and scalars; ConfigError for a broken interpolation."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return (
            OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
        )
    except OmegaConfBaseException as error:
        raise ConfigError(_first_line(error)) from error


def require(config: DictConfig) -> None:
    """Raise ConfigError where a field that must be given is not, or refers to one that is not there."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationResolutionError

    try:
        missing = sorted(OmegaConf.missing_keys(config), key=lambda key: (len(key), key))
    except InterpolationResolutionError as error:
        reason = _first_line(error).removeprefix("Interpolation key ")
        raise ConfigError(f"{error.full_key} follows another field: {reason}") from error
    if missing:
        raise ConfigError(f"{missing[0]} must be given: {missing[0]}=...")


def whole(name: str, value: Any) -> int:
    """Return a field's value if it is a whole number from 0; raises ConfigError otherwise."""
    check_whole(name, value, 0)
    return int(value)


def _folders(config_dir: str | None) -> list[Path]:
    return [*([Path(config_dir).resolve()] if config_dir else []), CONF]


def _text(command: str) -> str:
    return (CONF / f"{PRIMARY.get(command, command)}.yaml").read_text(encoding="utf-8")


def _normal(word: str, groups: Any) -> str:
    """Drop the ``+``, quote paths, and let settings of what is built be new keys: its maker knows them."""
    head, _, value = word.partition("=")
    name = head.lstrip("+")
    if head.startswith("~"):
        return word
    if name in groups:
        return f"{name}={value}"
    if name in PATHS and value and value[0] not in "'\"" and value != "null":
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{name}='{escaped}'"
    if name in BUILT:
        return word  # this command has no such group
    first = name.split(".")[0]
    if first in OPEN or (head.startswith("+") and first in groups):
        return f"++{name}={value}"
    return f"{name}={value}" if head.startswith("+") else word


def _whole(word: str) -> tuple[str, ...]:
    """Let a mapping of measures replace the one there is: Hydra would merge them."""
    replaced = word.lstrip("+").startswith("objective.measures={")
    return ("~objective.measures", word) if replaced else (word,)


def _path_key(word: str) -> bool:
    return word.partition("=")[0] in PATHS


def _check_option(word: str, groups: dict[str, tuple[str, ...]]) -> None:
    group, _, option = word.partition("=")
    option = option.removesuffix(".yaml")
    if group in groups and re.fullmatch(r"[\w./-]*", option) and option not in groups[group]:
        listed = ", ".join(groups[group])
        raise ConfigError(
            f"unknown {group} {option!r}{nearest(option, groups[group])}; there are: {listed}"
        )


def _check_shape(command: str, config: DictConfig) -> None:
    """Refuse a command's field that was taken away, and one with fields below it that became a value."""
    from omegaconf import DictConfig, OmegaConf

    own = OmegaConf.load(CONF / f"{PRIMARY.get(command, command)}.yaml")
    assert isinstance(own, DictConfig)
    by_default = [
        key
        for entry in own.get("defaults", ())
        if OmegaConf.is_dict(entry)
        for key in entry
        if entry[key]
    ]
    for key in [*by_default, *(str(key) for key in own if key != "defaults")]:
        if key not in config.keys():  # noqa: SIM118  # `in` overlooks fields that must be given
            raise ConfigError(f"~{key}: {key} cannot be taken away; set it with {key}=...")
        holds = key in own and OmegaConf.is_dict(own[key])
        if holds and not OmegaConf.is_dict(config[key]):
            inner = next(iter(own[key]), "...")
            raise ConfigError(
                f"{key}: expected its fields, such as {key}.{inner}=..., got {config[key]!r}"
            )


def _hydra(command: str, words: list[str], config_dir: str | None) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    _offer_discovered(config_dir)
    _own_folder().path = config_dir
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra_compose(PRIMARY.get(command, command), words, return_hydra_config=True)
            chosen = dict(config.hydra.runtime.choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, command, words, config_dir)) from error
    with open_dict(config):
        del config["hydra"]
        for group in BUILT:
            if group in config and not ({"name", "_target_"} & set(config[group] or ())):
                config[group] = {"name": chosen[group], **(config[group] or {})}
    return config


@functools.cache
def _own_folder() -> Any:
    """Return Hydra's hook for one more folder, looked into before nasflow's; its `path` says which."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class OwnFolder(SearchPathPlugin):
        path: str | None = None

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            if self.path:
                search_path.prepend(provider="own", path=f"file://{Path(self.path).resolve()}")

    Plugins.instance().register(OwnFolder)
    return OwnFolder


def _offer_discovered(config_dir: str | None) -> None:
    """Make every space and strategy that has no configuration file an option of its group."""
    from hydra.core.config_store import ConfigStore

    for group in BUILT:
        files = {
            file.stem for folder in _folders(config_dir) for file in folder.glob(f"{group}/*.yaml")
        }
        for name in set(discovery.names(group)) - files:
            ConfigStore.instance().store(group=group, name=name, node={"name": name})


def _complete(config: DictConfig, group: str) -> None:
    """Fill in the settings a space or strategy has by default; refuse those it does not have."""
    from omegaconf import open_dict

    chosen = config[group]
    target = chosen.get("_target_") or chosen["name"]
    known = discovery.parameters(discovery.find(group, str(target)))
    if known is None:
        return
    known = {key: value for key, value in known.items() if key not in ("space", "seed")}
    for key in chosen:
        if key not in known and key not in ("name", "_target_"):
            listed = ", ".join(known) or "none"
            raise ConfigError(
                f"{group} {target!r} has no field {key!r}{nearest(str(key), known)}; it has: {listed}"
            )
    with open_dict(chosen):
        for key in FROM_DATA if group == "space" and "data" in config else ():
            if key in known and key not in chosen:
                chosen[key] = AUTO
        for key, default in known.items():
            if key not in chosen and isinstance(
                default, (bool, int, float, str, tuple, type(None))
            ):
                chosen[key] = _listed(default)


def _listed(value: Any) -> Any:
    """Return a default as configuration holds it: tuples, named ones too, as lists."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _explain(error: Exception, command: str, words: list[str], config_dir: str | None) -> str:
    unknown = re.search(r"Could not override '([^'@]+)'", str(error))
    if unknown is None or not words:
        return _first_line(error)
    groups = choices(command, config_dir)
    kept = [word for word in words if word.partition("=")[0] in groups]
    known = (
        [*groups, *keys(_hydra(command, kept, config_dir))] if len(kept) < len(words) else [*groups]
    )
    key = unknown.group(1)
    near = nearest(key, known)
    return (
        f"unknown field {key!r}{near}"
        if near
        else f"unknown field {key!r}; `nasflow {command} --cfg job` lists all"
    )


def _parsed(word: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(f"cannot read {word!r}: {str(error).splitlines()[0]}") from error


def _first_line(error: Exception) -> str:
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.strip().startswith(("full_key", "object_type"))
    ]
    return "; ".join(lines[:3])
