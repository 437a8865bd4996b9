"""Search a space with a strategy, and export the best network found.

    python -m nasflow search +space=nasnet +strategy=rl
    python -m nasflow search space=nasnet strategy=random data=cifar10 data.path=... budget.trials=500
    python -m nasflow search ray.address=auto out=/shared/run1
    python -m nasflow search out=s3://bucket/run1
    python -m nasflow search --multirun seed=1,2,3

What is measured is on disk at once: after Ctrl-C or a crash, `python -m nasflow resume run=...` goes on.
A space's classes, channels and size are those of the data unless you set them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow import discovery
from nasflow.cli import configuration
from nasflow.cli.configuration import AUTO
from nasflow.cli.files import named, run_folder, word
from nasflow.cli.outcome import conclude
from nasflow.cli.weights import Best, kept_in
from nasflow.errors import ConfigError, NasflowError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.search.budget import Budget
    from nasflow.search.events import Observer
    from nasflow.search.results import Run


def configure(command: str, overrides: Sequence[str], config_dir: str | None) -> DictConfig:
    """Compose the configuration; whoever sets one of the budget's limits is free of the other's default."""
    overrides = [*at_scale(command, overrides, config_dir), *overrides]
    config = configuration.compose(command, overrides, config_dir)
    limits = ("trials", "seconds")
    named = [name for name in limits if any(f"budget.{name}=" in word for word in overrides)]
    for name in limits if named else ():
        if name not in named:
            config.budget[name] = None
    return config


def at_scale(command: str, overrides: Sequence[str], config_dir: str | None) -> list[str]:
    """Return what ``scale=paper`` means as overrides: the published space, the paper's recipe."""
    from omegaconf import OmegaConf

    heads = ("scale", "space", "strategy")
    words = [word for word in overrides if word.lstrip("+").partition("=")[0] in heads]
    base = configuration.compose(command, words, config_dir)
    if base.scale == "reduced":
        return []
    if base.scale != "paper":
        raise ConfigError(f"scale: expected reduced or paper, got {base.scale!r}")
    recipes = {path.stem: path for path in (configuration.CONF / "paper").glob("*.yaml")}
    chosen = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("strategy=")]
    name = chosen[-1] if chosen else str(base.strategy.name)
    if name not in recipes:
        listed = ", ".join(sorted(recipes))
        raise ConfigError(
            f"scale=paper: no recipe for strategy {name!r}{nearest(name, recipes)}; there are: {listed}"
        )
    recipe = OmegaConf.load(recipes[name])
    found = [f"{key!s}={'null' if value is None else value}" for key, value in recipe.items()]
    target = str(base.space.get("_target_") or base.space.name)
    reduced = configuration.CONF / "space" / f"{target}.yaml"
    if reduced.is_file():
        found += [f"~space.{key!s}" for key in OmegaConf.load(reduced) if key != "name"]
    if (discovery.parameters(discovery.find("space", target)) or {}).get("size", 0) is None:
        found.append("space.size=null")  # resolutions of its own, not the data's
    return found


def run(config: DictConfig) -> int:
    """Run one search in its folder, and conclude it."""
    from nasflow.search import budget
    from nasflow.search.run import search

    folder = run_folder(config.out or _folder(config))
    plan = configuration.plain(config)
    space = fitted(plan["space"], plan["data"])
    try:
        discovery.space_from(space)  # type-checks its extremes before anything is trained
    except NasflowError as error:
        if not isinstance(space.get("size"), list) or plan["space"].get("size") != AUTO:
            raise
        raise ConfigError(
            f"{error}; the images are {space['size'][0]} by {space['size'][1]} pixels: "
            "data.size=N makes them square"
        ) from error
    evaluator = kept_in(plan["evaluator"], folder)

    def go(observer: Observer) -> Run:
        return search(
            space=space,
            strategy=plan["strategy"],
            evaluator=evaluator,
            objective={**plan["objective"], "latency": plan["latency"]},
            budget=plan["budget"],
            executor=plan["executor"],
            seed=configuration.whole("seed", plan["seed"]),
            out=folder,
            observer=observer,
        )

    head = f"searching {_name(plan['space'])} with {_name(plan['strategy'])} in {named(folder)}"
    return watched(folder, budget.create(plan["budget"]), go, head)


def run_many(combinations: Sequence[Sequence[str]], config_dir: str | None) -> int:
    """Run a search for each combination of overrides, one after the other, each in a folder of its own."""
    configs = [configure("search", words, config_dir) for words in combinations]
    base = configs[0].out or f"outputs/{_now()}-multirun"
    code = 0
    for number, (config, words) in enumerate(zip(configs, combinations, strict=True)):
        print(f"\n{number + 1} of {len(configs)}: {' '.join(words)}")
        configuration.require(config)
        config.out = f"{base}/{number}"
        code = run(config)
        if code:
            break
    return code


def watched(folder: Path, budget: Budget, go: Callable[[Observer], Run], head: str = "") -> int:
    """Run a search under the eyes of `Live` and conclude it; say how to go on when it is interrupted.

    A search that found no network is something to mend, like bad input.
    """
    from nasflow.cli.progress import Live

    try:
        with Live(budget, head=head) as live:
            found = go(Best(live))
        conclude(found)
    except KeyboardInterrupt:
        print(
            f"\nnasflow: interrupted; all results are in {named(folder)}; go on with: "
            f"python -m nasflow resume {word('run', folder)}",
            file=sys.stderr,
        )
        return 130
    return 0 if found.ranked else 2


def fitted(space: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return a space's settings with those that are to follow the data filled in from it."""
    if AUTO not in space.values():
        return space
    from nasflow.search.job import construct

    loaded = construct(data)
    height, width = loaded.size
    known = {
        "classes": loaded.classes,
        "channels": loaded.channels,
        "size": height if height == width else [height, width],
    }
    return {key: known[key] if value == AUTO else value for key, value in space.items()}


def _folder(config: DictConfig) -> str:
    return f"outputs/{_now()}-{_name(config.space)}-{_name(config.strategy)}"


def _now() -> str:
    return time.strftime("%Y-%m-%d_%H-%M-%S")


def _name(spec: Any) -> str:
    return str(spec.get("name") or spec["_target_"].rpartition(".")[2])
