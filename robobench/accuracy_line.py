"""Accuracy on the line: how well a model does on shifted images against what its clean accuracy promises.

Among models that were trained in the standard way the accuracy under a natural shift is a function of the
clean accuracy, close to a straight line once both are logits. What a model has above that line is its
effective robustness; what it has above the model that it was made from, its relative robustness. An
intervention helps only if both are above 0 (Taori et al., Measuring Robustness to Natural Distribution Shifts
in Image Classification, NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robobench.stats import LEVEL, RESAMPLES, interval, resample_weights

Floats = NDArray[np.float64]

FEWEST = 3  # models that a line of one's own needs
PIVOT = 0.9186  # ResNet-50's accuracy on the classes of ImageNet-A, which was made of what it gets wrong


@dataclass(frozen=True)
class Line:
    """logit(shifted) = slope * logit(clean) + intercept, natural logarithms, accuracies in [0, 1]."""

    slope: float
    intercept: float

    def at(self, clean: ArrayLike) -> Floats:
        """The shifted accuracy that a clean accuracy promises. NaN outside of [0, 1].

        >>> round(float(Line(0.9232, -0.4977).at(0.8)), 5)
        0.68614
        """
        return expit(self.slope * logit(clean) + self.intercept)


@dataclass(frozen=True)
class BrokenLine:
    """Two lines that meet nowhere in particular: one up to the pivot's clean accuracy, one above it."""

    pivot: float
    below: Line
    above: Line

    def at(self, clean: ArrayLike) -> Floats:
        """The shifted accuracy that a clean accuracy promises. NaN outside of [0, 1]."""
        x = np.asarray(clean, np.float64)
        return np.where(x > self.pivot, self.above.at(x), self.below.at(x))


@dataclass(frozen=True)
class Published:
    """A line fitted to published accuracies. models: behind it. r: the correlation of the logits.

    clean: the clean condition that its clean accuracies are those of: `clean` with all 1,000 classes, or
    the validation images of the shift's own classes read out as the shift is.
    """

    line: Line | BrokenLine
    clean: str
    models: int
    r: float


# Fitted by least squares to robustness_top1s.csv of github.com/modestyachts/imagenet-testbed (top-1 accuracy
# in %, state of August 2021), with the selection of its plotting code: models it calls standard, without any
# trained on subsamples, corruptions (aws) or with small batches. Of those 85, accuracies of 0 are left out,
# for imagenet-r also five without an entry. ImageNetV2 is the columns `-format-val`. ImageNet-A was collected
# from what ResNet-50 gets wrong, which bends the curve at its accuracy: as in that code one line below (33
# models) and one above (51), the model itself, with 0 % on it, in neither.
LINES: Mapping[str, Published] = {
    "imagenet-v2-matched-frequency": Published(Line(0.923229, -0.497690), "clean", 85, 0.9980),
    "imagenet-v2-threshold-0.7": Published(Line(1.001971, -0.180971), "clean", 85, 0.9972),
    "imagenet-v2-top-images": Published(Line(0.981575, 0.122130), "clean", 85, 0.9964),
    "imagenet-sketch": Published(Line(1.070915, -2.370073), "clean", 85, 0.9322),
    "stylized-imagenet": Published(Line(1.372634, -2.843052), "clean", 85, 0.8837),
    "greyscale": Published(Line(1.278971, -0.787054), "clean", 85, 0.9589),
    "objectnet": Published(Line(0.980910, -1.928289), "clean@objectnet", 85, 0.9760),
    "imagenet-r": Published(Line(0.636844, -2.107716), "clean@imagenet-r", 80, 0.9431),
    "imagenet-a": Published(
        BrokenLine(PIVOT, Line(0.689446, -5.140046), Line(2.955960, -10.277397)),
        "clean@imagenet-a",
        84,
        0.9098,
    ),
    "imagenet-a-straight": Published(Line(1.990006, -7.632477), "clean@imagenet-a", 84, 0.9098),
}


def logit(share: ArrayLike) -> Floats:
    """log(p / (1 - p)): minus infinity at 0, infinity at 1, NaN outside.

    >>> logit([0.5, 0.0, 1.5]).tolist()
    [0.0, -inf, nan]
    """
    p = np.asarray(share, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def expit(value: ArrayLike) -> Floats:
    """The inverse of the logit.

    >>> expit([0.0, -np.inf, np.inf]).tolist()
    [0.5, 0.0, 1.0]
    """
    x = np.asarray(value, np.float64)
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1 + small), np.float64)


def effective_robustness(clean: ArrayLike, shifted: ArrayLike, line: Line | BrokenLine) -> Floats:
    """Percentage points that a model has on shifted images above what its clean accuracy promises.

    rho = 100 * (shifted - line(clean)); accuracies in [0, 1], arrays broadcast. NaN where one is.

    >>> round(float(effective_robustness(0.7613, 0.6321, Line(0.9232, -0.4977))), 2)
    -0.74
    """
    return np.asarray(100 * (np.asarray(shifted, np.float64) - line.at(clean)), np.float64)


def relative_robustness(shifted: ArrayLike, baseline: ArrayLike) -> Floats:
    """Percentage points that a model has on shifted images above the model that it was made from.

    tau = 100 * (shifted - baseline), both accuracies on the shifted images, in [0, 1].

    >>> round(float(relative_robustness(0.4677, 0.3617)), 2)
    10.6
    """
    gain = np.asarray(shifted, np.float64) - np.asarray(baseline, np.float64)
    return np.asarray(100 * gain, np.float64)


def fit_line(clean: ArrayLike, shifted: ArrayLike) -> Line:
    """The least-squares line through the logits of models: clean (m,), shifted (m,), in [0, 1].

    Models without a finite logit (an accuracy of 0, 1 or NaN on either side) are left out. NaN for slope and
    intercept with fewer than three, or when all have the same clean accuracy. Raises ValueError unless both
    have the same length.

    >>> line = fit_line([0.5, 0.7, 0.8, 0.9], expit(2 * logit([0.5, 0.7, 0.8, 0.9]) - 1))
    >>> round(line.slope, 9), round(line.intercept, 9)
    (2.0, -1.0)
    """
    x, y = _points(clean, shifted)
    slopes, intercepts = _least_squares(x, y, np.ones((1, x.size)))
    return Line(float(slopes[0]), float(intercepts[0]))


def line_band(
    clean: ArrayLike,
    shifted: ArrayLike,
    at: ArrayLike,
    *,
    seed: int | str = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[Floats, Floats]:
    """How sure a line fitted to a board's own models is: the interval of what it promises.

    The models are resampled, each with both of its accuracies, and the line is fitted again (percentile
    interval, as the testbed's plots have it). at: clean accuracies (k,) -> low (k,), high (k,). Models are
    left out as in `fit_line`; NaN with fewer than three. It is too narrow for few models:
    in simulations it held the true line in 86 % of cases with 5 models, 90 % with 12, 93 % with 30.
    """
    x, y = _points(clean, shifted)
    where = np.atleast_1d(logit(at))
    if x.size < FEWEST:
        return np.full(where.shape, np.nan), np.full(where.shape, np.nan)
    weights = resample_weights(x.size, resamples, f"line {seed}").astype(np.float64)
    slopes, intercepts = _least_squares(x, y, weights)
    return interval(expit(slopes[:, None] * where + intercepts[:, None]), level)


def _points(clean: ArrayLike, shifted: ArrayLike) -> tuple[Floats, Floats]:
    """The logits of the models that have finite ones."""
    x, y = logit(clean), logit(shifted)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"accuracy line: expected two lists of one length, got {x.shape} and {y.shape}")
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _least_squares(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept for each row of weights (r, m): (r,), (r,); NaN where the points fix no line."""
    total = weights.sum(axis=1)
    if x.size < FEWEST:
        return np.full(total.shape, np.nan), np.full(total.shape, np.nan)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    off_x, off_y = x - mean_x[:, None], y - mean_y[:, None]
    spread = (weights * off_x**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 1e-12 * total, (weights * off_x * off_y).sum(axis=1) / spread, np.nan)
    return slope, mean_y - slope * mean_x
