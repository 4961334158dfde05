"""Accuracy while a model answers more and more of the images, the surest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats, OfAllRows, confidences, mean_response_accuracy, right
from robobench.registry import metrics
from robobench.types import Rows


@metrics.register("aurra", version=1)
@dataclass(frozen=True)
class ResponseRateAccuracy(OfAllRows):
    """The area under the response rate accuracy curve: whether a model knows which answers to give.

    Mean over k = 1 ... n of the accuracy among the k images with the largest probability. Images of equal
    probability count as in the mean over all their orders. One minus it is the risk-coverage area
    (selective.aurc). Fraction in [0, 1], higher is better.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021, and their code.

    >>> rows = {"hit": np.array([0, 1, 0, 0]), "logp_top1": np.log([.9, .8, .7, .6])}
    >>> round(ResponseRateAccuracy()(rows), 6)  # (1 + 1/2 + 2/3 + 3/4) / 4
    0.729167
    """

    needs: ClassVar[tuple[str, ...]] = ("hit", "logp_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows with a probability."""
        return ~np.isnan(confidences(rows))

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The area of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        return mean_response_accuracy(confidences(rows), right(rows), weights)
