"""Transfer as a matrix: what was made against one model, shown to all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from robobench.leaderboard.board import Leaderboard, Level, Measured
from robobench.leaderboard.text import DASH, coverage, number, said, shown, unit_sign
from robobench.types import Score

RATES = ("transfer.fooling_rate", "transfer.success_rate")
RULE = (
    "A row is the model that the images were made against, a column the model that is shown them; the "
    "outlined cells are a model's own images. The fooling rate counts every answer that changes, the "
    "success rate the originally right ones that become wrong: n is the number of images behind it."
)
_NAMES, _CELL, _HIGH, _TOP = 150.0, 92.0, 44.0, 34.0  # of the heat map, in pixels
_STRONG = 0.68  # share from which on a number stands on a dark field
_DEEPEST = 0.86  # opacity of a field at 1
_MOST = 20  # characters of a name beside the heat map
_GLYPH = 7.0  # width of a character of a name


@dataclass(frozen=True)
class Matrix:
    """One rate of everything that was made in one way. cells[source][target]; None where there is none.

    title: how it was made. how: how it is shown. targets: the sources first, in their order.
    """

    title: str
    how: str
    rate: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    cells: tuple[tuple[Measured | None, ...], ...]

    def score(self, source: int, target: int) -> Score | None:
        """The rate of a cell."""
        cell = self.cells[source][target]
        return None if cell is None else cell.score(self.rate)

    def own(self, source: int, target: int) -> bool:
        """Whether the target is the source: no transfer, but the attack itself."""
        return self.sources[source] == self.targets[target]

    def text(self, source: int, target: int) -> str:
        """A cell as tables show it: the rate, its interval and its n."""
        score, cell = self.score(source, target), self.cells[source][target]
        if score is None or cell is None or not math.isfinite(score.value):
            return DASH
        low, high = number(score.low, score.unit), number(score.high, score.unit)
        part = coverage(cell)
        value = f"{number(score.value, score.unit)} [{low}, {high}] n = {score.n}"
        return f"{value} ({part})" if part else value

    @property
    def sign(self) -> str:
        """The unit of its numbers."""
        known = (self.score(i, j) for i in range(len(self.sources)) for j in range(len(self.targets)))
        return unit_sign(next((s.unit for s in known if s is not None), "fraction"))


def matrices(board: Leaderboard) -> tuple[Matrix, ...]:
    """The matrices of a board: one for each way images were made, and each rate that the suite asks for."""
    rates = [r for r in RATES if r in board.suite.metrics]
    groups: dict[tuple[str, str], list[Level]] = {}
    for ladder in board.ladders:
        for level in ladder.levels:
            if level.source is not None:
                along = f", {ladder.along} {level.label}" if ladder.along else ""
                how = "; ".join(level.steps) + along + _elsewhere(board, level)
                groups.setdefault((level.source.made, how), []).append(level)
    return tuple(
        _matrix(board, made, how, levels, rate) for (made, how), levels in groups.items() for rate in rates
    )


def _elsewhere(board: Leaderboard, level: Level) -> str:
    """The data set, where it is another one than the suite's own."""
    titles = {d.name: d.title for d in board.suite.data}
    first = board.suite.data[0].title if board.suite.data else ""
    title = titles.get(level.data, first)
    return "" if title == first else f", on {title}"


def _matrix(board: Leaderboard, made: str, how: str, levels: list[Level], rate: str) -> Matrix:
    by_source = {level.source.model: level for level in levels if level.source is not None}
    names = [e.name for e in board.entries]
    targets = [s for s in by_source if s in names] + [n for n in names if n not in by_source]
    entries = {e.name: e for e in board.entries}
    return Matrix(
        title=shown(made),
        how=shown(how),
        rate=rate,
        sources=tuple(by_source),
        targets=tuple(targets),
        cells=tuple(
            tuple(entries[t].cells.get(level.condition) for t in targets) for level in by_source.values()
        ),
    )


def heat_map(matrix: Matrix) -> str:
    """A matrix as SVG: the deeper the field, the higher the rate. Every number stands in its field."""
    width = _NAMES + _CELL * len(matrix.targets) + 8
    height = _TOP + _HIGH * len(matrix.sources) + 26
    middle = _NAMES + _CELL * len(matrix.targets) / 2
    title = f"{matrix.rate} in {matrix.sign}: {matrix.title}"
    fields = [_field(matrix, i, j) for i in range(len(matrix.sources)) for j in range(len(matrix.targets))]
    return (
        f'<svg class="chart heatmap" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}">'
        + "".join([*_names(matrix), *fields])
        + f'<text class="what" x="{middle:.1f}" y="{height - 8:.1f}" text-anchor="middle">target</text>'
        + '<text class="what" x="4" y="22">source</text></svg>'
    )


def _names(matrix: Matrix) -> Iterator[str]:
    for j, name in enumerate(matrix.targets):
        x = _NAMES + _CELL * (j + 0.5)
        yield f'<text x="{x:.1f}" y="22" text-anchor="middle">{_short(name, int(_CELL / _GLYPH))}</text>'
    for i, name in enumerate(matrix.sources):
        y = _TOP + _HIGH * (i + 0.5) + 4
        yield f'<text x="{_NAMES - 8:.1f}" y="{y:.1f}" text-anchor="end">{_short(name, _MOST)}</text>'


def _field(matrix: Matrix, i: int, j: int) -> str:
    x, y = _NAMES + _CELL * j, _TOP + _HIGH * i
    score = matrix.score(i, j)
    value = math.nan if score is None else score.value
    known = math.isfinite(value)
    words = "undefined" if score is None else said(score)
    tip = f"{shown(matrix.sources[i])} to {shown(matrix.targets[j])}: {words}"
    shade = f"{_DEEPEST * min(max(value, 0.0), 1.0):.3f}" if known else "0"
    kind = "heat own" if matrix.own(i, j) else "heat"
    text = number(value, "fraction" if score is None else score.unit)
    on = ' class="on"' if known and value >= _STRONG else ""
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect class="{kind}" x="{x + 1.5:.1f}" y="{y + 1.5:.1f}" width="{_CELL - 3:.1f}" '
        f'height="{_HIGH - 3:.1f}" fill-opacity="{shade}"/>'
        f'<text{on} x="{x + _CELL / 2:.1f}" y="{y + _HIGH / 2 + 4:.1f}" text-anchor="middle">{text}</text>'
        "</g>"
    )


def _short(name: str, most: int) -> str:
    text = shown(name)
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
