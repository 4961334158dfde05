"""Every model under every condition as a field of colour: where the weak spots are, at one look."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from robobench.leaderboard.board import Entry, Ladder, Leaderboard, Level
from robobench.leaderboard.text import level_name, number, said, shown

_NAMES, _MOST = 150.0, 22  # width for the models' names, and characters of one
_CELL, _HIGH = 26.0, 24.0
_TOP, _LETTERS = 66.0, 10  # height above the fields, and characters that fit in there upright
_GAP = 10.0  # between ladders
_DEEPEST = 0.92
_FEW = 2  # conditions; with fewer there is nothing to see


def condition_map(board: Leaderboard) -> str:
    """The composite's metric of each cell as SVG, ladder by ladder; the deeper, the better.

    Each field says its number and interval when pointed at; the tables hold the same numbers. Colours run
    from the worst value of the board to the best, so the map compares, and does not say how good anything is.
    """
    columns = list(_columns(board))
    scores = [
        e.cells[level.condition].score(board.suite.score.of) for e in board.entries for _, level, _ in columns
    ]
    values = [s.value for s in scores if math.isfinite(s.value)]
    if len(columns) < _FEW or not values:
        return ""
    low, high = min(values), max(values)
    if scores and not scores[0].higher_is_better:
        low, high = high, low
    width = columns[-1][2] + _CELL + 8
    bottom = _TOP + _HIGH * len(board.entries)
    height = bottom + 24
    body = [*_heads(board, columns)]
    for i, entry in enumerate(board.entries):
        body.append(_row(board, entry, i, columns, (low, high)))
    ends = f"palest {number(low, scores[0].unit)}, deepest {number(high, scores[0].unit)}"
    body.append(f'<text class="what" x="{_NAMES:.1f}" y="{bottom + 16:.1f}">{escape(ends)}</text>')
    title = f"{board.suite.score.of} of every model under every condition"
    return (
        f'<svg class="chart map" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def _columns(board: Leaderboard) -> Iterator[tuple[Ladder | None, Level, float]]:
    """Each condition with its ladder and its place."""
    x = _NAMES
    for level in board.references:
        yield None, level, x
        x += _CELL
    for ladder in board.ladders:
        x += _GAP
        for level in ladder.levels:
            yield ladder, level, x
            x += _CELL


def _heads(board: Leaderboard, columns: list[tuple[Ladder | None, Level, float]]) -> Iterator[str]:
    """The ladders' names, and under them their levels."""
    named = ""
    for ladder, level, x in columns:
        name = level.condition if ladder is None else ladder.name
        alone = ladder is None or len(ladder.levels) == 1
        if ladder is not None and not alone and name != named:
            most = max(int(len(ladder.levels) * _CELL / 6.2), 4)
            yield f'<text class="what" x="{x + 2:.1f}" y="14">{_short(name, most)}</text>'
            named = name
        label = name if ladder is None or alone else level_name(ladder, level)
        at = f"{x + _CELL / 2 + 4:.1f} {_TOP - 5:.1f}"
        yield (
            f'<text class="what" x="{at.split()[0]}" y="{at.split()[1]}" '
            f'transform="rotate(-90 {at})">{_short(label, _LETTERS if alone else 7)}</text>'
        )


def _row(
    board: Leaderboard,
    entry: Entry,
    index: int,
    columns: list[tuple[Ladder | None, Level, float]],
    ends: tuple[float, float],
) -> str:
    y = _TOP + _HIGH * index
    at = f'x="{_NAMES - 8:.1f}" y="{y + _HIGH / 2 + 4:.1f}" text-anchor="end"'
    name = f"<text {at}>{_short(entry.name, _MOST)}</text>"
    fields = [_field(board, entry, level, x, y, ends) for _, level, x in columns]
    return f'<g class="series" data-m="{index}">{name}{"".join(fields)}</g>'


def _field(
    board: Leaderboard, entry: Entry, level: Level, x: float, y: float, ends: tuple[float, float]
) -> str:
    score = entry.cells[level.condition].score(board.suite.score.of)
    low, high = ends
    share = (score.value - low) / (high - low) if high != low else 1.0
    shade = f"{_DEEPEST * share:.3f}" if math.isfinite(score.value) else "0"
    tip = f"{shown(entry.name)}, {shown(level.condition)}: {said(score)}"
    return (
        f'<rect class="heat" x="{x + 1:.1f}" y="{y + 1:.1f}" width="{_CELL - 2:.1f}" '
        f'height="{_HIGH - 2:.1f}" fill-opacity="{shade}"><title>{escape(tip)}</title></rect>'
    )


def _short(name: str, most: int) -> str:
    text = shown(name)
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
