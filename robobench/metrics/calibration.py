"""Calibration: whether probabilities mean what they say.

A row whose logits are not finite has no probabilities: it is left out (its value is NaN).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import Field, metrics
from robobench.types import Rows

_CONFIDENCE_DECIMALS = 6  # what a float32 log-probability can tell apart


@metrics.register("ece", version=1)
@dataclass(frozen=True, kw_only=True)
class ExpectedCalibrationError:
    """Expected calibration error: the mean gap between confidence and accuracy (Guo et al., ICML 2017).

    sum over bins m of (n_m / n) |accuracy_m - confidence_m|, with equal-width bins (a, b] of the largest
    probability: a confidence on an edge belongs to the bin below. To make that rule independent of
    rounding in float32, confidence is read to six decimals when its bin is chosen. Empty bins count
    nothing. Fraction in [0, 1], lower is better. bins: number of bins, at least 1.

    >>> confidence = np.array([.95, .9, .85, .62, .61, .55, .4, .35])
    >>> hit = np.array([0, 0, 1, 0, 1, 0, 1, 1])
    >>> rows = {"hit": hit, "logp_top1": np.log(confidence)}
    >>> round(ExpectedCalibrationError()(rows), 6)
    0.30375
    >>> round(ExpectedCalibrationError(bins=10)(rows), 6)
    0.27875
    """

    bins: Annotated[int, Field(gt=0)] = 15

    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> float:
        once = np.ones((1, np.asarray(rows["hit"]).shape[0]))
        return float(self.resampled(rows, once)[0])

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        confidence = np.exp(np.asarray(rows["logp_top1"], np.float64))
        known = np.isfinite(confidence)
        gap = np.where(known, (np.asarray(rows["hit"]) == 0) - confidence, 0.0)
        place = np.where(known, np.round(confidence, _CONFIDENCE_DECIMALS), 1.0)
        index = np.clip(np.ceil(np.round(place * self.bins, _CONFIDENCE_DECIMALS)) - 1, 0, self.bins - 1)
        parts = np.zeros((gap.shape[0], self.bins + 1))
        parts[np.arange(gap.shape[0]), index.astype(np.int64)] = gap
        parts[:, self.bins] = known
        sums = weights.astype(np.float64, copy=False) @ parts
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(sums[:, : self.bins]).sum(axis=1) / sums[:, self.bins]
        return np.asarray(error, np.float64)


@metrics.register("nll", version=1)
@dataclass(frozen=True)
class NegativeLogLikelihood:
    """Negative log-likelihood of the right answer (a proper score; Good, J. R. Stat. Soc. B 14, 1952).

    Per image -ln p_label. From 0 to infinity, in nats, lower is better.

    >>> NegativeLogLikelihood()({"logp_label": np.log([.5, 1.0])}).round(4).tolist()
    [0.6931, 0.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("logp_label",)
    unit: ClassVar[str] = "nats"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        return 0.0 - np.asarray(rows["logp_label"], np.float64)  # not -x, which would make a -0.0


@metrics.register("brier", version=1)
@dataclass(frozen=True)
class Brier:
    """Brier score, summed over classes (Brier, Monthly Weather Review 78, 1950).

    Per image sum_k (p_k - y_k)^2 = 1 - 2 p_label + sum_k p_k^2. From 0 to 2, lower is better.

    >>> rows = {"logp_label": np.log([.7, .1]), "sum_p2": np.array([.54, .66])}
    >>> Brier()(rows).round(4).tolist()  # p = (.7, .2, .1), then p = (.1, .8, .1), label 0
    [0.14, 1.46]
    """

    needs: ClassVar[tuple[str, ...]] = ("logp_label", "sum_p2")
    unit: ClassVar[str] = "squared error"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        own = np.exp(np.asarray(rows["logp_label"], np.float64))
        return np.asarray(1 - 2 * own + np.asarray(rows["sum_p2"], np.float64), np.float64)
