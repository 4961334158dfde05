"""Calibration errors: gaps between confidence and accuracy in bins of confidence.

One family, `calibration_error`: bins of equal width or of equal mass, and how gaps are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats, OfAllRows, Ranking, confidences, in_blocks, right, running, share
from robobench.registry import Field, metrics
from robobench.types import Rows

_CONFIDENCE_DECIMALS = 6  # what a float32 log-probability can tell apart
_WIDE_BLOCK = 40_000_000  # for products of weights with a few columns: 320 MB

Norm = Literal["l1", "l2", "max"]
Binning = Literal["even", "mass"]


def calibration_error(
    confidence: Floats,
    correct: NDArray[Any],
    weights: NDArray[Any],
    *,
    bins: int,
    binning: Binning = "even",
    norm: Norm = "l1",
) -> Floats:
    """The calibration error of some probabilities on each resample: (n,), (n,), (r, n) -> (r,).

    confidence: probabilities, NaN for one that is left out; correct: whether each came true. With the
    gap of a bin, |accuracy - confidence|, and its share of the probabilities, n_m / n:

    - norm `l1`: sum of n_m / n gap_m; `l2`: square root of the sum of n_m / n gap_m^2; `max`: largest gap.
    - binning `even`: equal widths (a, b]; a probability is read to six decimals when its bin is chosen,
      so that edges do not depend on rounding in float32. `mass`: as many in each bin; bin m begins at the
      value of rank round(m n / bins), and equal values share a bin.

    Empty bins count nothing. NaN for a resample without a probability.
    """
    if binning == "even":
        columns = even_columns(confidence, correct, bins, counted=norm != "l1")
        return in_blocks(weights, lambda w: _of_even(w @ columns, bins, norm), _WIDE_BLOCK)
    ranking = Ranking.of(confidence)
    gap = np.asarray(correct, np.float64) - confidence
    return in_blocks(weights, lambda w: mass_error(w, ranking, gap, bins, norm))


def even_columns(confidence: Floats, correct: NDArray[Any], bins: int, *, counted: bool) -> Floats:
    """What is summed for bins of equal width: each row's gap and, where wanted, 1, in its bin; 1 if known."""
    known = ~np.isnan(confidence)
    gap = np.where(known, np.asarray(correct, np.float64) - confidence, 0.0)
    place = np.where(known, np.round(confidence, _CONFIDENCE_DECIMALS), 1.0)
    index = np.clip(np.ceil(np.round(place * bins, _CONFIDENCE_DECIMALS)) - 1, 0, bins - 1).astype(np.int64)
    columns = np.zeros((gap.size, bins * (1 + counted) + 1))
    rows = np.arange(gap.size)
    columns[rows, index] = gap
    if counted:
        columns[rows, bins + index] = known
    columns[:, -1] = known
    return columns


def _of_even(sums: Floats, bins: int, norm: Norm) -> Floats:
    """From the sums over the columns of `even_columns`: (r, columns) -> (r,)."""
    return _combined(sums[:, :bins], sums[:, bins:-1], sums[:, -1], norm)


def mass_error(weights: Floats, ranking: Ranking, gap: Floats, bins: int, norm: Norm) -> Floats:
    """The error with bins of equal mass on some resamples: weights (r, n), gap (n,) -> (r,)."""
    if not ranking.order.size:
        return np.full(weights.shape[0], np.nan)
    drawn, gaps = running(ranking.totals(weights)), running(ranking.totals(weights, gap))
    total = drawn[:, -1:]
    begins = np.minimum(np.rint(np.arange(1, bins) * total / bins), total - 1)
    edges = _edges(drawn, begins)
    return _combined(
        np.diff(np.take_along_axis(gaps, edges, axis=1)),
        np.diff(np.take_along_axis(drawn, edges, axis=1)),
        total[:, 0],
        norm,
    )


def _edges(drawn: Floats, begins: Floats) -> NDArray[np.int64]:
    """Which group each bin begins with, and the end: drawn (r, g + 1), begins (r, m) -> (r, m + 2).

    begins: ranks, from 0; a bin begins with the whole group that holds the rank.
    """
    out = np.zeros((drawn.shape[0], begins.shape[1] + 2), np.int64)
    for found, up_to, ranks in zip(out, drawn[:, 1:], begins, strict=True):
        found[1:-1] = np.searchsorted(up_to, ranks, side="right")
    out[:, -1] = drawn.shape[1] - 1
    return out


def _combined(gaps: Floats, counts: Floats, total: Floats, norm: Norm) -> Floats:
    """Summed gaps (r, m) and counts (r, m) of bins as one error (r,); `l1` needs no counts."""
    if norm == "l1":
        return share(np.abs(gaps).sum(axis=1), total)
    mean = np.nan_to_num(share(gaps, counts))  # an empty bin has no gap
    if norm == "max":
        return np.where(total > 0, np.abs(mean).max(axis=1), np.nan)
    return np.sqrt(share((gaps * mean).sum(axis=1), total))


@dataclass(frozen=True, kw_only=True)
class _Binned(OfAllRows):
    """A member of the family over the largest probability of each image."""

    bins: Annotated[int, Field(gt=0)] = 15  # how many

    binning: ClassVar[Binning] = "even"
    norm: ClassVar[Norm] = "l1"
    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with a probability."""
        return ~np.isnan(confidences(rows))

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        confidence = np.exp(confidences(rows))
        return calibration_error(
            confidence, right(rows), weights, bins=self.bins, binning=self.binning, norm=self.norm
        )


@metrics.register("ece", version=1)
@dataclass(frozen=True, kw_only=True)
class ExpectedCalibrationError(_Binned):
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


@metrics.register("adaptive_ece", version=1)
@dataclass(frozen=True, kw_only=True)
class AdaptiveExpectedCalibrationError(_Binned):
    """Calibration error with as many images in each bin, instead of bins of equal width.

    As calibration.ece, over bins of the largest probability that hold the same number of images: bin m
    begins at the probability of rank round(m n / bins), and equal probabilities share a bin. With bins of
    equal width most images of a good model fall into one. Fraction in [0, 1], lower is better.

    Source: Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015, for bins of
    equal mass; the binning scheme `adaptive` of Nixon et al., Measuring Calibration in Deep Learning, 2019.

    >>> rows = {"hit": np.array([0, 0, 1, 0, 1, 0, 1, 1]),
    ...         "logp_top1": np.log([.95, .9, .85, .62, .61, .55, .4, .35])}
    >>> round(AdaptiveExpectedCalibrationError(bins=4)(rows), 6)
    0.19125
    """

    binning: ClassVar[Binning] = "mass"


@metrics.register("rmsce", version=1)
@dataclass(frozen=True, kw_only=True)
class RootMeanSquaredCalibrationError(_Binned):
    """Root mean square calibration error: large gaps count more than in the mean gap.

    Square root of the sum over bins m of (n_m / n) (accuracy_m - confidence_m)^2, with bins of equal mass
    as in calibration.adaptive_ece. Never below it. Fraction in [0, 1], lower is better. Bins of a fixed
    number of images are those of calibration.rms.

    Source: Nguyen and O'Connor, EMNLP 2015; named so in google-research/robustness_metrics (there 30 bins).

    >>> rows = {"hit": np.array([0, 0, 1, 1]), "logp_top1": np.log([1.0, .8, .6, .4])}
    >>> round(RootMeanSquaredCalibrationError(bins=2)(rows), 6)  # gaps of .1 and -.5
    0.360555
    """

    binning: ClassVar[Binning] = "mass"
    norm: ClassVar[Norm] = "l2"


@metrics.register("mce", version=1)
@dataclass(frozen=True, kw_only=True)
class MaximumCalibrationError(_Binned):
    """Maximum calibration error: the largest gap between confidence and accuracy of any bin.

    max over bins m of |accuracy_m - confidence_m|, with the equal-width bins of calibration.ece. Not the
    mean corruption error, which is the formula `corruption.mce`. A bin with one image in it can
    decide it, so it needs many images. Fraction in [0, 1], lower is better.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015;
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> rows = {"hit": np.array([0, 0, 1]), "logp_top1": np.log([.9, .95, .3])}
    >>> round(MaximumCalibrationError(bins=10)(rows), 6)  # one bin for each: .1, .05, .3
    0.3
    """

    norm: ClassVar[Norm] = "max"


@metrics.register("sweep_ece", version=1)
@dataclass(frozen=True, kw_only=True)
class MonotonicSweepCalibrationError(OfAllRows):
    """Calibration error with as many bins of equal mass as keep accuracy from falling with confidence.

    From 2 bins upwards, until accuracy in a bin is below that of a bin of smaller confidence; the last
    number of bins before that is taken. Few images or a poor ranking give few bins, so that the error is
    biased less by its binning. Bin m begins at the probability of rank ceil(m n / bins), equal
    probabilities share a bin, empty ones are passed over; there are fewer bins than images. Fraction in
    [0, 1], lower is better.

    Source: Roelofs et al., Mitigating Bias in Calibration Error Estimation, AISTATS 2022 (ECE-sweep, equal
    mass).

    Two bins are right in 0 and 1 of 2 images; of three, the middle one is right and the last is not:

    >>> rows = {"hit": np.array([1, 1, 0, 1]), "logp_top1": np.log([.2, .4, .6, .8])}
    >>> round(MonotonicSweepCalibrationError()(rows), 6)  # (|0 - .3| + |.5 - .7|) / 2
    0.25
    """

    most: Annotated[int, Field(gt=0)] = 1000  # never more bins than this

    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with a probability."""
        return ~np.isnan(confidences(rows))

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        confidence = np.exp(confidences(rows))
        ranking, correct = Ranking.of(confidence), right(rows)

        def work(some: Floats) -> Floats:
            if not ranking.order.size:
                return np.full(some.shape[0], np.nan)
            drawn = running(ranking.totals(some))
            hits = running(ranking.totals(some, correct))
            gaps = running(ranking.totals(some, correct - confidence))
            return _swept(drawn, hits, gaps, self.most)

        return in_blocks(weights, work)


def _swept(drawn: Floats, hits: Floats, gaps: Floats, most: int) -> Floats:
    """The error at the largest number of bins of each resample, from running sums (r, g + 1) -> (r,)."""
    total = drawn[:, -1]
    error = share(np.abs(gaps[:, -1]), total)
    still = np.flatnonzero(total > 2)
    for bins in range(2, most + 1):
        still = still[total[still] > bins]
        if not still.size:
            break
        begins = np.ceil(np.arange(1, bins) * total[still, None] / bins)
        edges = _edges(drawn[still], begins)
        counts, rights, gap = (
            np.diff(np.take_along_axis(sums[still], edges, axis=1)) for sums in (drawn, hits, gaps)
        )
        accuracy = share(rights, counts)
        rising = (np.isnan(accuracy) | (accuracy >= np.fmax.accumulate(accuracy, axis=1))).all(axis=1)
        still = still[rising]
        error[still] = np.abs(gap[rising]).sum(axis=1) / total[still]
    return error


@metrics.register("rms", version=1)
@dataclass(frozen=True, kw_only=True)
class HendrycksCalibrationError(OfAllRows):
    """RMS calibration error over bins of a hundred images each, as in the papers of Hendrycks et al.

    Images in the order of their largest probability, from below, in bins of `size` images, the last of
    which takes the rest; square root of the sum of (n_m / n) (accuracy_m - confidence_m)^2. Images of
    equal probability that an edge goes through are split over both bins in equal shares of right and
    wrong. With less than `size` images there is one bin. Fraction in [0, 1], lower is better.

    legacy: the number that published code gives, which leaves out the last bin, of the most confident
    images, and still divides by all images; NaN where there is no other bin.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021, and the file calibration_tools.py of
    their code; Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019.

    >>> rows = {"hit": np.array([1, 1, 0, 1, 0, 0]), "logp_top1": np.log([.2, .4, .6, .8, .9, .95])}
    >>> round(HendrycksCalibrationError(size=2)(rows), 6)  # gaps of .3, .2 and .075
    0.212623
    >>> round(HendrycksCalibrationError(size=2, legacy=True)(rows), 6)
    0.208167
    """

    size: Annotated[int, Field(gt=0)] = 100  # images in a bin
    legacy: bool = False  # leave out the most confident bin, as published code does

    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with a probability."""
        return ~np.isnan(confidences(rows))

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        confidence = np.exp(confidences(rows))
        gap: Floats = right(rows) - confidence
        ranking = Ranking.of(confidence)

        def work(some: Floats) -> Floats:
            if not ranking.order.size:
                return np.full(some.shape[0], np.nan)
            drawn, gaps = running(ranking.totals(some)), running(ranking.totals(some, gap))
            return np.array([self._of(d, g) for d, g in zip(drawn, gaps, strict=True)])

        return in_blocks(weights, work)

    def _of(self, drawn: Floats, gaps: Floats) -> float:
        """The error from running sums over groups of equal probability, (g + 1,) each."""
        total = drawn[-1]
        bins = max(int(total) // self.size, 1)
        if not total or (self.legacy and bins == 1):
            return np.nan
        edges = np.append(np.arange(bins) * self.size, total)
        squares = np.diff(np.interp(edges, drawn, gaps)) ** 2 / np.diff(edges)
        return float(np.sqrt(squares[: bins - self.legacy].sum() / total))
