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
        sampling = _Sampling(board, rows, measured, resampling, related)
        values = {name: sampling.values(name, metrics[name]) for name in formed}
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


@dataclass(frozen=True)
class _Sampling:
    """Fills in what metrics say of cells on resampled images. The fields are those of `Work`."""

    board: BoardInput
    rows: tuple[tuple[Rows, ...], ...]
    measured: tuple[tuple[Measured, ...], ...]
    resampling: Resampling
    kin: Mapping[str, str]

    def values(self, of: str, metric: Metric) -> Floats:
        """A metric of every complete cell: (1 + r, models, conditions)."""
        out = np.full((1 + self.resampling.count, len(self.rows), len(self.board.conditions)), np.nan)
        if getattr(metric, "with_clean", False):
            self._pooled(metric, out[1:])
        else:
            self._own(of, metric, out[1:])
        for m, cells in enumerate(self.measured):
            for i, cell in enumerate(cells):
                out[0, m, i] = cell.score(of).value if cell.complete else np.nan
        return out

    def _own(self, of: str, metric: Metric, out: Floats) -> None:
        """Of a cell's own rows; data sets that share images are drawn together."""
        models = range(len(self.rows))
        for data in dict.fromkeys(self.kin.values()):
            places = [i for i, c in enumerate(self.board.conditions) if self.kin[c.data] == data]
            cells = [
                self.rows[m][i]
                if self.measured[m][i].complete and set(metric.needs) <= set(self.rows[m][i])
                else {}
                for m in models
                for i in places
            ]
            ids = union([cell[IMAGE] for cell in cells if size(cell)])
            if not ids.size:
                continue
            samples = sample_cells(of, metric, cells, ids, self.resampling.weights(ids.size, data))
            out[:, :, places] = samples.reshape(-1, len(models), len(places))

    def _pooled(self, metric: Metric, out: Floats) -> None:
        """Of a cell's rows and the clean ones: each side is drawn as its data set is."""
        conditions = self.board.conditions
        where = {c.name: i for i, c in enumerate(conditions)}
        for m, cells in enumerate(self.rows):
            shown = _for_metric(self.board, cells, metric)
            for i, condition in enumerate(conditions):
                if not size(shown[i]) or not self.measured[m][i].complete:
                    continue
                other = where[str(compared_with(condition, self.board))]
                sides = ((cells[i], condition.data), (cells[other], conditions[other].data))
                weights = np.concatenate([self._drawn(*side) for side in sides], axis=1)
                out[:, m, i] = sample_pooled(metric, shown[i], weights)

    def _drawn(self, cell: Rows, data: str) -> NDArray[np.generic]:
        """How often each of a cell's images is drawn: (r, n)."""
        first = self.kin[data]
        ids = self._images(first)
        return np.asarray(self.resampling.weights(ids.size, first)[:, np.searchsorted(ids, cell[IMAGE])])

    def _images(self, first: str) -> NDArray[np.str_]:
        """All images of the data sets that are drawn together with one."""
        places = [i for i, c in enumerate(self.board.conditions) if self.kin[c.data] == first]
        return union([cells[i][IMAGE] for cells in self.rows for i in places if size(cells[i])])


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
