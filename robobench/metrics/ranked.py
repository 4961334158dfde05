"""Rows in the order of a number, and sums over them on many resamples at once.

What metrics of all rows share. A resample is a row of weights, how often each image was drawn; every
function here gives what it would give on the rows repeated that often.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.types import Rows

Floats = NDArray[np.float64]

_BLOCK = 4_000_000  # weights widened to float64 at a time: 32 MB


class OfAllRows(ABC):
    """A metric of all rows at once, told by its value on resamples: each row drawn once is the rows."""

    def __call__(self, rows: Rows) -> float:
        count = next(iter(rows.values())).shape[0]
        return float(self.resampled(rows, np.ones((1, count)))[0])

    @abstractmethod
    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The value of each resample: weights (r, n), how often each row was drawn -> (r,)."""


def in_blocks(weights: NDArray[Any], work: Callable[[Floats], Floats], block: int = _BLOCK) -> Floats:
    """A function of resamples, (r, n) float64 -> (r, ...), over a few of them at a time."""
    step = max(1, block // max(1, weights.shape[1]))
    parts = [
        work(weights[start : start + step].astype(np.float64, copy=False))
        for start in range(0, weights.shape[0], step)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Ranking:
    """Rows from the smallest value to the largest, those of equal value as one group.

    order: (k,) rows that have a value; starts: (g,) where each group begins among them.

    >>> ranking = Ranking.of(np.array([0.5, 0.1, np.nan, 0.5]))
    >>> ranking.order.tolist(), ranking.starts.tolist()
    ([1, 0, 3], [0, 1])
    >>> ranking.totals(np.array([[1.0, 1.0, 1.0, 2.0]])).tolist()
    [[1.0, 3.0]]
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Ranking:
        """The ranking of values (n,), NaN for a row that has none."""
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known], kind="stable")]
        ranked = values[order]
        new = np.ones(order.size, np.bool_)
        new[1:] = ranked[1:] != ranked[:-1]
        return cls(order, np.flatnonzero(new))

    def totals(self, weights: Floats, values: NDArray[Any] | None = None) -> Floats:
        """Each group's drawn rows, or the sum of their values: weights (r, n), values (n,) -> (r, g)."""
        drawn = weights[:, self.order]
        if values is not None:
            drawn = drawn * np.asarray(values, np.float64)[self.order]
        if self.starts.size == self.order.size:
            return drawn
        return np.asarray(np.add.reduceat(drawn, self.starts, axis=1), np.float64)

    def descending(self, weights: Floats, values: NDArray[Any] | None = None) -> Floats:
        """The same from the largest value to the smallest."""
        return self.totals(weights, values)[:, ::-1]


def running(totals: Floats) -> Floats:
    """Running sums with a leading 0: (r, g) -> (r, g + 1)."""
    out = np.zeros((totals.shape[0], totals.shape[1] + 1))
    np.cumsum(totals, axis=1, out=out[:, 1:])
    return out


def share(part: Floats, whole: Floats) -> Floats:
    """The quotient, NaN where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan), np.float64)


def confidences(rows: Rows) -> Floats:
    """The largest probability's logarithm (n,); NaN without an answer and where no class is right."""
    logp = np.asarray(rows["logp_top1"], np.float64)
    usable = np.isfinite(logp) & (np.asarray(rows["hit"]) >= 0)
    return np.where(usable, logp, np.nan)


def right(rows: Rows) -> NDArray[np.bool_]:
    """Which images are answered rightly (n,)."""
    return np.asarray(np.asarray(rows["hit"]) == 0, np.bool_)


def mean_response_accuracy(confidence: Floats, correct: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Mean over k of the accuracy of the k surest rows, on each resample: (n,), (n,), (r, n) -> (r,).

    Rows of equal confidence count as in the mean over all their orders: the accuracy expected at place
    K + j, after K surer rows of which C are right, in a group of g of which c are, is (C + j c/g) / (K + j);
    summed over the group that is c + (C - K c/g) (H(K + g) - H(K)), H the harmonic numbers. NaN for a
    resample without rows.
    """
    ranking = Ranking.of(confidence)

    def work(some: Floats) -> Floats:
        counts, hits = ranking.descending(some), ranking.descending(some, correct)
        before, hits_before = running(counts)[:, :-1], running(hits)[:, :-1]
        total = counts.sum(axis=1)
        ends = harmonic(before + counts) - harmonic(before)
        lead = hits_before - before * np.nan_to_num(share(hits, counts))
        return share((hits + lead * ends).sum(axis=1), total)

    return in_blocks(weights, work)


def harmonic(count: Floats) -> Floats:
    """The sum of 1/1 ... 1/count of whole numbers, 0 for 0."""
    most = int(count.max(initial=0))
    table = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
    return np.asarray(table[count.astype(np.int64)], np.float64)
