"""Find the edges of a node among mixtures that are added: pairs of a pick of an input and a choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasflow.lower.program import Edges, Mix, Way

if TYPE_CHECKING:
    from nasflow.lower.relax import Builder


def paired(builder: Builder, inputs: Sequence[Way]) -> list[Way]:
    """Put mixtures of alike pairs of a pick and a choice into one: DARTS's edges of a node."""
    alike: dict[Any, list[tuple[Way, tuple[str, str]]]] = {}
    for way in inputs:
        found = pair(builder.mixes.get(way.value))
        names, kind = (("", ""), ("alone", way.value)) if found is None else (found[0], found[1:])
        alike.setdefault(kind, []).append((way, names))
    singles = []
    for kind, members in alike.items():
        if kind[0] == "alone" or len(members) == 1:
            singles += [way for way, _ in members]
            continue
        group = Edges(tuple(names for _, names in members), *kind)
        if group not in builder.edges:
            builder.edges.append(group)
        first = members[0][0]
        mix = Mix(builder.mixes[first.value].ways, builder.fresh(), builder.edges.index(group))
        builder.program.append(mix)
        singles.append(Way((), mix.output, first.type))
    return singles


def pair(mix: Mix | None) -> tuple[tuple[str, str], Any, Any] | None:
    """Return the pick, the choice and their options that a mixture is over; None for others."""
    names = {tuple(name for name, _ in when) for when, _ in mix.ways} if mix else set()
    if mix is None or len(names) != 1 or len(next(iter(names))) != 2:
        return None
    ((first, second),) = names
    inputs = tuple(dict.fromkeys(when[0][1] for when, _ in mix.ways))
    options = tuple(dict.fromkeys(when[1][1] for when, _ in mix.ways))
    if len(mix.ways) != len(inputs) * len(options) or first == second:
        return None
    return (first, second), inputs, options
