"""Detection of outliers: whether a score tells images that no class is right for from ordinary ones.

A cell's own rows are the outliers and the positive class; the rows of the clean condition that it is
compared with are the ordinary images. Which images those are, and that both are read out among the same
classes, the suite's data says (ImageNet-O: the validation images of its 200 classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats, OfAllRows, Ranking, in_blocks, running, share
from robobench.registry import metrics
from robobench.types import Rows

AnomalyScore = Literal["max_prob", "gini", "max_logit", "energy", "entropy"]
_COLUMNS = {"max_prob": "logp_top1", "gini": "sum_p2"}  # of the others: the logits
_RECALL = 0.95


def anomaly(rows: Rows, score: AnomalyScore) -> Floats:
    """The anomaly score of each row (n,), larger for what looks like an outlier; NaN without an answer."""
    column = np.asarray(rows[_COLUMNS.get(score, "logits")], np.float64)
    if score in _COLUMNS:
        return np.where(np.isfinite(column), -column, np.nan)
    finite = np.asarray(np.isfinite(column).all(axis=1), np.bool_)
    logits = np.where(finite.reshape(-1, 1), column, 0.0)
    largest = logits.max(axis=1)
    if score == "max_logit":
        return np.where(finite, -largest, np.nan)
    odds = np.exp(logits - largest[:, None])
    whole = odds.sum(axis=1)
    if score == "energy":
        return np.where(finite, -(largest + np.log(whole)), np.nan)
    mean = (odds * (logits - largest[:, None])).sum(axis=1) / whole
    return np.where(finite, np.log(whole) - mean, np.nan)


@dataclass(frozen=True, kw_only=True)
class _Detection(OfAllRows):
    """What all have in common: outliers (own rows) are to get the larger anomaly score."""

    score: AnomalyScore = "max_prob"  # max_prob, gini, or, with logits, max_logit, energy or entropy

    with_clean: ClassVar[bool] = True
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (_COLUMNS.get(self.score, "logits"), "own")

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows of both kinds with an anomaly score."""
        return ~np.isnan(anomaly(rows, self.score))

    def _over(self, rows: Rows, weights: NDArray[Any], work: Callable[[Floats, Floats], Floats]) -> Floats:
        """A function of how many outliers and ordinary images have each score, the largest first: (r,)."""
        ranking, own = Ranking.of(anomaly(rows, self.score)), np.asarray(rows["own"], np.bool_)
        return in_blocks(weights, lambda w: work(ranking.descending(w, own), ranking.descending(w, ~own)))


@metrics.register("auroc", version=1)
@dataclass(frozen=True, kw_only=True)
class Auroc(_Detection):
    """The probability that an outlier gets a larger anomaly score than an ordinary image.

    The area under the ROC curve: over all pairs of an outlier and an ordinary image, the share in which
    the outlier's score is larger, ties counting half. 0.5 is chance. Outliers are the condition's own
    images, ordinary ones those of the clean condition it is compared with; NaN without one of them. Rows
    without an answer are left out. Fraction in [0, 1], higher is better.

    score: `max_prob`, minus the largest probability (Hendrycks and Gimpel, ICLR 2017); `gini`, minus the
    sum of squared probabilities (Granese et al., NeurIPS 2021); and, of suites that store logits,
    `max_logit`, minus the largest logit (Hendrycks et al., Scaling Out-of-Distribution Detection, ICML
    2022); `energy`, minus the log of the sum of exponentials (Liu et al., NeurIPS 2020); `entropy` of the
    probabilities.

    Source: Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples,
    ICLR 2017; for ImageNet-O Hendrycks et al., Natural Adversarial Examples, CVPR 2021.

    >>> rows = {"logp_top1": np.log([.5, .9, .6, .9]), "own": np.array([True, True, False, False])}
    >>> Auroc()(rows)  # of four pairs 1 + 1 are right, one is a tie
    0.625
    """

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The area of each resample: weights (r, n), how often each row was drawn -> (r,)."""

        def area(outliers: Floats, ordinary: Floats) -> Floats:
            total = ordinary.sum(axis=1)
            below = total[:, None] - running(ordinary)[:, 1:] + ordinary / 2
            return share((outliers * below).sum(axis=1), outliers.sum(axis=1) * total)

        return self._over(rows, weights, area)


@metrics.register("aupr", version=1)
@dataclass(frozen=True, kw_only=True)
class Aupr(_Detection):
    """The mean precision of outlier detection while the recall of outliers grows.

    The average precision: sum over thresholds t, from the largest anomaly score down, of the growth of
    recall at t times the precision at t, images of equal score together. Chance is the share of outliers
    among all images, 1/6 for ImageNet-O (2,000 and 10,000), so compare it on the same two sets only.
    Outliers, ordinary images and `score` are those of ood.auroc. Fraction in [0, 1], higher is better.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021 (the headline number of ImageNet-O,
    by scikit-learn's average_precision_score).

    >>> rows = {"logp_top1": np.log([.5, .9, .6, .9]), "own": np.array([True, True, False, False])}
    >>> Aupr()(rows)  # 1/2 * 1 + 1/2 * 2/4
    0.75
    """

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The mean precision of each resample: weights (r, n), how often each row was drawn -> (r,)."""

        def area(outliers: Floats, ordinary: Floats) -> Floats:
            found = running(outliers)[:, 1:]
            precision = np.nan_to_num(share(found, found + running(ordinary)[:, 1:]))
            enough = ordinary.any(axis=1)
            return np.where(enough, share((outliers * precision).sum(axis=1), outliers.sum(axis=1)), np.nan)

        return self._over(rows, weights, area)


@metrics.register("fpr95", version=1)
@dataclass(frozen=True, kw_only=True)
class FalsePositives(_Detection):
    """The share of ordinary images that are taken for outliers when 95 % of the outliers are found.

    At the largest threshold on the anomaly score at or above which at least 95 % of the outliers lie,
    images of equal score together. Outliers, ordinary images and `score` are those of ood.auroc. Fraction
    in [0, 1], lower is better.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021. Their code takes the smallest
    threshold whose recall is nearest to 95 %, and so adds the ordinary images between one outlier and the
    next: about 0.0005 with 2,000 outliers and 10,000 ordinary images.

    >>> rows = {"logp_top1": np.log([.5, .9, .6, .9]), "own": np.array([True, True, False, False])}
    >>> FalsePositives()(rows)  # the second outlier is found together with both ordinary images
    1.0
    """

    higher_is_better: ClassVar[bool] = False

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The rate of each resample: weights (r, n), how often each row was drawn -> (r,)."""

        def rate(outliers: Floats, ordinary: Floats) -> Floats:
            found, taken = running(outliers), running(ordinary)
            wanted = np.ceil(np.round(_RECALL * found[:, -1], 6))
            place = (found < wanted[:, None]).sum(axis=1)
            at = taken[np.arange(place.size), np.minimum(place, taken.shape[1] - 1)]
            return np.where(found[:, -1] > 0, share(at, taken[:, -1]), np.nan)

        return self._over(rows, weights, rate)
