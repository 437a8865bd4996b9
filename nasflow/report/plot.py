"""Plots as SVG: points and lines over two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nasflow.report.drawing import FONT

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 44


@dataclass(frozen=True)
class Series:
    """Points (x, y) as ``dots``, a ``line``, or a ``stair`` that holds its value; `notes` show on hover."""

    points: Sequence[tuple[float, float]]
    look: str = "dots"
    colour: str = "#3b73b9"
    notes: Sequence[str] = ()


def plot(series: Sequence[Series], x: str, y: str, *, log_x: bool = False) -> str:
    """Return an SVG document; `x` and `y` name the axes."""
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    across = Axis.of([p[0] for p in points], LEFT, WIDTH - RIGHT, log_x)
    up = Axis.of([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    body = [*_grid(across, up, x, y), *(mark for one in series for mark in _marks(one, across, up))]
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' role='img' "
            f"aria-label='{escape(y)} over {escape(x)}'>",
            *body,
            "</svg>",
        ]
    )


@dataclass(frozen=True)
class Axis:
    """Map values to pixels, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, log: bool = False) -> Axis:
        """Return an axis over `values` with a little room at both ends."""
        log = log and min(values) > 0
        scaled = [math.log10(v) if log else v for v in values]
        low, high = min(scaled), max(scaled)
        room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
        return cls(low - room, high + room, start, end, log)

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        scaled = math.log10(value) if self.log else value
        return self.start + (scaled - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values within the axis, about six."""
        if self.log and self.high - self.low > 1.5:
            decades = range(math.ceil(self.low), math.floor(self.high) + 1)
            return [float(10**exponent) for exponent in decades]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        rough = (high - low) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def short(value: float) -> str:
    """Return a number as people say it: 1.2M, 35k, 0.931."""
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.4g}"


def _grid(across: Axis, up: Axis, x: str, y: str) -> list[str]:
    found = []
    for tick in up.ticks():
        at = up.at(tick)
        found.append(f"<path d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}' stroke='#e3e6ea'/>")
        found.append(
            f"<text x='{LEFT - 6}' y='{at + 4:.1f}' {FONT} text-anchor='end' fill='#555'>{short(tick)}</text>"
        )
    for tick in across.ticks():
        at = across.at(tick)
        found.append(f"<path d='M{at:.1f} {TOP}V{HEIGHT - BOTTOM}' stroke='#e3e6ea'/>")
        place = f"x='{at:.1f}' y='{HEIGHT - BOTTOM + 16}'"
        found.append(f"<text {place} {FONT} text-anchor='middle' fill='#555'>{short(tick)}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(
        f"<text x='{middle}' y='{HEIGHT - 8}' {FONT} text-anchor='middle' fill='#222'>{escape(x)}</text>"
    )
    found.append(
        f"<text transform='translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)' {FONT} text-anchor='middle' "
        f"fill='#222'>{escape(y)}</text>"
    )
    return found


def _marks(one: Series, across: Axis, up: Axis) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in one.points]
    if one.look == "dots":
        notes = [*one.notes, *[""] * (len(places) - len(one.notes))]
        return [
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{one.colour}' fill-opacity='0.75'>"
            f"<title>{escape(note)}</title></circle>"
            for (x, y), note in zip(places, notes, strict=True)
        ]
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}" if places else ""
    for x, y in places[1:]:
        path += f"H{x:.1f}V{y:.1f}" if one.look == "stair" else f"L{x:.1f} {y:.1f}"
    return [f"<path d='{path}' fill='none' stroke='{one.colour}' stroke-width='2'/>"]
