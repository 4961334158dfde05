"""Rows -> scores: a value, its interval and the images behind it. No model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Formula, Metric, ResampledMetric
from robobench.errors import StoreError
from robobench.registry import build_metric
from robobench.stats import (
    LEVEL,
    RESAMPLES,
    interval,
    resample_weights,
    resampled_means,
    skewed_interval,
    wilson,
)
from robobench.types import Rows, Score

IMAGE = "image_id"
LABEL = "label"
OWN = "own"  # whether a row is a cell's own, where those of the clean condition follow
DECIMALS = 9  # of published numbers: far below any interval, above what the order of a sum changes

Floats = NDArray[np.float64]
_T = TypeVar("_T")
_Order = slice | NDArray[np.int64]  # what puts rows in the order of their ids
_WIDE = 10_000_000  # weights kept as float64: 80 MB
_BATCH = 64  # cells resampled at once: 25 MB of values for 50,000 images
_REMEMBERED = 8  # sets of images compared with


class Scaled(Protocol):
    """What says how a number is read: a metric does, and so does a `Scale`."""

    @property
    def unit(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...


@dataclass(frozen=True)
class Scale:
    """How a composite score is read."""

    unit: str
    higher_is_better: bool

    @classmethod
    def of(cls, formula: Formula, metric: Metric) -> Scale:
        """The formula's own where it has one, else the metric's."""
        return cls(
            getattr(formula, "unit", metric.unit),
            getattr(formula, "higher_is_better", metric.higher_is_better),
        )


def score(
    rows: Rows, metrics: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Score, ...]:
    """The score of each metric over some rows, with its `level` interval.

    rows: columns of one length. A share of images (values 0 and 1) has the Wilson interval; any other
    mean that of resampled images, corrected for skewness; a metric of all rows at once their percentiles,
    moved onto its value, because resampling adds the same bias to all of its samples. Raises StoreError
    when a metric needs a column that is not there or an image stands in the rows twice.

    >>> found = score({"hit": np.array([0, 0, 1, 0])}, ["accuracy.top1"])[0]
    >>> found.value, round(found.low, 3), round(found.high, 3), found.n
    (0.75, 0.301, 0.954, 4)
    """
    sorted_rows = Sorter()(rows)
    resampling = Resampling(seed, resamples, level)
    return tuple(
        score_cells(name, metric, [sorted_rows], resampling)[0]
        for name, metric in build_metrics(metrics).items()
    )


@dataclass(frozen=True)
class Resampling:
    """Which images are drawn: the same for every cell over the same images."""

    seed: int = 0
    count: int = RESAMPLES
    level: float = LEVEL
    kept: dict[tuple[int, str], NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def weights(self, n: int, data: str = "") -> NDArray[Any]:
        """(count, n): how often each of n images is drawn. Different data sets are drawn apart.

        Widened to float64 once, for the products they go into, unless that takes too much memory.
        """
        if (n, data) not in self.kept:
            counts = resample_weights(n, self.count, f"{self.seed} {data}")
            self.kept[n, data] = counts.astype(np.float64) if counts.size <= _WIDE else counts
        return self.kept[n, data]


def build_metrics(names: Sequence[str]) -> Mapping[str, Metric]:
    """Metrics as a suite names them, in the given order, each once. Raises UnknownName, BadParameter."""
    return {name: build_metric(name) for name in names}


@dataclass(frozen=True)
class Sorter:
    """Puts rows in the order of their image ids. Cells over the same images share one array of ids."""

    columns: frozenset[str] | None = None  # what is kept besides the ids; None keeps everything
    seen: list[tuple[NDArray[Any], _Order, NDArray[Any]]] = field(default_factory=list, repr=False)

    def __call__(self, rows: Rows) -> Rows:
        """Sorted rows, ids as text. Raises StoreError for an image that is there twice."""
        kept = {k: np.asarray(v) for k, v in rows.items() if self.columns is None or k in self.columns}
        if IMAGE not in rows:
            return kept
        order, ids = self._order(np.asarray(rows[IMAGE]))
        return {k: v[order] for k, v in kept.items() if k != IMAGE} | {IMAGE: ids}

    def _order(self, given: NDArray[Any]) -> tuple[_Order, NDArray[Any]]:
        for raw, order, ids in reversed(self.seen[-_REMEMBERED:]):
            if raw is given or (raw.size == given.size and bool((raw == given).all())):
                return order, ids
        ids = given.astype(str, copy=False)
        order = slice(None)  # in order already: nothing is copied
        if not (ids[1:] > ids[:-1]).all():
            order = np.argsort(ids, kind="stable")
            ids = ids[order]
        twice = ids[1:][ids[1:] == ids[:-1]]
        if twice.size:
            raise StoreError(
                f"the image {str(twice[0])!r} stands in the rows of one cell twice: the results hold the "
                "same cell from two runs; remove one of their files, or start with another --out"
            )
        self.seen.append((given, order, ids))
        return order, ids


def size(rows: Rows) -> int:
    """How many rows there are."""
    return next((int(v.shape[0]) for v in rows.values()), 0)


def score_cells(
    name: str, metric: Metric, cells: Sequence[Rows], resampling: Resampling
) -> tuple[Score, ...]:
    """One metric over many cells; cells with as many rows are resampled together."""
    found: list[Score | None] = [None] * len(cells)
    waiting: dict[int, list[tuple[int, Floats]]] = {}
    for i, rows in enumerate(cells):
        value = evaluate(name, metric, rows) if size(rows) else np.zeros(0)
        if not isinstance(value, np.ndarray):
            found[i] = _whole_score(name, metric, rows, value, resampling)
        elif _is_share(metric, value) or np.isnan(value).all():
            found[i] = _share_score(name, metric, value, resampling.level)
        else:
            waiting.setdefault(value.size, []).append((i, value))
    for members in waiting.values():
        for some in _batches(members):
            scores = _mean_scores(name, metric, [v for _, v in some], resampling)
            for (i, _), made in zip(some, scores, strict=True):
                found[i] = made
    return tuple(s for s in found if s is not None)


def evaluate(name: str, metric: Metric, rows: Rows) -> Floats | float:
    """What a metric says of some rows: one value per row, or one number. Raises StoreError."""
    lacking = [c for c in metric.needs if c not in rows]
    if lacking:
        raise StoreError(
            f"the metric {name!r} needs the column {lacking[0]!r}, but the rows hold "
            f"{', '.join(rows) or 'none'}: "
            "take this metric out of the suite, or run a task that records the column"
        )
    value = metric(rows)
    return np.asarray(value, np.float64) if isinstance(value, np.ndarray) else float(value)


def sample_cells(
    name: str, metric: Metric, cells: Sequence[Rows], ids: NDArray[Any], weights: NDArray[Any]
) -> Floats:
    """The metric on each resample of the images `ids` (sorted): (r, cells), NaN for a cell without rows."""
    out = np.full((weights.shape[0], len(cells)), np.nan)
    for some in _batches([i for i, rows in enumerate(cells) if size(rows)]):
        columns: dict[int, Floats] = {}
        for i in some:
            places = slice(None) if size(cells[i]) == ids.size else np.searchsorted(ids, cells[i][IMAGE])
            value = evaluate(name, metric, cells[i])
            if isinstance(value, np.ndarray):
                columns[i] = np.full(ids.size, np.nan)
                columns[i][places] = value
            else:
                out[:, i] = _resampled(metric, cells[i], weights[:, places])
        if columns:
            out[:, list(columns)] = resampled_means(np.stack(list(columns.values()), axis=1), weights)
    return out


def sample_pooled(metric: Metric, rows: Rows, weights: NDArray[Any]) -> Floats:
    """A metric of a cell's rows and the clean ones behind them on each resample: (r, n) -> (r,)."""
    return _resampled(metric, rows, weights)


def _weights_of(rows: Rows, resampling: Resampling) -> NDArray[Any]:
    """How often each row is drawn; a cell's own and the clean ones behind them are drawn apart."""
    if OWN not in rows:
        return resampling.weights(size(rows))
    own = int(rows[OWN].sum())
    return np.concatenate([resampling.weights(own), resampling.weights(size(rows) - own, "clean")], axis=1)


def composite(name: str, scale: Scaled, value: float, samples: Floats, n: int, level: float) -> Score:
    """A score over several cells, from its resamples.

    Where no resample differs (every image right, or every image wrong) resampling knows no doubt, though
    there is some; a share then has the Wilson interval of its n images.
    """
    if np.isnan(value):
        return make_score(name, scale, np.nan, np.nan, np.nan, n)
    if scale.unit == "fraction" and 0 <= value <= 1 and n and float(np.ptp(samples)) <= 1e-12:
        low, high = wilson(value * n, n, level)
    else:
        low, high = _around(np.float64(value), samples, scale, level)
    return make_score(name, scale, value, low, high, n)


def _around(
    values: Floats | np.float64, samples: Floats, scale: Scaled, level: float
) -> tuple[Floats, Floats]:
    """The interval of means, inside [0, 1] for a share whose resamples all are."""
    low, high = skewed_interval(values, samples, level)
    if scale.unit == "fraction" and bool(((samples >= 0) & (samples <= 1) | np.isnan(samples)).all()):
        low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    return low, high


def make_score(name: str, scale: Scaled, value: Any, low: Any, high: Any, n: int) -> Score:
    """A score with its numbers rounded, so that the order of a sum never changes a published file.

    What is infinite is undefined.
    """
    value, low, high = (
        round(float(v), DECIMALS) + 0.0 if np.isfinite(v) else np.nan for v in (value, low, high)
    )
    return Score(name, value, low, high, int(n), scale.unit, scale.higher_is_better)


def paired_shares(metric: Metric, first: Any, second: Any) -> tuple[Floats, Floats] | None:
    """What a metric says of the same images twice, where it only says right or wrong; else None.

    Images of which one side is undefined are left out.
    """
    if not (isinstance(first, np.ndarray) and isinstance(second, np.ndarray)):
        return None
    known = ~(np.isnan(first) | np.isnan(second))
    one, two = first[known], second[known]
    whole = bool(one.size) and _is_share(metric, one) and _is_share(metric, two)
    return (one, two) if whole else None


def _is_share(metric: Metric, values: Floats) -> bool:
    """Whether per-image values are only right or wrong."""
    return metric.unit == "fraction" and bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def _mean_scores(
    name: str, metric: Metric, values: Sequence[Floats], resampling: Resampling
) -> Iterator[Score]:
    """Means with bootstrap intervals, of cells with as many rows each."""
    columns = np.stack(values, axis=1)
    samples = resampled_means(columns, resampling.weights(len(columns)))
    with np.errstate(invalid="ignore"):
        means = np.nanmean(columns, axis=0)
    low, high = _around(means, samples, metric, resampling.level)
    for place, value in enumerate(values):
        known = value[~np.isnan(value)]
        yield make_score(name, metric, known.mean(), low[place], high[place], known.size)


def _share_score(name: str, metric: Metric, values: Floats, level: float) -> Score:
    known = values[~np.isnan(values)]
    if not known.size:
        return make_score(name, metric, np.nan, np.nan, np.nan, 0)
    low, high = wilson(known.sum(), known.size, level)
    return make_score(name, metric, known.mean(), low, high, known.size)


def _whole_score(name: str, metric: Metric, rows: Rows, value: float, resampling: Resampling) -> Score:
    """The score of a metric of all rows at once; rows it cannot use do not count.

    An infinite value is undefined, and so is an end of the interval beyond which resamples are infinite.
    """
    n = _used(metric, rows)
    if not np.isfinite(value) or not n:
        return make_score(name, metric, np.nan, np.nan, np.nan, n)
    samples = _resampled(metric, rows, _weights_of(rows, resampling))
    bias = np.nanmean(samples) - value
    low, high = interval(samples - bias if np.isfinite(bias) else samples, resampling.level)
    if metric.unit == "fraction":
        low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    return make_score(name, metric, value, low, high, n)


def _used(metric: Metric, rows: Rows) -> int:
    """How many rows a metric of all rows goes by: those it says, or those whose numbers are finite."""
    if hasattr(metric, "uses"):
        return int(np.sum(metric.uses(rows)))
    columns = [rows[c] for c in metric.needs if np.issubdtype(rows[c].dtype, np.floating)]
    return int(np.all([np.isfinite(c) for c in columns], axis=0).sum()) if columns else size(rows)


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """A few cells at a time: their columns are held at once."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _resampled(metric: Metric, rows: Rows, weights: NDArray[Any]) -> Floats:
    """A metric of all rows on each resample: (r,)."""
    if isinstance(metric, ResampledMetric):
        return np.asarray(metric.resampled(rows, weights), np.float64)
    out = np.empty(weights.shape[0])
    for b, counts in enumerate(weights):
        drawn = np.repeat(np.arange(counts.size), counts.astype(np.int64))
        value = metric({k: v[drawn] for k, v in rows.items()}) if drawn.size else np.nan
        out[b] = float(np.mean(value))
    return out
