"""Figures of a leaderboard for papers, drawn by matplotlib: SVG, PDF or PNG, the same bytes each time.

A model has the colour, dash and marker that it has on the page. Names are text, never mathematics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from robobench.atomic import place
from robobench.leaderboard.axes import snug, tick, ticks
from robobench.leaderboard.board import Ladder, Leaderboard, Level
from robobench.leaderboard.figure_style import (
    GRID,
    INK,
    SOFT,
    colour_of,
    dash_of,
    legal,
    marker_of,
    short,
    short_name,
    style,
)
from robobench.leaderboard.scatter import Fit, fit_of, pairs_of
from robobench.leaderboard.svg import points_along, unbroken, value_range
from robobench.leaderboard.text import level_name, number, ranks, unit_sign
from robobench.types import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["svg", "pdf", "png"]

NARROW, WIDE = 3.3, 6.9  # inches: one column of a paper, and both
_LINE = 0.155  # inches a line of names takes
_HALF = 17  # characters of a name with another one beside it
_NUMBERED = 24  # columns of the map whose fields hold their numbers
_LABELLED = 48  # columns of the map that are labelled one by one

# nothing of a date or a version of what drew it
_UNSAID: Mapping[Kind, Mapping[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def save_figures(board: Leaderboard, folder: Path, kind: Kind = "svg") -> tuple[Path, ...]:
    """Draw every figure of a board into a folder. Raises MissingExtra and, for its disk, StoreError.

    `ranking`, `clean-vs-score`, `conditions`, and `curve-NAME` for each ladder.
    """
    with style():
        paths = []
        for name, figure in figures(board).items():
            path = folder / f"{name}.{kind}"
            place(path, partial(figure.savefig, format=kind, metadata=_UNSAID[kind]))
            paths.append(path)
    return tuple(paths)


def figures(board: Leaderboard) -> Mapping[str, Figure]:
    """Every figure that a board has numbers for, by the name of its file; to be called within `style`."""
    found: dict[str, Figure] = {}
    if any(math.isfinite(e.score.value) for e in board.entries):
        found["ranking"] = ranking(board)
    if pairs_of(board):
        found["clean-vs-score"] = scatter(board)
    if board.entries and len(_columns(board)) > 1:
        found["conditions"] = conditions(board)
    for ladder in board.ladders:
        if any(points_along(e, ladder, board.suite.score.of) for e in board.entries):
            found[_file(f"curve-{ladder.name}", found)] = curve(board, ladder)
    return found


def ranking(board: Leaderboard) -> Figure:
    """Each model's score with its interval, best at the top, behind the ranks it may hold."""
    kept = [(i, e) for i, e in enumerate(board.entries) if math.isfinite(e.score.value)]
    figure, axes = _begin(NARROW, 0.62 + 0.2 * len(kept))
    for line, (index, entry) in enumerate(kept):
        score, colour = entry.score, colour_of(index)
        axes.hlines(line, score.low, score.high, colors=colour, linewidths=1.6, alpha=0.6)
        axes.plot([score.value], [line], marker=marker_of(index), color=colour, linestyle="none")
    axes.set_yticks(range(len(kept)), labels=[f"{short_name(e.name)} ({ranks(e)})" for _, e in kept])
    axes.set_ylim(len(kept) - 0.5, -0.5)
    unit = kept[0][1].score.unit
    _horizontal(axes, [v for _, e in kept for v in (e.score.low, e.score.high)], unit, board.suite.score.name)
    axes.tick_params(axis="y", length=0)
    return figure


def scatter(board: Leaderboard) -> Figure:
    """The score against clean with both intervals, and the line through the models where there is one."""
    pairs = pairs_of(board)
    named = [(p.index, p.entry.name) for p in pairs]
    figure, axes = _begin(NARROW, 2.3 + _legend_height(named))
    fit = fit_of(board)
    if fit is not None:
        _fitted(axes, fit)
    for pair in pairs:
        colour = colour_of(pair.index)
        axes.hlines(pair.total.value, pair.clean.low, pair.clean.high, colors=colour, alpha=0.55)
        axes.vlines(pair.clean.value, pair.total.low, pair.total.high, colors=colour, alpha=0.55)
        axes.plot(
            [pair.clean.value], [pair.total.value],
            marker=marker_of(pair.index), color=colour, linestyle="none", zorder=3, clip_on=False,
        )  # fmt: skip
    clean, total = pairs[0].clean.unit, pairs[0].total.unit
    _horizontal(axes, [v for p in pairs for v in (p.clean.low, p.clean.high)], clean, "clean")
    around = snug([v for p in pairs for v in (p.total.low, p.total.high)], total)
    _vertical(axes, around, total, board.suite.score.name)
    _legend(figure, named, lines=False)
    return figure


def curve(board: Leaderboard, ladder: Ladder) -> Figure:
    """Every model along a ladder, from clean on the same images, with interval bands."""
    of = board.suite.score.of
    series = {i: p for i, e in enumerate(board.entries) if (p := points_along(e, ladder, of))}
    named = [(i, board.entries[i].name) for i in series]
    figure, axes = _begin(NARROW, 2.2 + _legend_height(named))
    for index, points in series.items():
        for run in unbroken(points):
            _run(axes, index, run)
    names = ["clean", *(level_name(ladder, v) for v in ladder.levels)]
    axes.set_xlim(-0.25, len(names) - 0.75)
    axes.set_xticks(range(len(names)), labels=[short(legal(n), 12) for n in names])
    if len(names) > 6 or max(map(len, names)) * len(names) > 42:
        axes.tick_params(axis="x", rotation=45)
    axes.set_xlabel(short_name(ladder.along or ""))
    scores = [s for points in series.values() for _, s in points]
    _vertical(axes, value_range(scores, scores[0].unit), scores[0].unit, of)
    axes.set_title(short_name(ladder.name), loc="left")
    _legend(figure, named, lines=True)
    return figure


def conditions(board: Leaderboard) -> Figure:
    """Every model under every condition as a field of colour; a field without a number is left white."""
    columns, of = _columns(board), board.suite.score.of
    cells = [[e.cells[level.condition] for _, level in columns] for e in board.entries]
    values = np.array([[c.score(of).value if c.complete else np.nan for c in row] for row in cells])
    figure, axes = _begin(WIDE, 1.15 + 0.19 * len(board.entries))
    mesh = axes.pcolormesh(
        np.arange(len(columns) + 1), np.arange(len(values) + 1), np.ma.masked_invalid(values),
        cmap="cividis", edgecolors="white", linewidth=0.5,
    )  # fmt: skip
    axes.set_ylim(len(values), 0)
    axes.set_yticks(np.arange(len(values)) + 0.5, labels=[short_name(e.name) for e in board.entries])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _heads(axes, columns)
    if len(columns) <= _NUMBERED:
        _numbers(axes, values, cells[0][0].score(of).unit)
    unit = cells[0][0].score(of).unit
    bar = figure.colorbar(mesh, ax=axes, fraction=0.025, pad=0.01, format=lambda v, _: tick(v, unit))
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")  # as vectors, without gaps
    bar.set_label(f"{legal(of)} ({unit_sign(unit)})")
    return figure


def _begin(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _run(axes: Axes, index: int, run: Sequence[tuple[int, Score]]) -> None:
    """Points in a row with their band; one alone with its interval."""
    at, scores, colour = [p for p, _ in run], [s for _, s in run], colour_of(index)
    if len(run) > 1:
        axes.fill_between(
            at, [s.low for s in scores], [s.high for s in scores], color=colour, alpha=0.15, linewidth=0
        )
    else:
        axes.vlines(at, scores[0].low, scores[0].high, colors=colour, alpha=0.55)
    axes.plot(
        at, [s.value for s in scores], color=colour, marker=marker_of(index), linestyle=dash_of(index),
        markeredgecolor="white" if marker_of(index) != "x" else colour,
        markeredgewidth=0.4 if marker_of(index) != "x" else 1.0, clip_on=False,
    )  # fmt: skip


def _fitted(axes: Axes, fit: Fit) -> None:
    at = np.linspace(*fit.ends, 41)
    low, high = fit.band(at)
    axes.fill_between(at, low, high, color=SOFT, alpha=0.15, linewidth=0)
    axes.plot(at, fit.line.at(at), color=SOFT, linewidth=1.0)


def _horizontal(axes: Axes, values: Sequence[float], unit: str, title: str) -> None:
    low, high = snug(values, unit)
    axes.set_xlim(low, high)
    at = ticks(low, high)
    axes.set_xticks(at, labels=[tick(v, unit) for v in at])
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_xlabel(f"{short_name(title)} ({legal(unit_sign(unit))})")


def _vertical(axes: Axes, around: tuple[float, float], unit: str, title: str) -> None:
    axes.set_ylim(*around)
    at = ticks(*around)
    axes.set_yticks(at, labels=[tick(v, unit) for v in at])
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_ylabel(f"{short_name(title)} ({legal(unit_sign(unit))})")


def _legend_columns(models: Sequence[tuple[int, str]]) -> int:
    """Two names a line where they are short enough for a column of a paper."""
    return 2 if len(models) > 1 and all(len(short_name(n)) <= _HALF for _, n in models) else 1


def _legend_height(models: Sequence[tuple[int, str]]) -> float:
    return _LINE * math.ceil(len(models) / _legend_columns(models))


def _legend(figure: Figure, models: Sequence[tuple[int, str]], *, lines: bool) -> None:
    """Below the plot. Texts are put in afterwards: a label that begins with _ is none."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour_of(i), marker=marker_of(i), linestyle=dash_of(i) if lines else "none")
        for i, _ in models
    ]
    legend = figure.legend(
        handles, ["-"] * len(handles), loc="outside lower center", ncols=_legend_columns(models),
        handlelength=3.2 if lines else 1.2, columnspacing=1.4, borderpad=0.1, labelspacing=0.35,
    )  # fmt: skip
    for text, (_, name) in zip(legend.get_texts(), models, strict=True):
        text.set_text(short_name(name))


def _columns(board: Leaderboard) -> list[tuple[Ladder | None, Level]]:
    """Each condition with its ladder, clean ones first."""
    return [
        *((None, level) for level in board.references),
        *((ladder, level) for ladder in board.ladders for level in ladder.levels),
    ]


def _heads(axes: Axes, columns: Sequence[tuple[Ladder | None, Level]]) -> None:
    """Below, the levels; above, where a ladder begins, its name."""
    names = ["" if la is None or not v.label else level_name(la, v) for la, v in columns]
    if len(columns) > _LABELLED:
        names = [""] * len(columns)
    axes.set_xticks(np.arange(len(columns)) + 0.5, labels=[short(legal(n), 10) for n in names], rotation=90)
    for at, (ladder, level) in enumerate(columns):
        if at and ladder is not None and ladder is columns[at - 1][0]:
            continue
        if at:
            axes.axvline(at, color="white", linewidth=2.5)
        name = short(legal(level.condition if ladder is None else ladder.name), 22)
        axes.text(at + 0.1, -0.12, name, rotation=35, ha="left", va="bottom", fontsize=7.0)


def _numbers(axes: Axes, values: Any, unit: str) -> None:
    """Each field's number, dark on light and light on dark."""
    known = values[np.isfinite(values)]
    middle = (known.min() + known.max()) / 2 if known.size else 0.0
    for (line, at), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = INK if value > middle else "white"
            said = number(value, unit) if unit != "fraction" else f"{100 * value:.0f}"
            axes.text(at + 0.5, line + 0.52, said, ha="center", va="center", fontsize=6.0, color=colour)


def _file(name: str, taken: Mapping[str, Any]) -> str:
    """A name that every file system takes, and that no other figure has.

    >>> _file("curve-../etc/passwd $x$", {})
    'curve-etc-passwd-x'
    >>> _file("curve-a b", {"curve-a-b": 1})
    'curve-a-b-2'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "figure"
    number = next(n for n in range(1, len(taken) + 2) if (plain if n == 1 else f"{plain}-{n}") not in taken)
    return plain if number == 1 else f"{plain}-{number}"
