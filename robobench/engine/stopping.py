"""When a model has seen enough images of a data set: each of its cells is known to the precision asked.

The decision is a function of rows alone. A model's work on a data set has fixed borders, where work items
begin; the model is done at the first of them at which the images before it are complete in every cell and
the confidence sequence (`robobench.sequential`) of each lies within +- precision of the share measured
there. So it does not matter how often a run was interrupted, or whether rows were there before: the same
rows give the same end, and a run that finds them computes nothing. With a smaller precision, or none, the
run goes on from there.

The 95 % hold for each cell by itself, as everywhere else on a board. That they hold at every look is what
lets all cells of a data set, some of them long narrow enough, end together. A cell that has all images of
its own limit asks for no more, and neither does one that the model cannot do by its build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Metric
from robobench.engine.plan import Place, borders
from robobench.engine.resolve import Resolved, cells
from robobench.engine.sets import DataSet
from robobench.errors import RobobenchError
from robobench.registry import build_metric
from robobench.sequential import reach
from robobench.store import Store
from robobench.types import Cell, CellFailure

if TYPE_CHECKING:
    import pyarrow as pa

RULE = "confidence sequence, 95 % a cell at every look"
WIDEST = 0.5  # a precision from which on nothing is left to find out


class StopRule(Protocol):
    """Follows the rows of a run and says how far each model goes on each data set."""

    @property
    def rule(self) -> str:
        """In words, for the record."""

    @property
    def precision(self) -> float | None:
        """What is aimed at, where that is a precision."""

    @property
    def ends(self) -> Mapping[Place, int | None]:
        """How far into the visiting order each model goes on a data set; None where nothing ends it yet."""

    def judge(self, place: Place) -> int | None:
        """The same for one of them, after new rows."""

    def learn(self, key: str, ids: Sequence[str], table: pa.Table) -> None: ...

    def excuse(self, failures: Iterable[CellFailure]) -> None: ...

    def exclude(self, revision: str, images: Iterable[str]) -> None: ...


@dataclass
class _Progress:
    """How far one cell is, along the visiting order: is a row there, and what does the metric say of it."""

    end: int  # how far the cell goes
    seen: NDArray[np.bool_]
    values: NDArray[np.float32]
    excused: bool = False


@dataclass
class _Course:
    """One model on one data set."""

    data: DataSet
    cells: dict[str, _Progress]
    borders: tuple[int, ...]
    places: Mapping[str, int]
    judged: int = 0  # borders that were looked at with all rows before them
    end: int | None = None


@dataclass
class Stopping:
    """Follows the rows of a run and says where each model may stop."""

    precision: float
    metric: Metric
    courses: dict[Place, _Course] = field(repr=False)
    rule: str = RULE

    @classmethod
    def of(cls, resolved: Resolved, store: Store | None, precision: float) -> Stopping:
        """What the store's rows say. Raises RobobenchError for what cannot be judged."""
        metric = share_metric(resolved, precision)
        found = cells(resolved)
        courses: dict[Place, _Course] = {}
        starts = borders(resolved)
        places: dict[tuple[str, ...], Mapping[str, int]] = {}
        for cell in found:
            if cell.condition.check:  # judges an attack, is never scored
                continue
            data = resolved.data[cell.condition.data]
            place = (cell.model.digest, data.name)
            if data.order not in places:
                places[data.order] = {image: i for i, image in enumerate(data.order)}
            course = courses.setdefault(place, _Course(data, {}, starts[place], places[data.order]))
            course.cells[cell.key] = _blank(cell, data)
        made = cls(precision, metric, courses)
        if store is not None:
            made._read(store)
        return made

    @property
    def ends(self) -> Mapping[Place, int | None]:
        """How far into the visiting order each model goes on a data set; None where nothing ends it yet."""
        return {place: self.judge(place) for place in self.courses}

    def shares(self) -> dict[str, float]:
        """What has been measured so far, by cell: the share over the images that are there."""
        return {
            key: float(np.nanmean(cell.values, dtype=np.float64))
            for course in self.courses.values()
            for key, cell in course.cells.items()
            if not np.isnan(cell.values).all()
        }

    def learn(self, key: str, ids: Sequence[str], table: pa.Table) -> None:
        """Take note of new rows of a cell."""
        rows = {c: table[c].to_numpy() for c in self.metric.needs}
        values = np.asarray(self.metric(rows), np.float32)
        for course in self._of(key):
            cell = course.cells[key]
            at = np.array([course.places.get(i, -1) for i in ids], np.int64)
            cell.seen[at[at >= 0]] = True
            cell.values[at[at >= 0]] = values[at >= 0]

    def excuse(self, failures: Iterable[CellFailure]) -> None:
        """Do not wait for what a model cannot do by its build."""
        for failure in failures:
            if failure.unsupported:
                for course in self._of(failure.cell):
                    course.cells[failure.cell].excused = True

    def exclude(self, revision: str, images: Iterable[str]) -> None:
        """Do not wait for images that cannot be decoded."""
        gone = list(images)
        for course in self.courses.values():
            if course.data.revision == revision:
                at = [course.places[i] for i in gone if i in course.places]
                for cell in course.cells.values():
                    cell.seen[at] = True

    def judge(self, place: Place) -> int | None:
        """Look at the borders that all rows have come up to since the last look."""
        course = self.courses.get(place)
        if course is None:
            return None
        waited = [c for c in course.cells.values() if not c.excused]
        ahead = min((_complete(c) for c in waited), default=0)
        while course.end is None and course.judged < len(course.borders):
            border = course.borders[course.judged]
            if border > ahead:
                break
            if self._narrow(waited, border):
                course.end = border
            course.judged += 1
        return course.end

    def _narrow(self, waited: Sequence[_Progress], border: int) -> bool:
        """Whether every cell that has images left is known well enough by those before the border."""
        values = [c.values[:border] for c in waited if c.end > border]
        if not values:  # all have what their limits allow
            return False
        known = np.array([int((~np.isnan(v)).sum()) for v in values])
        right = np.array([float(np.nansum(v, dtype=np.float64)) for v in values])
        return bool((known > 0).all() and (reach(right, known) <= self.precision).all())

    def _of(self, key: str) -> list[_Course]:
        return [course for course in self.courses.values() if key in course.cells]

    def _read(self, store: Store) -> None:
        """The rows and failures that are there, one model after the other."""
        for model in dict.fromkeys(m for m, _ in self.courses):
            places = [place for place in self.courses if place[0] == model]
            keys = {key for place in places for key in self.courses[place].cells}
            coded = store.coded(keys, self.metric.needs)
            for key, table in coded.tables.items():
                self.learn(key, [coded.images[i] for i in coded.places[key]], table)
            self.excuse(store.failures(keys))


def share_metric(resolved: Resolved, precision: float) -> Metric:
    """The metric that the score is made of, when it is a share of images. Raises RobobenchError."""
    if not 0 < precision < WIDEST:
        raise RobobenchError(
            f"--precision {precision:g}: expected a share between 0 and {WIDEST:g}, as in 0.01 for +- 1 point"
        )
    suite = resolved.suite
    metric: Metric = build_metric(suite.score.of)
    if not is_share(metric):
        raise RobobenchError(
            f"--precision: the score {suite.score.name!r} of suite {suite.name!r} is made of "
            f"{suite.score.of}, which is no share of a cell's own images (accuracy.top1 is one), so nothing "
            "says when it is known well enough: leave --precision out, or give a --limit"
        )
    return metric


def is_share(metric: Metric) -> bool:
    """Whether a metric gives each row by itself a number in [0, 1]."""
    foreign = any(c == "logits" or c.startswith(("clean_", "reference_")) for c in metric.needs)
    if metric.unit != "fraction" or foreign or getattr(metric, "with_clean", False):
        return False
    try:
        value = metric({c: np.zeros(2) for c in metric.needs})
    except Exception:  # it wants more of its rows than that: no plain share
        return False
    return isinstance(value, np.ndarray) and value.shape == (2,)


def _blank(cell: Cell, data: DataSet) -> _Progress:
    n = len(data.order)
    seen = np.array([i in data.excluded for i in data.order], bool) if data.excluded else np.zeros(n, bool)
    return _Progress(min(cell.condition.limit or n, n), seen, np.full(n, np.nan, np.float32))


def _complete(cell: _Progress) -> int:
    """Up to where a cell has every row: the length of the order when it has all of its own."""
    lacking = np.flatnonzero(~cell.seen[: cell.end])
    return int(lacking[0]) if lacking.size else cell.seen.size
