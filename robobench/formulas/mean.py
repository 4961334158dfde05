"""The mean over ladders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robobench.registry import formulas
from robobench.types import Condition


@formulas.register(version=1)
@dataclass(frozen=True)
class Mean:
    """The mean over ladders, each the mean of its levels; robobench's default composite.

    Every ladder counts the same however many levels it has, and a single condition is a ladder of one.
    Clean conditions and companions of shifts are compared with, never counted. A missing (NaN) level
    makes the score undefined, and so does a suite without ladders. In the unit of the metric.

    >>> from robobench.types import Condition
    >>> cells = [Condition("clean", "clean", "base"), Condition("a 1", "a", "base"),
    ...          Condition("a 2", "a", "base"), Condition("b", "b", "other")]
    >>> Mean()(np.array([[1.0, 0.6, 0.2, 0.8], [1.0, 0.6, np.nan, 0.8]]), cells).round(6).tolist()
    [0.6, nan]
    """

    def __call__(self, values: NDArray[np.float64], conditions: Sequence[Condition]) -> NDArray[np.float64]:
        ladders: dict[str, list[int]] = {}
        for index, condition in enumerate(conditions):
            if not (condition.clean or condition.companion):
                ladders.setdefault(condition.ladder, []).append(index)
        if not ladders:
            return np.full(values.shape[0], np.nan)
        means = np.stack([values[:, levels].mean(axis=1) for levels in ladders.values()], axis=1)
        return np.asarray(means.mean(axis=1), np.float64)
