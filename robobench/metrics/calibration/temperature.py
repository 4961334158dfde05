"""Temperature scaling: calibration once the logits are divided by the one number that suits clean images.

What a temperature does to a row is smooth, so it is worked out at a few temperatures, the same for all data,
and interpolated in between (polynomials of degree 7 on 16 intervals, exact to about 1e-7). So the
temperature can be fitted anew to every resample of the images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from robobench.metrics.calibration.errors import even_columns
from robobench.metrics.calibration.logits import answered
from robobench.metrics.ranked import Floats, OfAllRows, in_blocks, right
from robobench.registry import Field, metrics
from robobench.types import Rows

_EDGES = np.geomspace(1 / 5, 5, 17)  # inverse temperatures between which is interpolated
_NODES = chebyshev.chebpts1(8)  # where, on [-1, 1], in the logarithm of the inverse temperature
_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _NODES.size - 1)).T  # values at nodes -> series
_STEPS = 50  # of bisection
_ELEMENTS = 4_000_000  # logits held as float64 at a time


@dataclass(frozen=True)
class _Answers:
    """Logits of some rows (n, classes) float32, and the place of each row's label (n,)."""

    logits: NDArray[Any]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows, which: NDArray[np.bool_]) -> _Answers:
        return cls(np.asarray(rows["logits"])[which], np.asarray(rows["label"])[which].astype(np.int64))

    def at(self, inverse: Floats, what: Callable[[Floats, Floats, float], Floats]) -> Floats:
        """Something of each row at each of m inverse temperatures: (n, m).

        what: is given the logits below their largest (k, classes), the label's among them (k,), and the
        inverse temperature.
        """
        out = np.empty((self.labels.size, inverse.size))
        step = max(1, _ELEMENTS // max(1, self.logits.shape[1]))
        for start in range(0, self.labels.size, step):
            rows = slice(start, start + step)
            below = self.logits[rows].astype(np.float64)
            below -= below.max(axis=1, keepdims=True)
            own = np.take_along_axis(below, self.labels[rows, None], axis=1)[:, 0]
            for place, beta in enumerate(inverse):
                out[rows, place] = what(below, own, float(beta))
        return out


def _slope(below: Floats, own: Floats, beta: float) -> Floats:
    """The derivative of the negative log-likelihood in the inverse temperature; it never falls."""
    odds = np.exp(beta * below)
    return np.asarray((odds * below).sum(axis=1) / odds.sum(axis=1) - own, np.float64)


def _nll(below: Floats, own: Floats, beta: float) -> Floats:
    return np.asarray(np.log(np.exp(beta * below).sum(axis=1)) - beta * own, np.float64)


def _log_confidence(below: Floats, own: Floats, beta: float) -> Floats:
    return np.asarray(-np.log(np.exp(beta * below).sum(axis=1)), np.float64)


@dataclass(frozen=True)
class _Fitted:
    """The inverse temperature of each resample, as an interval (r,) and a place in it, -1 to 1 (r,)."""

    interval: NDArray[np.int64]
    place: Floats

    @property
    def temperature(self) -> Floats:
        """(r,), NaN where there was nothing to fit."""
        low, high = np.log(_EDGES[self.interval]), np.log(_EDGES[self.interval + 1])
        return np.asarray(np.exp(-(low + high + self.place * (high - low)) / 2), np.float64)


def _nodes(interval: int) -> Floats:
    """The inverse temperatures at which an interval is worked out."""
    low, high = np.log(_EDGES[interval : interval + 2])
    return np.asarray(np.exp((low + high + _NODES * (high - low)) / 2), np.float64)


def _fit(answers: _Answers, weights: NDArray[Any]) -> _Fitted:
    """The inverse temperature in [1/5, 5] of the smallest mean NLL on each resample: weights (r, n).

    1 where all are as good as each other (the logits of each row are equal).
    """
    slopes = answers.at(_EDGES, _slope)
    totals = _weighted(weights, slopes)
    last = _EDGES.size - 2
    interval = np.clip((totals < 0).sum(axis=1) - 1, 0, last).astype(np.int64)
    place = np.where(totals[:, 0] >= 0, -1.0, 1.0)  # for a minimum beyond an end
    inside = (totals[:, 0] < 0) & (totals[:, -1] >= 0)
    for k in np.unique(interval[inside]):
        some = np.flatnonzero(inside & (interval == k))
        series = answers.at(_nodes(int(k)), _slope) @ _COEFFICIENTS
        place[some] = _roots(_weighted(weights[some], series))
    flat = (np.abs(totals) <= 1e-12 * weights.sum(axis=1)[:, None]).all(axis=1)
    interval[flat], place[flat] = (last + 1) // 2, -1.0  # the edge at 1
    place[~weights.any(axis=1)] = np.nan
    return _Fitted(interval, place)


def _weighted(weights: NDArray[Any], columns: Floats) -> Floats:
    """Sums over the drawn rows: weights (r, n), columns (n, m) -> (r, m)."""
    return in_blocks(weights, lambda w: w @ columns)


def _value(series: Floats, place: Floats) -> Floats:
    """Each Chebyshev series (r, m) at its own place (r,): (r,)."""
    return np.asarray(chebyshev.chebval(place, series.T, tensor=False), np.float64)


def _roots(series: Floats) -> Floats:
    """Where a rising Chebyshev series is 0 on [-1, 1]: (r, m) -> (r,)."""
    low, high = np.full(len(series), -1.0), np.full(len(series), 1.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        below = _value(series, middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2, np.float64)


@metrics.register("temperature", version=1)
@dataclass(frozen=True)
class Temperature(OfAllRows):
    """The temperature that suits these images best: above 1 the model is too sure, below 1 too unsure.

    The T in [0.2, 5] by which the logits have to be divided for the smallest mean negative log-likelihood
    of the labels, fitted to the very rows that it is told of. At an end of that range the best one may
    lie beyond it; 1 where all are as good. A diagnosis: 1 is best, and neither higher nor lower is better
    (lower is better is what a table is told: networks are mostly too sure).

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017; the range is that of
    Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019 (their code).

    Three images of four are right at odds of e^2 to 1, where 3 to 1 = e^1.0986 to 1 would be the truth:

    >>> rows = {"label": np.array([0, 0, 0, 1]), "logits": np.array([[2.0, 0.0]] * 4)}
    >>> round(Temperature()(rows), 4)  # 2 / 1.0986
    1.8205
    """

    needs: ClassVar[tuple[str, ...]] = ("label", "logits")
    unit: ClassVar[str] = "temperature"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with finite logits and a right class."""
        return answered(rows)

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The temperature of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        which = answered(rows)
        return _fit(_Answers.of(rows, which), weights[:, which]).temperature


class _Scaled(OfAllRows):
    """A number of a cell's own rows after scaling by the temperature of the clean ones behind them."""

    with_clean: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("hit", "label", "logits", "own")
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """A cell's own rows with finite logits and a right class."""
        return answered(rows) & np.asarray(rows["own"], np.bool_)

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The number of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        own = self.uses(rows)
        clean = answered(rows) & ~np.asarray(rows["own"], np.bool_)
        fitted = _fit(_Answers.of(rows, clean), weights[:, clean])
        answers, correct, counts = _Answers.of(rows, own), right(rows)[own], weights[:, own]
        out = np.full(weights.shape[0], np.nan)
        known = counts.any(axis=1) & ~np.isnan(fitted.place)
        for k in np.unique(fitted.interval[known]):
            some = np.flatnonzero(known & (fitted.interval == k))
            out[some] = self.scaled(answers, correct, counts[some], _nodes(int(k)), fitted.place[some])
        return out

    @abstractmethod
    def scaled(
        self,
        answers: _Answers,
        correct: NDArray[np.bool_],
        counts: NDArray[Any],
        nodes: Floats,
        place: Floats,
    ) -> Floats:
        """The number of resamples (r, n) whose temperatures lie at `place` (r,) of one interval."""


@metrics.register("nll_scaled", version=1)
@dataclass(frozen=True)
class ScaledNegativeLogLikelihood(_Scaled):
    """Negative log-likelihood of the right answer after temperature scaling on clean images.

    Mean of -ln softmax(z / T)_label, where T in [0.2, 5] is fitted to the clean images that the condition
    is compared with, under the same read-out, and stays as it is for the shifted ones. What the model's
    own temperature costs is calibration.nll minus this. NaN for the clean condition itself and where
    there is none to compare with; each resample of the images has a temperature of its own. From 0 to
    infinity, in nats, lower is better.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Ovadia et al., Can You Trust
    Your Model's Uncertainty?, NeurIPS 2019, for temperatures fitted before the shift.

    Clean images ask for T = 2 / ln 3 (see calibration.temperature); the own one is wrong at 3 to 1:

    >>> rows = {"hit": np.array([1, 0, 0, 0, 1]), "label": np.array([1, 0, 0, 0, 1]),
    ...         "logits": np.array([[2.0, 0.0]] * 5), "own": np.array([True] + [False] * 4)}
    >>> round(ScaledNegativeLogLikelihood()(rows), 4)  # -ln(1/4)
    1.3863
    """

    unit: ClassVar[str] = "nats"

    def scaled(
        self,
        answers: _Answers,
        correct: NDArray[np.bool_],
        counts: NDArray[Any],
        nodes: Floats,
        place: Floats,
    ) -> Floats:
        """The mean over the drawn rows of each resample: (r,)."""
        series = answers.at(nodes, _nll) @ _COEFFICIENTS
        sums = _weighted(counts, series)
        return np.asarray(_value(sums, place) / counts.sum(axis=1), np.float64)


@metrics.register("ece_scaled", version=1)
@dataclass(frozen=True, kw_only=True)
class ScaledExpectedCalibrationError(_Scaled):
    """Expected calibration error after temperature scaling on clean images.

    As calibration.ece, with the largest probability of softmax(z / T), where T in [0.2, 5] is fitted to
    the clean images that the condition is compared with, under the same read-out, and stays as it is for
    the shifted ones: what is left is miscalibration that the shift brought. NaN for the clean condition
    itself and where there is none to compare with; each resample of the images has a temperature of its
    own. Fraction in [0, 1], lower is better.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Ovadia et al., Can You Trust
    Your Model's Uncertainty?, NeurIPS 2019, for temperatures fitted before the shift.

    >>> rows = {"hit": np.array([1, 0, 0, 0, 1]), "label": np.array([1, 0, 0, 0, 1]),
    ...         "logits": np.array([[2.0, 0.0]] * 5), "own": np.array([True] + [False] * 4)}
    >>> round(ScaledExpectedCalibrationError()(rows), 4)  # wrong at a confidence of 3/4
    0.75
    """

    bins: Annotated[int, Field(gt=0)] = 15  # of equal width

    unit: ClassVar[str] = "fraction"

    def scaled(
        self,
        answers: _Answers,
        correct: NDArray[np.bool_],
        counts: NDArray[Any],
        nodes: Floats,
        place: Floats,
    ) -> Floats:
        """The error of the drawn rows of each resample: (r,)."""
        series = answers.at(nodes, _log_confidence) @ _COEFFICIENTS
        found = []
        for drawn, where in zip(counts, place, strict=True):
            confidence = np.exp(chebyshev.chebval(where, series.T))
            sums = drawn @ even_columns(np.minimum(confidence, 1), correct, self.bins, counted=False)
            found.append(np.abs(sums[:-1]).sum() / sums[-1])
        return np.array(found)
