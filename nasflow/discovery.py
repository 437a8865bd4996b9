"""Find search spaces, strategies and named models: nothing is registered by hand.

A name is looked for among the files of ``search_spaces/`` and ``strategies/`` (the folder of that name where
the program runs comes first, then those on the import path, then the ones that come with nasflow) and then
among installed entry points (groups ``nasflow.spaces`` and ``nasflow.strategies``). A dotted name is an import path.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from nasflow.errors import (
    ConfigError,
    NasflowError,
    NasflowWarning,
    PointError,
    SpaceError,
    nearest,
)

if TYPE_CHECKING:
    from nasflow.ir import Graph, Model, Space
    from nasflow.ir.closing import Closing

SPACES_KEPT = 8  # spaces of named models that stay built: most models of a family share one
_spaces: list[tuple[tuple[Callable[..., Any], str], Closing, Space]] = []

T = TypeVar("T")

BUNDLED = (
    Path(__file__).resolve().parent.parent
)  # search_spaces/, strategies/ and conf/ lie beside nasflow/
PACKAGES = {"space": "search_spaces", "strategy": "strategies"}
ENTRY_POINTS = {"space": "nasflow.spaces", "strategy": "nasflow.strategies"}


def names(kind: str) -> tuple[str, ...]:
    """Return the names that `find` knows, sorted; `kind` is ``"space"`` or ``"strategy"``."""
    found = (entry.name for entry in pkgutil.iter_modules(_package(PACKAGES[kind]).__path__))
    return tuple(
        sorted({name for name in found if not name.startswith("_")} | set(_entry_points(kind)))
    )


def find(kind: str, name: str) -> Callable[..., Any]:
    """Return the function that builds the space, or the class of the strategy, called `name`.

    Raises ConfigError for an unknown name and for a file that cannot be imported or does not hold what it should.
    """
    if "." in name or ":" in name:
        return _import_path(name)
    if name.startswith("_") or f"{PACKAGES[kind]}.{name}" not in sys.modules:
        known = names(kind)
        if name not in known:
            raise ConfigError(
                f"unknown {kind} {name!r}{nearest(name, known)}; there are: {', '.join(known)}"
            )
    if name in _entry_points(kind):
        entry: Callable[[], Callable[..., Any]] = _entry_points(kind)[name].load
        return _guarded(f"entry point {name!r} of {ENTRY_POINTS[kind]}", entry)
    module = _import(f"{PACKAGES[kind]}.{name}")
    return _space_function(module) if kind == "space" else _strategy_class(module)


def space(name: str, **settings: Any) -> Space:
    """Build the search space called `name`; `settings` are the keywords of its ``space`` function.

    Its smallest, its largest, its named and some random points are type-checked. Raises ConfigError for an
    unknown name or setting, SpaceError for settings that make no valid space.
    """
    return _space(name, settings).verify()


def space_from(spec: Mapping[str, Any]) -> Space:
    """Build the space that a configuration describes (`spec_parts`), checked as `space` does."""
    name, settings = spec_parts(spec)
    return space(name, **settings)


def spec_parts(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings in ``{"name": "nasnet", **settings}``; ``_target_`` is an import path."""
    name = spec.get("_target_") or spec.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"space: expected a name (for example space=nasnet), got {name!r}")
    return name, {key: value for key, value in spec.items() if key not in ("name", "_target_")}


def spaces() -> tuple[str, ...]:
    """Return the names of all search spaces."""
    return names("space")


def model(name: str) -> Graph:
    """Bind the named model, for example ``"resnet50"``.

    Raises ConfigError for an unknown name.
    """
    known = models()
    if name not in known:
        raise ConfigError(
            f"unknown model {name!r}{nearest(name, known)}; `nasflow zoo` lists all {len(known)}"
        )
    return bind(*known[name])


def bind(family: str, entry: Model) -> Graph:
    """Return the graph of a named model of the space called `family`.

    Of the space only what the model takes is built; models that take the same share it.
    """
    from nasflow.ir.closing import Closing

    factory = find("space", family)
    key = (factory, json.dumps(entry.settings, sort_keys=True))
    for known, closing, space in _spaces:
        if known == key and closing.fits(entry.point):
            return space.bind(entry.point)
    closing = Closing(entry.point)
    with closing.tracing():
        made = _space(family, entry.settings)
    try:
        graph = made.bind(entry.point)
    except PointError:  # the whole space knows better what is wrong
        return _space(family, entry.settings).bind(entry.point)
    _spaces.append((key, closing, made))
    del _spaces[:-SPACES_KEPT]
    return graph


def models() -> dict[str, tuple[str, Model]]:
    """Return every named model as ``{model: (space, how it is made)}``, sorted by space.

    A file that cannot be imported is left out with a NasflowWarning. Raises SpaceError where two spaces name
    one model.
    """
    found: dict[str, tuple[str, Model]] = {}
    for family in spaces():
        try:
            named = _named(family)
        except NasflowError as error:
            warnings.warn(
                f"models of space {family!r} are left out: {error}", NasflowWarning, stacklevel=2
            )
            continue
        for name, entry in named.items():
            if name in found:
                raise SpaceError(
                    f"model {name!r} is named by two spaces, {found[name][0]!r} and {family!r}"
                )
            found[name] = (family, entry)
    return found


def _named(family: str) -> Mapping[str, Model]:
    from nasflow.ir import Model

    module = inspect.getmodule(find("space", family))
    named = getattr(module, "MODELS", {})
    if not isinstance(named, dict) or not all(isinstance(m, Model) for m in named.values()):
        raise SpaceError(f"expected MODELS to map names to ir.Model, got {named!r:.200}")
    return named


def _space(name: str, settings: Mapping[str, Any]) -> Space:
    from nasflow.ir import Space

    given = {key: tuples(value) for key, value in settings.items()}
    made = build(find("space", name), f"space {name!r}", **given)
    if not isinstance(made, Space):
        raise SpaceError(
            f"space {name!r}: expected its function to return an ir.Space, got {made!r}"
        )
    return made


def build(factory: Callable[..., Any], what: str, *arguments: Any, **settings: Any) -> Any:
    """Call `factory`, refusing a setting it does not take with the nearest one it does.

    Whatever else it raises becomes a ConfigError that says where.
    """
    known = parameters(factory)
    for key in settings:
        if known is not None and key not in known:
            raise ConfigError(
                f"{what} has no setting {key!r}{nearest(key, known)}; it has: {', '.join(known) or 'none'}"
            )
    try:
        return factory(*arguments, **settings)
    except NasflowError:
        raise
    except (Exception, SystemExit) as error:  # it is a user's code, which may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{what} cannot be made: {type(error).__name__}: {error} "
            f"({Path(place.filename).name}, line {place.lineno})"
        ) from error


def tuples(value: Any) -> Any:
    """Return a value read from JSON or YAML with its lists as tuples, inner ones too."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def parameters(factory: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the keyword settings of `factory` with their defaults (`inspect.Parameter.empty` where it has none).

    None means that it takes any keyword.
    """
    signature = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in signature):
        return None
    return {
        p.name: p.default for p in signature if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }


def _package(name: str) -> ModuleType:
    """Import ``search_spaces`` or ``strategies`` and let it span the folder here and the one beside nasflow."""
    package = importlib.import_module(name)
    known = [str(Path(folder).resolve()) for folder in package.__path__]
    for folder in (Path.cwd() / name, BUNDLED / name):
        if folder.is_dir() and str(folder.resolve()) not in known:
            package.__path__.append(str(folder))
    return package


@functools.cache
def _entry_points(kind: str) -> Mapping[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS[kind])}


def _import_path(path: str) -> Callable[..., Any]:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    found: Callable[..., Any] | None = getattr(_import(module), attribute, None)
    if not callable(found):
        raise ConfigError(
            f"import path {path!r}: module {module!r} has no function or class {attribute!r}"
        )
    return found


def _import(name: str) -> ModuleType:
    return _guarded(f"module {name!r}", lambda: importlib.import_module(name))


def _guarded(what: str, load: Callable[[], T]) -> T:
    """Run somebody's module; whatever it raises becomes one line that says where."""
    try:
        return load()
    except NasflowError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} cannot be imported: {type(error).__name__}: {error}") from error


def _space_function(module: ModuleType) -> Callable[..., Any]:
    function: Callable[..., Any] | None = getattr(module, "space", None)
    if not callable(function):
        raise ConfigError(f"{module.__file__} defines no function `space(**settings) -> ir.Space`")
    return function


def _strategy_class(module: ModuleType) -> Callable[..., Any]:
    public: list[Callable[..., Any]] = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and hasattr(value, "ask")
    ]
    if len(public) != 1:
        listed = ", ".join(value.__name__ for value in public) or "none"
        raise ConfigError(
            f"{module.__file__} must define one public class with ask() and tell(); it defines {listed}"
        )
    return public[0]
