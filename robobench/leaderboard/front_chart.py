"""The front as a chart: the score against images a second or MACs, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robobench.leaderboard.axes import Frame, drawing, snug, x_title, y_axis
from robobench.leaderboard.board import Entry
from robobench.leaderboard.front import Front, Place, Point, macs, rate
from robobench.leaderboard.labels import Mark, labels
from robobench.leaderboard.svg import COLOURS, marker
from robobench.leaderboard.text import count, said, shown

_NAMED, _MOST_NAMED = 6, 10  # points that are all labelled, and labels; more would cover each other
_MOST = 32  # characters of a label
_LARGEST, _SMALLEST = 9.0, 3.5  # half a marker's width
_NARROWEST = 0.7  # of the axis, in powers of ten: room for two round numbers
_MOST_TICKS = 8


def front_chart(front: Front, score: str) -> str:
    """Each model with both intervals and the front as a stepped line; empty without a point."""
    if not front.points:
        return ""
    frame = Frame(
        560, 300, 44, 20, 14, 44,
        _wide([math.log10(v) for p in front.points for v in _reach(front, p)]),
        snug([v for p in front.points for v in (p.entry.score.low, p.entry.score.high)], _unit(front)),
    )  # fmt: skip
    body = [y_axis(frame, _unit(front), shown(score)), _x_axis(frame, front), _stairs(frame, front)]
    largest = max((p.entry.parameters or 0 for p in front.points), default=0)
    sizes = [_size(p.entry.parameters, largest) for p in front.points]
    names = _names(frame, front, sizes)
    for point, place, size in zip(front.points, front.places, sizes, strict=True):
        body.append(_dot(frame, front, point, place, size, names.get(point.index, "")))
    what = "images a second" if front.axis == "images/s" else "multiply-accumulates of one image"
    title = f"{shown(score)} against {what}, one point for each model, with a line along the front"
    return drawing(frame, title, body)


def _unit(front: Front) -> str:
    return front.points[0].entry.score.unit


def _reach(front: Front, point: Point) -> tuple[float, float]:
    """The interval of a point along the axis."""
    if front.axis == "images/s":
        return point.speed.low, point.speed.high
    return front.cost(point), front.cost(point)


def _wide(powers: Sequence[float]) -> tuple[float, float]:
    """A range of powers of ten that holds some with room, and at least two round numbers."""
    low, high = min(powers), max(powers)
    room = max(0.06 * (high - low), (_NARROWEST - (high - low)) / 2, 0.05)
    return low - room, high + room


def _size(parameters: int | None, largest: int) -> float:
    """Half the width of a marker whose area grows with the parameters."""
    if not parameters or not largest:
        return _SMALLEST
    return max(_SMALLEST, _LARGEST * math.sqrt(parameters / largest))


def _x_axis(frame: Frame, front: Front) -> str:
    fast = front.axis == "images/s"
    foot = frame.height - frame.bottom
    parts = [f'<path class="axis" d="M{frame.left:.1f} {foot:.1f}H{frame.width - frame.right:.1f}"/>']
    for value in log_ticks(*frame.x_range):
        x = frame.x(math.log10(value))
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{foot:.1f}"/>')
        said_so = macs(value) if not fast else f"{value:,.0f}" if value >= 1 else f"{value:g}"
        parts.append(f'<text x="{x:.1f}" y="{foot + 18:.1f}" text-anchor="middle">{said_so}</text>')
    what = "images a second (more is faster)" if fast else "MACs of one image (fewer is cheaper)"
    return "".join(parts) + x_title(frame, what)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten: 1, 2 and 5 times each, or only each where those are many.

    >>> log_ticks(1.9, 3.1)
    [100.0, 200.0, 500.0, 1000.0]
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1,)):
        found = [s * 10.0**k for k in powers for s in steps if low <= math.log10(s * 10.0**k) <= high]
        if len(found) <= _MOST_TICKS:
            break
    return found


def _stairs(frame: Frame, front: Front) -> str:
    """The best score that can be had at a speed or more, or for a cost or less."""
    stairs = front.stairs
    if not stairs:
        return ""
    start = frame.left if front.axis == "images/s" else frame.width - frame.right
    end = frame.height - frame.bottom if front.higher_is_better else frame.top
    path = f"M{start:.1f} {frame.y(stairs[0].entry.score.value):.1f}"
    for point in stairs:
        x, y = frame.x(math.log10(front.cost(point))), frame.y(point.entry.score.value)
        path += f"V{y:.1f}H{x:.1f}"
    return f'<path class="stairs" d="{path}V{end:.1f}"/>'


def _names(frame: Frame, front: Front, sizes: Sequence[float]) -> dict[int, str]:
    """Labels with the parameters, by model: of all points where they are few, else of those on the line."""
    marks = {
        p.index: Mark(
            frame.x(math.log10(front.cost(p))), frame.y(p.entry.score.value), size, _called(p.entry)
        )
        for p, size in zip(front.points, sizes, strict=True)
    }
    chosen = [p.index for p in (front.points if len(marks) <= _NAMED else front.stairs)][:_MOST_NAMED]
    others = [mark for index, mark in marks.items() if index not in chosen]
    return dict(zip(chosen, labels(frame, [marks[i] for i in chosen], others, most=_MOST), strict=True))


def _called(entry: Entry) -> str:
    """A model's name, shortened so that the parameters behind it are seen."""
    size, name = count(entry.parameters), shown(entry.name)
    if entry.parameters is None:
        return name
    room = _MOST - len(size) - 2
    return f"{name if len(name) <= room else name[: room - 1] + '…'}, {size}"


def _dot(frame: Frame, front: Front, point: Point, at: Place, size: float, label: str) -> str:
    score, index = point.entry.score, point.index
    x, y = frame.x(math.log10(front.cost(point))), frame.y(score.value)
    left, right = (frame.x(math.log10(v)) for v in _reach(front, point))
    bars = f"M{x:.1f} {frame.y(score.low):.1f}V{frame.y(score.high):.1f}"
    if right > left:
        bars += f"M{left:.1f} {y:.1f}H{right:.1f}"
    title = (
        f"{shown(point.entry.name)}: {score.name} {said(score)}; "
        f"{rate(point.speed.images_per_second)} images/s, {macs(point.speed.macs)} MACs, "
        f"{count(point.entry.parameters)} parameters"
    )
    return (
        f'<g class="series s{index % COLOURS} at-{at}" data-m="{index}"><path class="range" d="{bars}"/>'
        f"{marker(index, x, y, title, size)}{label}</g>"
    )
