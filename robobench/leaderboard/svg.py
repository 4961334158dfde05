"""Charts of a leaderboard as inline SVG: readable without a script, styled by the page's style sheet.

Colours are classes (`s0` ... `s7`), so that light and dark pages share one drawing. A model is told by
colour, dash and marker together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from robobench.leaderboard.board import Entry, Ladder, Leaderboard, Level
from robobench.leaderboard.limits import LimitCurve
from robobench.leaderboard.text import level_name, said, shown, unit_sign
from robobench.types import Score

COLOURS = 8
_TOPS = (0.05, 0.1, 0.25, 0.5)  # of an axis of small shares, such as calibration errors
_DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 3", "9 2 2 2 2 2")
_MARKERS = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "bar")
_NAMED = 6  # points of the scatter that are labelled; more would cover each other
_GLYPH = 6.5  # width of a character at the axis' size, for placing labels


@dataclass(frozen=True)
class Frame:
    """A plot's place in its drawing, and the numbers at its edges."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        share = (value - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


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
    inside = f"<title>{escape(title)}</title>" if title else ""
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
    series = [_points(e, ladder, of) for e in board.entries]
    names = ["clean", *(level_name(ladder, v) for v in ladder.levels)]
    shown_scores = [s for points in series for _, s in points]
    unit = next((s.unit for s in shown_scores), "fraction")
    y_range = _y_range(shown_scores, unit)
    frame = Frame(420, 264, 44, 16, 12, 44, (-0.25, len(names) - 0.75), y_range)
    body = [_y_axis(frame, unit, of), _x_labels(frame, names, ladder.along or "")]
    for index, points in enumerate(series):
        if points:
            body.append(_series(frame, board.entries[index], index, points, names))
    title = f"{shown(ladder.name)}: {of} of each model" + (f" along {ladder.along}" if ladder.along else "")
    return _svg(frame, title, body)


def limits(board: Leaderboard, curve: LimitCurve) -> str:
    """Every model's accuracy under one attack against what the attack may spend, with interval bands."""
    series = [curve.points(e) for e in board.entries]
    frame = Frame(420, 264, 44, 16, 12, 44, (-0.25, len(curve.limits) - 0.75), (0.0, 1.0))
    body = [_y_axis(frame, "fraction", "accuracy"), _x_labels(frame, curve.limits, f"{curve.along}, at most")]
    for index, points in enumerate(series):
        if points:
            body.append(_series(frame, board.entries[index], index, points, curve.limits))
    return _svg(frame, f"{shown(curve.level.condition)}: accuracy of each model within {curve.along}", body)


def scatter(board: Leaderboard) -> str:
    """The composite against clean, with both intervals."""
    if not board.references:
        return ""
    reference, of = board.references[0], board.suite.score.of
    pairs = [(i, e, e.cells[reference.condition].score(of), e.score) for i, e in enumerate(board.entries)]
    pairs = [p for p in pairs if math.isfinite(p[2].value) and math.isfinite(p[3].value)]
    if not pairs:
        return ""
    frame = Frame(
        420, 264, 44, 16, 12, 44,
        _snug([v for _, _, c, _ in pairs for v in (c.low, c.high)], pairs[0][2].unit),
        _snug([v for _, _, _, s in pairs for v in (s.low, s.high)], pairs[0][3].unit),
    )  # fmt: skip
    body = [
        _y_axis(frame, pairs[0][3].unit, shown(board.suite.score.name)),
        _x_ticks(frame, pairs[0][2].unit),
    ]
    labels = _spread([frame.y(s.value) for *_, s in pairs])
    for (index, entry, clean, total), place in zip(pairs, labels, strict=True):
        named = place if len(pairs) <= _NAMED else None
        body.append(_dot(frame, entry, index, clean, total, named))
    return _svg(frame, f"{board.suite.score.name} against clean {of}, one point for each model", body)


def _dot(frame: Frame, entry: Entry, index: int, clean: Score, total: Score, place: float | None) -> str:
    x, y = frame.x(clean.value), frame.y(total.value)
    bars = (
        f"M{frame.x(clean.low):.1f} {y:.1f}H{frame.x(clean.high):.1f}"
        f"M{x:.1f} {frame.y(total.low):.1f}V{frame.y(total.high):.1f}"
    )
    name = shown(entry.name)
    title = f"{name}: clean {said(clean)}; {total.name} {said(total)}"
    return (
        f'<g class="series s{index % COLOURS}" data-m="{index}"><path class="range" d="{bars}"/>'
        f"{marker(index, x, y, title, 4.5)}{'' if place is None else _name(frame, name, x, place)}</g>"
    )


def _name(frame: Frame, name: str, x: float, y: float) -> str:
    """A point's label, on the side where there is room."""
    short = name if len(name) <= 24 else name[:23] + "…"
    left = x > (frame.left + frame.width) / 2
    at, anchor = (x - 9, "end") if left else (x + 9, "start")
    place = f'x="{at:.1f}" y="{y - 6:.1f}" text-anchor="{anchor}"'
    return f'<text class="name" {place}>{escape(short)}</text>'


def _spread(places: Sequence[float], gap: float = 13.0) -> list[float]:
    """Heights of labels, moved apart where they would cover each other."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    out = list(places)
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + gap)
    return out


def _points(entry: Entry, ladder: Ladder, of: str) -> list[tuple[int, Score]]:
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
    for run in _runs(points):
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


def _runs(points: Sequence[tuple[int, Score]]) -> list[list[tuple[int, Score]]]:
    """Points at neighbouring positions; a gap is not drawn over."""
    runs: list[list[tuple[int, Score]]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _dash(index: int) -> str:
    pattern = _DASHES[(index + index // COLOURS) % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _y_range(scores: Sequence[Score], unit: str) -> tuple[float, float]:
    """From 0 to 100 % for shares, or to a round share above them where all are small."""
    if unit == "fraction":
        most = max((s.high for s in scores), default=1.0)
        return (0.0, next((top for top in _TOPS if most <= top), 1.0))
    return _snug([v for s in scores for v in (s.low, s.high)], "")


def _snug(values: Sequence[float], unit: str) -> tuple[float, float]:
    """A range that holds the values with some room, inside [0, 1] for a fraction."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(0.08 * (high - low), 0.005)
    if unit == "fraction" and low >= 0 and high <= 1:
        return max(low - room, 0.0), min(high + room, 1.0)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float, unit: str) -> str:
    return f"{100 * value:.3g}" if unit == "fraction" else f"{value:.3g}"


def _y_axis(frame: Frame, unit: str, title: str) -> str:
    parts = []
    for value in _ticks(*frame.y_range):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.width - frame.right:.1f}"/>')
        parts.append(
            f'<text x="{frame.left - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{_tick(value, unit)}</text>'
        )
    middle = (frame.top + frame.height - frame.bottom) / 2
    parts.append(
        f'<text class="what" transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(title)} ({escape(unit_sign(unit))})</text>"
    )
    return "".join(parts)


def _x_ticks(frame: Frame, unit: str) -> str:
    foot = frame.height - frame.bottom
    parts = []
    for value in _ticks(*frame.x_range):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{foot:.1f}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{foot + 18:.1f}" text-anchor="middle">{_tick(value, unit)}</text>'
        )
    return "".join(parts) + _x_title(frame, f"clean ({unit_sign(unit)})")


def _x_labels(frame: Frame, names: Sequence[str], along: str) -> str:
    foot = frame.height - frame.bottom
    room = frame.x(1) - frame.x(0)
    most = max(8, int(room / _GLYPH))
    shorts = [n if len(n) <= most else n[: most - 1] + "…" for n in names]
    every = max(1, math.ceil(max((len(n) for n in shorts), default=1) * _GLYPH / room))
    parts = [f'<path class="axis" d="M{frame.left:.1f} {foot:.1f}H{frame.width - frame.right:.1f}"/>']
    for place, name in enumerate(shorts):
        if place % every == 0 or place == len(shorts) - 1:
            x = frame.x(place)
            parts.append(f'<text x="{x:.1f}" y="{foot + 18:.1f}" text-anchor="middle">{escape(name)}</text>')
    return "".join(parts) + _x_title(frame, along)


def _x_title(frame: Frame, text: str) -> str:
    middle = (frame.left + frame.width - frame.right) / 2
    return (
        f'<text class="what" x="{middle:.1f}" y="{frame.height - 8:.1f}" text-anchor="middle">'
        f"{escape(shown(text))}</text>"
    )


def _svg(frame: Frame, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {frame.width:.0f} {frame.height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def range_of(scores: Sequence[Score]) -> tuple[float, float]:
    """The axis of the strips: from the lowest bound to the highest."""
    known = [s for s in scores if math.isfinite(s.value)]
    return _snug([v for s in known for v in (s.low, s.high)], "") if known else (0.0, 1.0)
