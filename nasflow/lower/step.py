"""One thing that a written forward method does."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nasflow.lower.form import Recurrence

LIGHT: Final = frozenset({"Add", "Multiply", "Scale"})
Make = Callable[[list[ast.expr]], ast.expr]


@dataclass(slots=True)
class Step:
    """One thing that forward does: values in, values out.

    ``make`` writes it as an expression; a loop has a recurrence and makes one iteration.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    make: Make
    kind: str
    loop: Recurrence | None = None
    own: ast.expr | None = None
    mentions: tuple[int, ...] = ()  # how often the expression has each input
    is_fresh: bool = False  # whether it makes a tensor that may be overwritten
    overwrite: Make | None = None  # the same, written over its input
    onto: int | None = None  # the input that a sum is added onto, where that may be overwritten
    width: int = 0
    item: str = ""
    carried: tuple[str, ...] = ()  # what a loop calls what it carries
    # set while statements are formed
    depth: int = 1
    length: int = 0
    heavy: bool = False
    leaves: list[int] = field(default_factory=list)

    @property
    def is_unnamed(self) -> bool:
        """Whether it has the name that its kind of operation gives by default."""
        plain = re.sub(r"(?<!^)(?=[A-Z])", "_", self.kind).lower()
        return re.sub(r"_\d+$", "", self.name) == plain
