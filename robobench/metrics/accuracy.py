"""Accuracy: the share of images that are answered rightly, of all images or class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats, OfAllRows, Ranking, in_blocks, right, share
from robobench.registry import Field, metrics
from robobench.types import OUTLIER_HIT, Rows


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
        return np.where(hit == OUTLIER_HIT, np.nan, np.asarray(hit == 0, np.float64))


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
        return np.where(hit == OUTLIER_HIT, np.nan, np.asarray((hit >= 0) & (hit < 5), np.float64))


class _ClassByClass(OfAllRows):
    """A number over the accuracies of the classes that have enough images."""

    at_least: int
    needs: ClassVar[tuple[str, ...]] = ("hit", "label")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The images of the classes that count."""
        labels = np.asarray(rows["label"])
        classes, place, images = np.unique(labels, return_inverse=True, return_counts=True)
        return np.asarray(((classes >= 0) & (images >= self.at_least))[place], np.bool_)

    def _accuracies(self, rows: Rows, some: Floats) -> Floats:
        """Accuracies of classes on some resamples, NaN with too few images: (r, n) -> (r, classes)."""
        labels = np.asarray(rows["label"])
        ranking = Ranking.of(np.where(labels >= 0, labels, np.nan))
        images, hits = ranking.totals(some), ranking.totals(some, right(rows))
        return np.where(images >= self.at_least, share(hits, images), np.nan)


@metrics.register("per_class", version=1)
@dataclass(frozen=True, kw_only=True)
class PerClassAccuracy(_ClassByClass):
    """Mean per-class accuracy: the mean over classes of the share of a class's images that are right.

    Every class counts alike however many images it has; over classes of equal size it is the top-1
    accuracy. Classes are those that images have (the column `label`; of several acceptable classes the
    first), not all of the label space; those with fewer than `at_least` images are left out, NaN where
    none is left. In a resample they are counted anew. n is the number of images of the classes that
    count. A row whose logits are not finite is wrong; outliers are left out. Fraction in [0, 1],
    higher is better.

    Source: common for sets of unequal classes, such as Fei-Fei et al., Caltech-101, CVPR workshops 2004
    (the mean of the diagonal of the confusion matrix); scikit-learn's balanced_accuracy_score.

    >>> rows = {"hit": np.array([0, 0, 0, 4]), "label": np.array([7, 7, 7, 9])}
    >>> PerClassAccuracy()(rows)
    0.5
    """

    at_least: Annotated[int, Field(ge=1)] = 1  # images that a class needs to count

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The mean of each resample: weights (r, n), how often each row was drawn -> (r,)."""

        def mean(some: Floats) -> Floats:
            found = self._accuracies(rows, some)
            return share(np.nan_to_num(found).sum(axis=1), (~np.isnan(found)).sum(axis=1))

        return in_blocks(weights, mean)


@metrics.register("worst_class", version=1)
@dataclass(frozen=True, kw_only=True)
class WorstClassAccuracy(_ClassByClass):
    """Worst-class accuracy: the share of right images of the class that has the smallest share.

    The smallest of many measured accuracies lies below the smallest true one, the more so the fewer images
    a class has: with one image each it is 0 or 1. So classes with fewer than `at_least` images are left
    out, NaN where none is left; compare it at equal numbers of classes and images only. Classes are those
    of accuracy.per_class; in a resample they are counted anew. Fraction in [0, 1], higher is better.

    Source: the smallest group accuracy of Sagawa et al., Distributionally Robust Neural Networks for Group
    Shifts, ICLR 2020, with classes for groups.

    >>> rows = {"hit": np.array([0, 0, 0, 0, 4]), "label": np.array([7, 7, 9, 9, 9])}
    >>> round(WorstClassAccuracy(at_least=2)(rows), 4)
    0.6667
    """

    at_least: Annotated[int, Field(ge=1)] = 10  # images that a class needs to count

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The smallest accuracy of each resample: weights (r, n), how often each row was drawn -> (r,)."""

        def smallest(some: Floats) -> Floats:
            found = np.nan_to_num(self._accuracies(rows, some), nan=np.inf)
            least = found.min(axis=1, initial=np.inf)
            return np.where(np.isfinite(least), least, np.nan)

        return in_blocks(weights, smallest)
