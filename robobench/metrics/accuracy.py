"""Accuracy: the share of images that are answered rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows

_OUTLIER = -2  # the rank in rows of images that no class is right for


@metrics.register("top1", version=1)
@dataclass(frozen=True)
class Top1:
    """Top-1 accuracy: the share of images whose first answer is right (ILSVRC, IJCV 115, 2015).

    Per image 1 if no class stands before an acceptable one (`hit` = 0), else 0. A row whose logits are
    not finite (`hit` = -1) is wrong; where no class is right (`hit` = -2) it is undefined (NaN). Fraction in
    [0, 1], higher is better.

    >>> Top1()({"hit": np.array([0, 3, -1, 0])}).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("hit",)
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        hit = np.asarray(rows["hit"])
        return np.where(hit == _OUTLIER, np.nan, np.asarray(hit == 0, np.float64))


@metrics.register("top5", version=1)
@dataclass(frozen=True)
class Top5:
    """Top-5 accuracy: the share of images with a right one among five answers (ILSVRC, IJCV 115, 2015).

    Per image 1 if fewer than five classes stand before an acceptable one (0 <= `hit` < 5), else 0. A row
    whose logits are not finite is wrong. Undefined (NaN) where there are fewer than five classes
    (`top5` = -1 in an answered row); with exactly five it is 1 for every answered row. Fraction in
    [0, 1], higher is better.

    >>> Top5()({"hit": np.array([0, 4, 5, -1]), "top1": np.array([7, 1, 2, -1]),
    ...         "top5": np.array([3, 8, 9, -1])}).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("hit", "top1", "top5")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        hit = np.asarray(rows["hit"])
        if bool(((np.asarray(rows["top5"]) < 0) & (np.asarray(rows["top1"]) >= 0)).any()):
            return np.full(hit.shape, np.nan)
        return np.where(hit == _OUTLIER, np.nan, np.asarray((hit >= 0) & (hit < 5), np.float64))
