"""Check what a configuration or a caller sets, so that a wrong value gets one clear line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from nasflow.errors import ConfigError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
KINDS: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "None": type(None),
}
NAMES = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a word"}


def read(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """Return ``cls(**options)``; raise `ConfigError`, naming ``where``, for an unknown option."""
    known = [field.name for field in dataclasses.fields(cls)]
    for key in options:
        if key not in known:
            raise ConfigError(f"{where}: no option {key!r}{nearest(str(key), known)}")
    return cls(**{str(key): value for key, value in options.items()})


def check_types(instance: Any, where: str) -> None:
    """Raise `ConfigError` unless each field of a dataclass holds what it is declared to hold."""
    for field in dataclasses.fields(instance):
        check_type(f"{where}.{field.name}", getattr(instance, field.name), str(field.type))


def check_type(where: str, value: Any, declared: str) -> None:
    """Raise `ConfigError` unless ``value`` is one of the types in ``declared`` ("int | None")."""
    wanted = declared.split(" | ")
    # bool is a kind of int in Python, but `epochs=true` is a mistake.
    if isinstance(value, bool) and "bool" in wanted:
        return
    if not isinstance(value, bool) and any(isinstance(value, KINDS[kind]) for kind in wanted):
        return
    expected = " or ".join(NAMES.get(kind, "null") for kind in wanted)
    raise ConfigError(f"{where} must be {expected}, got {value!r}")


def check_option(where: str, value: object, options: Sequence[str]) -> None:
    """Raise ConfigError unless ``value`` is one of ``options``."""
    if value not in options:
        raise ConfigError(
            f"{where}: expected one of {', '.join(options)}, got {value!r}{nearest(str(value), options)}"
        )


def check_whole(where: str, value: object, least: int = 1) -> None:
    """Raise `ConfigError` unless ``value`` is a whole number from ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{where}: expected a whole number from {least}, got {value!r}")


def check_number(
    where: str, value: object, *, above: float = -math.inf, least: float = -math.inf
) -> None:
    """Raise `ConfigError` unless ``value`` is a finite number, above one bound and not below another."""
    if not _is_number(value) or not above < value < math.inf or value < least:
        bound = f" above {above:g}" if above > -math.inf else ""
        bound = f" from {least:g}" if least > -math.inf else bound
        raise ConfigError(f"{where}: expected a number{bound}, got {value!r}")


def check_share(where: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is a number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ConfigError(f"{where}: expected a number from 0 to 1, got {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
