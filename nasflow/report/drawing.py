"""Draw boxes and arrows as an SVG that stands alone: no fonts, scripts or styles from elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from nasflow.report.layout import Layout, layered

FONT = "font-family='system-ui, sans-serif' font-size='12'"
LETTER = 7.0  # pixels a character of that font takes, on the generous side
HEIGHT, MARGIN, HEAD = 26.0, 12.0, 26.0
COLOURS = {
    "value": ("#eef1f4", "#8a96a3"),  # inputs and outputs
    "weights": ("#dbe9fb", "#3b73b9"),  # operations that own weights
    "fixed": ("#fdebd0", "#c27c1a"),  # pooling, activations, reshapes: no weights
    "join": ("#e2f3e0", "#4b944a"),  # several values become one
    "group": ("#efe4f7", "#7d51a5"),  # a sub-graph drawn as one box
}


@dataclass(frozen=True)
class Box:
    """One box: its text and what kind of thing it is (a key of `COLOURS`)."""

    label: str
    kind: str = "fixed"


def draw(
    boxes: Mapping[Hashable, Box], edges: Sequence[tuple[Hashable, Hashable]], title: str = ""
) -> str:
    """Return an SVG document; every edge points from an earlier key of `boxes` to a later one."""
    widths = {node: LETTER * len(box.label) + 20 for node, box in boxes.items()}
    layout = layered(widths, edges, height=HEIGHT)
    head = HEAD if title else 0.0
    width = max(layout.width, LETTER * len(title)) + 2 * MARGIN
    height = layout.height + 2 * MARGIN + head
    body = [
        *_lines(layout),
        *(_box(box, layout.centres[node], widths[node]) for node, box in boxes.items()),
    ]
    heading = (
        f"<text x='{MARGIN}' y='{MARGIN + 8}' {FONT} font-weight='600' fill='#222'>{escape(title)}</text>"
        if title
        else ""
    )
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
            f"width='{width:.0f}' height='{height:.0f}' role='img' aria-label='{escape(title or 'graph')}'>",
            "<rect width='100%' height='100%' fill='white'/>",
            heading,
            f"<g transform='translate({MARGIN} {MARGIN + head})'>",
            *body,
            "</g>",
            "</svg>",
            "",
        ]
    )


def _lines(layout: Layout) -> list[str]:
    found = []
    for _, points in layout.lines:
        (x, y), *rest = points
        path = f"M{x:.1f} {y + HEIGHT / 2:.1f}"
        y += HEIGHT / 2
        for i, (to_x, to_y) in enumerate(rest):
            last = i == len(rest) - 1
            end = to_y - HEIGHT / 2 - (4 if last else 0)
            middle = (y + end) / 2
            path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {end:.1f}"
            if not last:
                path += f"V{to_y + HEIGHT / 2:.1f}"
            x, y = to_x, to_y + HEIGHT / 2
        x, y = points[-1]
        tip = y - HEIGHT / 2
        found.append(f"<path d='{path}' fill='none' stroke='#667' stroke-width='1.2'/>")
        found.append(f"<path d='M{x - 3.5:.1f} {tip - 6:.1f}h7l-3.5 6z' fill='#667'/>")
    return found


def _box(box: Box, centre: tuple[float, float], width: float) -> str:
    fill, stroke = COLOURS[box.kind]
    x, y = centre
    return (
        f"<rect x='{x - width / 2:.1f}' y='{y - HEIGHT / 2:.1f}' width='{width:.1f}' height='{HEIGHT:.0f}' rx='5' "
        f"fill='{fill}' stroke='{stroke}'/>"
        f"<text x='{x:.1f}' y='{y + 4:.1f}' {FONT} text-anchor='middle' fill='#222'>{escape(box.label)}</text>"
    )
