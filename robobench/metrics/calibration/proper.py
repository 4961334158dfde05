"""Proper scores of probabilities: an honest forecast does best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows


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
