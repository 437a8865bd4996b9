"""Factors by which a network may be deeper, wider, and shown finer images than its baseline."""

from __future__ import annotations

from typing import NamedTuple

from nasflow.errors import SpaceError
from nasflow.ir.expression import Apply, Expression, Operand, ceil
from nasflow.ir.trace import choice

STEPS = 100  # options of a factor from one whole number to the next


class Factors(NamedTuple):
    """Multiply layers, channels and the images' side by these; each is 1 unless a point sets it."""

    depth: Operand
    width: Operand
    resolution: Operand

    def layers(self, count: Operand) -> Operand:
        """Return the scaled number of layers, rounded up as in EfficientNet's released code."""
        if not isinstance(self.depth, Expression):
            return count
        return ceil(count * self.depth - 1e-6)  # 10 times 1.1 is 11

    def side(self, pixels: Operand, multiple: Operand = 1) -> Operand:
        """Return the scaled side of an image, rounded to the nearest ``multiple``."""
        if not isinstance(self.resolution, Expression):
            return pixels
        exact = pixels * self.resolution / multiple
        return Apply("round", exact) * multiple


def factors(largest: float = 1.0) -> Factors:
    """Declare compound scaling's decisions: ``depth_factor``, ``width_factor``, ``resolution_factor``.

    Tan & Le, "EfficientNet", ICML 2019, section 3.3. They go from 1 to ``largest`` in hundredths; a
    search leaves them at 1, a point may set them. With 1, the default, none is declared.

    Raises:
        SpaceError: ``largest`` is below 1.
    """
    if not largest >= 1:
        raise SpaceError(f"scale: expected the largest factor, 1 or more, got {largest!r}")
    if largest == 1:
        return Factors(1, 1, 1)
    options = [step / STEPS for step in range(STEPS, round(largest * STEPS) + 1)]
    names = ("depth_factor", "width_factor", "resolution_factor")
    return Factors(*(choice(name, *options, ordered=True, searched=False) for name in names))
