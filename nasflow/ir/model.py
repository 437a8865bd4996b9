"""A named point: a published network as settings of its family's space and a point in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """Describe a published network.

    Attributes:
        point: decisions of the space; unsearched ones may be left at their defaults.
        settings: keyword arguments of the family's ``space`` function (input size, classes, ...).
        source: where the network is published: paper and table or section, or the code followed.
        reconstructed: True where the published text does not fix the network and the point was
            found by meeting every printed figure.
        note: what a reader must know to compare figures.
    """

    point: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    reconstructed: bool = False
    note: str = ""
