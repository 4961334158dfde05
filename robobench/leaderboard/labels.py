"""Names beside the points of a chart, where they cover neither one another nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from robobench.leaderboard.axes import Frame

_GLYPH, _HIGH = 7.0, 13.0  # of bold letters at the charts' size
_FAR = (28.0, -28.0, 42.0, 56.0)  # heights beside a point, for a label that would cover another one
_LOWER = 9.0  # from a label's base line below its point to the point, beyond the marker

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Mark:
    """A point to be named: its place in the drawing, half the width of its marker, and what it is called."""

    x: float
    y: float
    size: float
    name: str


def labels(frame: Frame, named: Sequence[Mark], others: Sequence[Mark] = (), *, most: int = 24) -> list[str]:
    """A text for each named point, in their order; those that would cover another are moved down.

    others: points without a name, which are kept clear as well as may be. most: characters of a name.
    """
    points = [_around(m) for m in (*named, *others)]
    taken: list[Box] = []
    found = []
    for mark in named:
        options = list(_places(frame, mark, most))
        costs = [_cost(frame, box, taken, points) + far for _, box, far in options]
        text, box, _ = options[costs.index(min(costs))]
        taken.append(box)
        found.append(text)
    return found


def _cost(frame: Frame, box: Box, taken: Sequence[Box], points: Sequence[Box]) -> float:
    """How bad a place is: out of the frame, over another label, over a point."""
    out = box[0] < frame.left or box[2] > frame.width or box[1] < 0
    out = out or box[3] > frame.height - frame.bottom
    return 100 * out + sum(10 for b in taken if _meet(box, b)) + sum(1 for b in points if _meet(box, b))


def _places(frame: Frame, mark: Mark, most: int) -> list[tuple[str, Box, float]]:
    """Where a label may stand, the best place first, each with how bad it is to be so far away."""
    name = mark.name if len(mark.name) <= most else f"{mark.name[: most - 1]}…"
    away, width = mark.size + 5, _GLYPH * len(name)
    sides = [("start", mark.x + away), ("end", mark.x - away)]
    if mark.x > (frame.left + frame.width) / 2:
        sides.reverse()
    found = []
    for drop in (-6.0, 4.0, _LOWER + mark.size, -mark.size - 12, *_FAR):
        for anchor, x in sides:
            left = x if anchor == "start" else x - width
            y = mark.y + drop
            place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
            box = (left, y - _HIGH + 3, left + width, y + 3)
            found.append((f'<text class="name" {place}>{escape(name)}</text>', box, 3.0 * (drop in _FAR)))
    return found


def _around(mark: Mark) -> Box:
    return mark.x - mark.size, mark.y - mark.size, mark.x + mark.size, mark.y + mark.size


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
