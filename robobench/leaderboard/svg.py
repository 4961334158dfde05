"""Charts of a leaderboard as inline SVG: readable without a script, styled by the page's style sheet.

Colours are classes (`s0` ... `s7`), so that light and dark pages share one drawing. A model is told by
colour, dash and marker together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from robobench.leaderboard.axes import Frame, drawing, snug, x_labels, y_axis
from robobench.leaderboard.board import Entry, Ladder, Leaderboard, Level
from robobench.leaderboard.limits import LimitCurve
from robobench.leaderboard.text import level_name, said, shown
from robobench.types import Score

COLOURS = 8
_TOPS = (0.05, 0.1, 0.25, 0.5)  # of an axis of small shares, such as calibration errors
DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 3", "9 2 2 2 2 2")
_MARKERS = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "bar")


def marker(index: int, x: float, y: float, title: str = "", size: float = 4.0) -> str:
    """The marker of a model at a point."""
    shape = _MARKERS[(index + index // COLOURS) % len(_MARKERS)]
    s, d = size, size * 1.25
    paths = {
        "square": f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h{-2 * s:.1f}z",
        "triangle": f"M{x:.1f} {y - d:.1f}L{x + d:.1f} {y + s:.1f}H{x - d:.1f}z",
        "down": f"M{x:.1f} {y + d:.1f}L{x + d:.1f} {y - s:.1f}H{x - d:.1f}z",
        "diamond": f"M{x:.1f} {y - d:.1f}L{x + d:.1f} {y:.1f}L{x:.1f} {y + d:.1f}L{x - d:.1f} {y:.1f}z",
        "bar": f"M{x - s / 2:.1f} {y - d:.1f}h{s:.1f}v{2 * d:.1f}h{-s:.1f}z",
        "cross": f"M{x - s:.1f} {y - s:.1f}l{2 * s:.1f} {2 * s:.1f}m{-2 * s:.1f} 0l{2 * s:.1f} {-2 * s:.1f}",
        "plus": f"M{x - d:.1f} {y:.1f}H{x + d:.1f}M{x:.1f} {y - d:.1f}V{y + d:.1f}",
    }
    inside = f"<title>{escape(shown(title))}</title>" if title else ""
    if shape == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{s:.1f}">{inside}</circle>'
    kind = "mark open" if shape in ("cross", "plus") else "mark"
    return f'<path class="{kind}" d="{paths[shape]}">{inside}</path>'


def key(index: int) -> str:
    """A model's sign for the legend: a bit of its line with its marker."""
    return (
        f'<svg class="key" width="34" height="14" viewBox="0 0 34 14" aria-hidden="true">'
        f'<path class="line"{_dash(index)} d="M1 7H33"/>{marker(index, 17, 7)}</svg>'
    )


def strip(score: Score, index: int, low: float, high: float) -> str:
    """A score and its interval on an axis that all lines of the table share."""
    if not math.isfinite(score.value):
        return ""
    frame = Frame(96, 16, 4, 4, 0, 0, (low, high), (0, 1))
    a, b, at = frame.x(score.low), frame.x(score.high), frame.x(score.value)
    return (
        '<svg class="strip" width="96" height="16" viewBox="0 0 96 16" aria-hidden="true">'
        f'<path class="axis" d="M4 8H92"/><path class="range" d="M{a:.1f} 8H{b:.1f}"/>'
        f"{marker(index, at, 8, size=3.5)}</svg>"
    )


def curves(board: Leaderboard, ladder: Ladder) -> str:
    """Every model along a ladder, from clean on the same images, with interval bands."""
    of = board.suite.score.of
    series = [points_along(e, ladder, of) for e in board.entries]
    names = ["clean", *(level_name(ladder, v) for v in ladder.levels)]
    shown_scores = [s for points in series for _, s in points]
    unit = next((s.unit for s in shown_scores), "fraction")
    y_range = value_range(shown_scores, unit)
    frame = Frame(420, 264, 44, 16, 12, 44, (-0.25, len(names) - 0.75), y_range)
    body = [y_axis(frame, unit, of), x_labels(frame, names, ladder.along or "")]
    for index, points in enumerate(series):
        if points:
            body.append(_series(frame, board.entries[index], index, points, names))
    title = f"{shown(ladder.name)}: {of} of each model" + (f" along {ladder.along}" if ladder.along else "")
    return drawing(frame, title, body)


def limits(board: Leaderboard, curve: LimitCurve) -> str:
    """Every model's accuracy under one attack against what the attack may spend, with interval bands."""
    series = [curve.points(e) for e in board.entries]
    frame = Frame(420, 264, 44, 16, 12, 44, (-0.25, len(curve.limits) - 0.75), (0.0, 1.0))
    body = [y_axis(frame, "fraction", "accuracy"), x_labels(frame, curve.limits, f"{curve.along}, at most")]
    for index, points in enumerate(series):
        if points:
            body.append(_series(frame, board.entries[index], index, points, curve.limits))
    return drawing(
        frame, f"{shown(curve.level.condition)}: accuracy of each model within {curve.along}", body
    )


def points_along(entry: Entry, ladder: Ladder, of: str) -> list[tuple[int, Score]]:
    """(position, score) from clean, at 0, on. Cells that are not complete are gaps."""
    found: list[tuple[int, Score]] = []
    start = _clean(entry, ladder.levels[0], of) if ladder.levels else None
    if start is not None and math.isfinite(start.value):
        found.append((0, start))
    for place, level in enumerate(ladder.levels, start=1):
        cell = entry.cells[level.condition]
        score = cell.score(of)
        if cell.complete and math.isfinite(score.value):
            found.append((place, score))
    return found


def _clean(entry: Entry, level: Level, of: str) -> Score | None:
    """Where a curve starts: clean on the ladder's own images."""
    own = entry.cells[level.condition].clean
    if own is not None or level.compared_with is None:
        return own
    reference = entry.cells[level.compared_with]
    return reference.score(of) if reference.complete else None


def _series(
    frame: Frame, entry: Entry, index: int, points: Sequence[tuple[int, Score]], names: Sequence[str]
) -> str:
    parts = []
    for run in unbroken(points):
        upper = [f"{frame.x(p):.1f},{frame.y(s.high):.1f}" for p, s in run]
        lower = [f"{frame.x(p):.1f},{frame.y(s.low):.1f}" for p, s in reversed(run)]
        middle = " ".join(f"{frame.x(p):.1f},{frame.y(s.value):.1f}" for p, s in run)
        if len(run) > 1:
            parts.append(f'<polygon class="band" points="{" ".join(upper + lower)}"/>')
            parts.append(f'<polyline class="line"{_dash(index)} points="{middle}"/>')
        else:
            at, s = frame.x(run[0][0]), run[0][1]
            parts.append(f'<path class="range" d="M{at:.1f} {frame.y(s.low):.1f}V{frame.y(s.high):.1f}"/>')
    for place, score in points:
        title = f"{shown(entry.name)}, {names[place]}: {said(score)}"
        parts.append(marker(index, frame.x(place), frame.y(score.value), title))
    return f'<g class="series s{index % COLOURS}" data-m="{index}">{"".join(parts)}</g>'


def unbroken(points: Sequence[tuple[int, Score]]) -> list[list[tuple[int, Score]]]:
    """Points at neighbouring positions; a gap is not drawn over."""
    runs: list[list[tuple[int, Score]]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _dash(index: int) -> str:
    pattern = DASHES[(index + index // COLOURS) % len(DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def value_range(scores: Sequence[Score], unit: str) -> tuple[float, float]:
    """From 0 to 100 % for shares, or to a round share above them where all are small."""
    if unit == "fraction":
        most = max((s.high for s in scores), default=1.0)
        return (0.0, next((top for top in _TOPS if most <= top), 1.0))
    return snug([v for s in scores for v in (s.low, s.high)], "")


def range_of(scores: Sequence[Score]) -> tuple[float, float]:
    """The axis of the strips: from the lowest bound to the highest."""
    known = [s for s in scores if math.isfinite(s.value)]
    return snug([v for s in known for v in (s.low, s.high)], "") if known else (0.0, 1.0)
