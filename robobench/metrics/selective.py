"""Selective prediction: what is gained when a model may keep silent on the images it is least sure of.

How sure it is, is its largest probability. A row whose logits are not finite and an image that no class is
right for are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import (
    Floats,
    OfAllRows,
    Ranking,
    confidences,
    harmonic,
    in_blocks,
    mean_response_accuracy,
    right,
    running,
    share,
)
from robobench.registry import Field, metrics
from robobench.types import Rows


class _Selective(OfAllRows):
    """What all have in common."""

    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with a probability."""
        return ~np.isnan(confidences(rows))


@metrics.register("aurc", version=1)
@dataclass(frozen=True)
class RiskCoverageArea(_Selective):
    """The area under the risk-coverage curve: the mean error while coverage grows from one image to all.

    Mean over k = 1 ... n of the share of errors among the k images with the largest probability; images of
    equal probability count as in the mean over all their orders. One minus calibration.aurra. It
    falls with the error rate as with a better ranking; selective.excess_aurc is the ranking alone.
    Fraction in [0, 1], lower is better.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NIPS 2017, for the
    curve; Geifman et al., Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019.

    >>> rows = {"hit": np.array([0, 1, 0, 0]), "logp_top1": np.log([.9, .8, .7, .6])}
    >>> round(RiskCoverageArea()(rows), 6)  # (0 + 1/2 + 1/3 + 1/4) / 4
    0.270833
    """

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The area of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        return 1 - mean_response_accuracy(confidences(rows), right(rows), weights)


@metrics.register("excess_aurc", version=1)
@dataclass(frozen=True)
class ExcessRiskCoverageArea(_Selective):
    """The risk-coverage area beyond the best that any ranking of the same answers could have.

    selective.aurc minus its smallest value at that error rate, which a model has whose e errors are its
    e least sure answers: (e - (n - e) (H(n) - H(n - e))) / n, H the harmonic numbers. The published
    approximation of this is r + (1 - r) ln(1 - r) with r = e / n. 0 for a perfect ranking, and where all
    answers are right or all wrong. Fraction in [0, 1], lower is better.

    Source: Geifman et al., Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019.

    >>> rows = {"hit": np.array([0, 1, 0, 0]), "logp_top1": np.log([.9, .8, .7, .6])}
    >>> round(ExcessRiskCoverageArea()(rows), 6)  # .270833 - 1/16
    0.208333
    """

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The excess of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        sure, correct = confidences(rows), right(rows)
        known = ~np.isnan(sure)
        area = 1 - mean_response_accuracy(sure, correct, weights)
        counts = np.stack([known, known & correct], axis=1).astype(np.float64)
        total, hits = in_blocks(weights, lambda w: w @ counts).T
        errors = total - hits
        best = share(errors - hits * (harmonic(total) - harmonic(hits)), total)
        return area - best


@metrics.register("accuracy", version=1)
@dataclass(frozen=True, kw_only=True)
class AccuracyAtCoverage(_Selective):
    """The accuracy on the surest images alone: a share `coverage` of all, by their largest probability.

    Over the ceil(coverage n) images with the largest probability; of images of equal probability that the
    limit goes through, the same share of right ones counts. At a coverage of 1 it is the accuracy of the
    rows with a probability. Fraction in [0, 1], higher is better.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NIPS 2017.

    >>> rows = {"hit": np.array([0, 1, 0, 0]), "logp_top1": np.log([.9, .8, .7, .6])}
    >>> AccuracyAtCoverage(coverage=0.5)(rows)
    0.5
    """

    coverage: Annotated[float, Field(gt=0, le=1)] = 0.8  # share of the images that is answered

    higher_is_better: ClassVar[bool] = True

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The accuracy of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        ranking, correct = Ranking.of(confidences(rows)), right(rows)

        def work(some: Floats) -> Floats:
            counts, hits = running(ranking.descending(some)), running(ranking.descending(some, correct))
            kept = np.ceil(np.round(self.coverage * counts[:, -1], 6))  # .7 * 10 is 7.000000000000001
            found = [np.interp(k, c, h) for k, c, h in zip(kept, counts, hits, strict=True)]
            return share(np.array(found), kept)

        return in_blocks(weights, work)


@metrics.register("coverage", version=1)
@dataclass(frozen=True, kw_only=True)
class CoverageAtRisk(_Selective):
    """The largest share of the images that can be answered with an error rate of at most `risk`.

    A threshold on the largest probability answers all images at or above it; of all thresholds that keep
    the share of errors among those at or below `risk`, the one that answers most. 0 where none does:
    then the model has to keep silent. Fraction in [0, 1], higher is better. On the images it is measured
    on: it is no promise for others.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NIPS 2017.

    >>> rows = {"hit": np.array([0, 1, 0, 0]), "logp_top1": np.log([.9, .8, .7, .6])}
    >>> CoverageAtRisk(risk=0.01)(rows), CoverageAtRisk(risk=0.25)(rows)
    (0.25, 1.0)
    """

    risk: Annotated[float, Field(ge=0, lt=1)] = 0.01  # largest share of errors among the answers

    higher_is_better: ClassVar[bool] = True

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The coverage of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        ranking, wrong = Ranking.of(confidences(rows)), ~right(rows)

        def work(some: Floats) -> Floats:
            counts, errors = running(ranking.descending(some)), running(ranking.descending(some, wrong))
            allowed = errors <= np.round(self.risk * counts, 9)  # 0.07 * 100 is 7.000000000000001
            return share(np.where(allowed, counts, 0).max(axis=1), counts[:, -1])

        return in_blocks(weights, work)
