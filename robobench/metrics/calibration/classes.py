"""Calibration errors over all classes: whether every probability means what it says, not only the largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.calibration.errors import Binning, calibration_error
from robobench.metrics.calibration.logits import answered, log_sums
from robobench.metrics.ranked import Floats, OfAllRows
from robobench.registry import Field, metrics
from robobench.types import Rows


@dataclass(frozen=True, kw_only=True)
class _ByClass(OfAllRows):
    """The mean over classes of the error of a class's probabilities against whether it is the label."""

    bins: Annotated[int, Field(gt=0)] = 15  # for each class

    binning: ClassVar[Binning] = "even"
    needs: ClassVar[tuple[str, ...]] = ("label", "logits")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with finite logits and a right class."""
        return answered(rows)

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        return self._mean_over_classes(rows, weights, -1.0)

    def _mean_over_classes(self, rows: Rows, weights: NDArray[Any], above: float) -> Floats:
        """With probabilities up to `above` left out: (r,)."""
        usable = answered(rows)
        logits = np.asarray(rows["logits"])
        labels = np.asarray(rows["label"])
        whole = log_sums(np.where(usable[:, None], logits, 0).astype(np.float64))
        total = np.zeros(weights.shape[0])
        for c in range(logits.shape[1]):
            probability = np.exp(np.where(usable, logits[:, c], np.nan).astype(np.float64) - whole)
            probability[probability <= above] = np.nan
            found = calibration_error(probability, labels == c, weights, bins=self.bins, binning=self.binning)
            total += np.nan_to_num(found)  # no probability of a class: no gap
        drawn = weights[:, usable].any(axis=1)
        return np.where(drawn, total / logits.shape[1], np.nan)


@metrics.register("sce", version=1)
@dataclass(frozen=True, kw_only=True)
class StaticCalibrationError(_ByClass):
    """Static calibration error: the expected calibration error of each class, averaged over the classes.

    1/K sum over classes k and equal-width bins b of (n_bk / n) |share of label k - mean p_k|, where each
    image gives every class a probability, with the bins of calibration.ece. All classes of the label space
    count alike. With many classes nearly all probabilities are near 0 and so is the number: compare it
    within a label space only. Costs classes times bins times images for each resample. Fraction in
    [0, 1], lower is better.

    Source: Nixon et al., Measuring Calibration in Deep Learning, CVPR workshops 2019.

    Two images of label 0 and probabilities (.9, .1) and (.7, .3): a gap of .2 for both classes.

    >>> rows = {"label": np.array([0, 0]), "logits": np.log([[.9, .1], [.7, .3]])}
    >>> round(StaticCalibrationError(bins=1)(rows), 6)
    0.2
    """


@metrics.register("ace", version=1)
@dataclass(frozen=True, kw_only=True)
class AdaptiveCalibrationError(_ByClass):
    """Adaptive calibration error: as the static one, with as many images in each bin of a class.

    1/K sum over classes k and bins b of (n_bk / n) |share of label k - mean p_k|; the bins of a class are
    of equal mass, as in calibration.adaptive_ece. Costs classes times images for each resample: with 1,000
    classes, some thousand images. Fraction in [0, 1], lower is better.

    Source: Nixon et al., Measuring Calibration in Deep Learning, CVPR workshops 2019.

    >>> rows = {"label": np.array([0, 1]), "logits": np.log([[.9, .1], [.7, .3]])}
    >>> round(AdaptiveCalibrationError(bins=2)(rows), 6)  # (.1 + .7) / 2 for both classes
    0.4
    """

    binning: ClassVar[Binning] = "mass"


@metrics.register("tace", version=1)
@dataclass(frozen=True, kw_only=True)
class ThresholdedAdaptiveCalibrationError(_ByClass):
    """Thresholded adaptive calibration error: the adaptive one without probabilities near 0.

    As calibration.ace over the probabilities above `threshold` alone: their number takes the place of n in
    each class, and a class without any has an error of 0, so that all classes count. Fraction in [0, 1],
    lower is better.

    Source: Nixon et al., Measuring Calibration in Deep Learning, CVPR workshops 2019. (The class of that
    name in google-research/robustness_metrics does not apply its threshold, and so gives the ACE.)

    >>> rows = {"label": np.array([0, 1]), "logits": np.log([[.9, .1], [.7, .3]])}
    >>> round(ThresholdedAdaptiveCalibrationError(bins=2, threshold=0.2)(rows), 6)  # (.4 + .7) / 2
    0.55
    """

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.01  # probabilities up to this are left out

    binning: ClassVar[Binning] = "mass"

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The error of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        return self._mean_over_classes(rows, weights, self.threshold)
