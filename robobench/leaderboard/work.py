"""A board's rows in place, with what has been computed of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Metric
from robobench.leaderboard.beside import (
    REFERENCE_COLUMN,
    beside,
    judged,
    originals,
    pooled,
    reference_of,
    same_rows,
)
from robobench.leaderboard.board import BoardInput, Measured
from robobench.leaderboard.kin import kin, union
from robobench.leaderboard.score import (
    IMAGE,
    Resampling,
    Sorter,
    build_metrics,
    sample_cells,
    sample_pooled,
    score_cells,
    size,
)
from robobench.types import CLEAN, Condition, Rows

Floats = NDArray[np.float64]
ANSWER = "top1"  # -1 in a row whose logits are not finite


@dataclass(frozen=True)
class Work:
    """Rows of all cells, their scores, and the values that formulas go by.

    kin: for each data set the first one that has images in common with it. rows: [model][condition], sorted
    by image, empty where there are none. values: for each metric that a formula goes by (1 + r, models,
    conditions), the first on the images themselves and the others on resampled ones; NaN where a cell is not
    complete.
    """

    board: BoardInput
    resampling: Resampling
    metrics: Mapping[str, Metric]
    kin: Mapping[str, str]
    rows: tuple[tuple[Rows, ...], ...]
    measured: tuple[tuple[Measured, ...], ...]
    values: Mapping[str, Floats]

    @classmethod
    def of(cls, board: BoardInput, resampling: Resampling) -> Work:
        suite = board.suite
        formed = tuple(dict.fromkeys((suite.score.of, *(s.of for s in suite.summaries))))
        metrics = build_metrics((*suite.metrics, *formed))
        needs = frozenset(c for m in metrics.values() for c in m.needs)
        kept = needs | originals(needs) | originals(needs, REFERENCE_COLUMN)
        sort = Sorter(frozenset([ANSWER, *kept]))
        rows = tuple(
            _with_others(board, {c.name: sort(model.rows.get(c.name, {})) for c in board.conditions}, needs)
            for model in board.models
        )
        related = kin(board.conditions, rows)
        measured = _measure(board, rows, metrics, resampling)
        values = {
            name: _values(board, rows, measured, name, metrics[name], resampling, related) for name in formed
        }
        return cls(board, resampling, metrics, related, rows, measured, values)

    def ladder(self, model: int, levels: Sequence[int], of: str) -> Floats:
        """(1 + r,) mean of those levels of a ladder that the metric says something of."""
        conditions, metric = self.board.conditions, self.metrics[of]
        some = [i for i in levels if judged(metric, conditions[i], conditions)]
        return np.asarray(self.values[of][:, model, some or list(levels)].mean(axis=1), np.float64)


def _with_others(board: BoardInput, cells: Mapping[str, Rows], needs: frozenset[str]) -> tuple[Rows, ...]:
    """A model's rows by condition, with the clean and the reference values that metrics ask for."""
    clean, reference = originals(needs), originals(needs, REFERENCE_COLUMN)
    found = []
    for condition in board.conditions:
        rows = cells[condition.name]
        if clean:
            other = condition.name if condition.clean else compared_with(condition, board)
            rows = beside(rows, same_rows(cells, other), clean)
        if reference:
            other = reference_of(condition, board.conditions)
            rows = beside(rows, same_rows(cells, other), reference, REFERENCE_COLUMN)
        found.append(rows)
    return tuple(found)


def _for_metric(board: BoardInput, cells: Sequence[Rows], metric: Metric) -> list[Rows]:
    """A model's rows as a metric sees them: with those of the clean condition, where it wants them."""
    if not getattr(metric, "with_clean", False):
        return list(cells)
    by_name = {c.name: rows for c, rows in zip(board.conditions, cells, strict=True)}
    return [
        pooled(rows, same_rows(by_name, compared_with(c, board)), metric.needs)
        for c, rows in zip(board.conditions, cells, strict=True)
    ]


def _measure(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    metrics: Mapping[str, Metric],
    resampling: Resampling,
) -> tuple[tuple[Measured, ...], ...]:
    """Every cell's scores, and its clean images' where they are a part of all clean images."""
    table = {
        name: score_cells(
            name,
            metric,
            _usable([cell for model in rows for cell in _for_metric(board, model, metric)], metric),
            resampling,
        )
        for name, metric in metrics.items()
    }
    of = board.suite.score.of
    part = {
        (m, c): _same_images(board, rows[m], c)
        for m in range(len(rows))
        for c in range(len(board.conditions))
    }
    wanted = {k: v for k, v in part.items() if size(v)}
    clean = dict(zip(wanted, score_cells(of, metrics[of], list(wanted.values()), resampling), strict=True))
    width = len(board.conditions)
    return tuple(
        tuple(
            Measured(
                scores=tuple(table[name][m * width + c] for name in metrics),
                present=size(rows[m][c]),
                expected=board.models[m].expected.get(condition.name, board.expected[condition.name]),
                clean=clean.get((m, c)),
            )
            for c, condition in enumerate(board.conditions)
        )
        for m in range(len(rows))
    )


def _values(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    measured: tuple[tuple[Measured, ...], ...],
    of: str,
    metric: Metric,
    resampling: Resampling,
    related: Mapping[str, str],
) -> Floats:
    """A metric of every complete cell: (1 + r, models, conditions)."""
    models = len(rows)
    out = np.full((1 + resampling.count, models, len(board.conditions)), np.nan)
    sample = _sampled_pooled if getattr(metric, "with_clean", False) else _sampled
    sample(board, rows, measured, of, metric, resampling, related, out[1:])
    for m, cells_of in enumerate(measured):
        for i, cell in enumerate(cells_of):
            out[0, m, i] = cell.score(of).value if cell.complete else np.nan
    return out


def _sampled(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    measured: tuple[tuple[Measured, ...], ...],
    of: str,
    metric: Metric,
    resampling: Resampling,
    related: Mapping[str, str],
    out: Floats,
) -> None:
    """Fill in what a metric says of resampled images, data sets that share images together."""
    models = len(rows)
    for data in dict.fromkeys(related.values()):
        places = [i for i, c in enumerate(board.conditions) if related[c.data] == data]
        cells = [
            rows[m][i] if measured[m][i].complete and set(metric.needs) <= set(rows[m][i]) else {}
            for m in range(models)
            for i in places
        ]
        ids = union([cell[IMAGE] for cell in cells if size(cell)])
        if not ids.size:
            continue
        samples = sample_cells(of, metric, cells, ids, resampling.weights(ids.size, data))
        out[:, :, places] = samples.reshape(-1, models, len(places))


def _sampled_pooled(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    measured: tuple[tuple[Measured, ...], ...],
    of: str,
    metric: Metric,
    resampling: Resampling,
    related: Mapping[str, str],
    out: Floats,
) -> None:
    """The same for a metric of a cell's rows and the clean ones: each side is drawn as its data set is."""
    where = {c.name: i for i, c in enumerate(board.conditions)}
    every = {
        data: union(
            [of_model[i][IMAGE] for of_model in rows for i, c in enumerate(board.conditions)
             if related[c.data] == data and size(of_model[i])]
        )
        for data in set(related.values())
    }  # fmt: skip

    def drawn(cell: Rows, data: str) -> NDArray[np.generic]:
        ids = every[related[data]]
        counts = resampling.weights(ids.size, related[data])
        return np.asarray(counts[:, np.searchsorted(ids, cell[IMAGE])])

    for m, cells in enumerate(rows):
        shown = _for_metric(board, cells, metric)
        for i, condition in enumerate(board.conditions):
            if not size(shown[i]) or not measured[m][i].complete:
                continue
            other = where[str(compared_with(condition, board))]
            weights = [drawn(cells[i], condition.data), drawn(cells[other], board.conditions[other].data)]
            out[:, m, i] = sample_pooled(metric, shown[i], np.concatenate(weights, axis=1))


def _usable(cells: Sequence[Rows], metric: Metric) -> list[Rows]:
    """Cells without the metric's columns count as empty, unless all are like that (then it raises)."""
    having = [set(metric.needs) <= set(rows) for rows in cells]
    if not any(having):
        return list(cells)
    return [rows if has else {} for rows, has in zip(cells, having, strict=True)]


def _same_images(board: BoardInput, rows: Sequence[Rows], place: int) -> Rows:
    """The clean rows of a condition's images, when they are fewer than all clean ones; else no rows."""
    other = compared_with(board.conditions[place], board)
    at = next((i for i, c in enumerate(board.conditions) if c.name == other), place)
    own, clean = rows[place], rows[at]
    if at == place or board.conditions[at].data != board.conditions[place].data:
        return {}
    if not size(own) or not size(clean) or np.array_equal(own[IMAGE], clean[IMAGE]):
        return {}
    kept = np.isin(clean[IMAGE], own[IMAGE])
    if int(kept.sum()) != size(own):
        return {}
    return {k: v[kept] for k, v in clean.items()}


def compared_with(condition: Condition, board: BoardInput) -> str | None:
    """The clean condition that a condition is set against.

    On the same images where there is one; for a shift the companion under its read-out, or the base
    where both have the same label space; None for a shift that shares nothing with the base.
    """
    if condition.clean:
        return None
    if condition.name in board.compare:
        return board.compare[condition.name]
    clean = [c for c in board.conditions if c.clean]
    space = {d.name: d.label_space for d in board.suite.data}
    own = space.get(condition.data)
    near = [c for c in clean if c.data == condition.data]
    near += [c for c in clean if own is not None and c.name == f"{CLEAN}@{own}"]
    near += [c for c in clean if own is not None and not c.companion and space.get(c.data) == own]
    return near[0].name if near else None
