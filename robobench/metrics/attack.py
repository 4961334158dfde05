"""What it takes to fool a model: how far its images have to move, and how often it has to be asked.

An image counts that was answered rightly before the attack: it fell (`fooled`) or still stands (`hit` = 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.params import Eps, Radius
from robobench.registry import Field, metrics
from robobench.types import Rows

Values = NDArray[np.float64]
_ROUNDING = 1e-6  # of float32 at pixel scale: an image moved by exactly the limit is within
_WIDE = 4_000_000  # weights summed up at once: 32 MB


@metrics.register("success", version=1)
@dataclass(frozen=True)
class Success:
    """The success rate of the attack: the share of images answered rightly before that it made wrong.

    Per image 1 if it fell, 0 if it was right and stands, NaN if it was wrong before. Fraction in [0, 1],
    lower is better: it is the model that is judged.

    >>> Success()({"hit": np.array([2, 0, 1]), "fooled": np.array([True, False, False])}).tolist()
    [1.0, 0.0, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("hit", "fooled")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.where(_right(rows), np.asarray(rows["fooled"], np.float64), np.nan)


@metrics.register("accuracy_within", version=1)
@dataclass(frozen=True, kw_only=True)
class AccuracyWithin:
    """Accuracy under attacks of at most that distance, or of at most so many queries.

    Read off one cell of an attack that looks for the nearest misread image: per image 1 if it was right and
    the attack did not make it wrong within the limit, else 0. Over several limits this is the curve of
    accuracy against distance, or against queries. Several limits hold together; without any it is the
    accuracy under the attack. A suite writes `{use: attack.accuracy_within, with: {l2: 0.5}}`.

    What was found is an upper bound of the distance to the nearest misread image, so this is one of the
    accuracy; of an attack with a budget only limits up to that budget say anything. `queries` counts what
    the image cost in all: for an attack that stops when the image falls that is what it took, for one that
    goes on to look nearer it is not. Fraction in [0, 1], higher is better.

    Source: Brendel et al., Decision-Based Adversarial Attacks, ICLR 2018 (distance); Andriushchenko et
    al., Square Attack, ECCV 2020 (queries).

    >>> rows = {"hit": np.array([1, 1, 0, 3]), "fooled": np.array([True, True, False, False]),
    ...         "l2": np.array([0.5, 2.0, 0.0, 0.0])}
    >>> AccuracyWithin(l2=1.0)(rows).tolist()  # fell near, fell far off, stands, was wrong before
    [0.0, 1.0, 1.0, 0.0]
    """

    l2: Radius | None = None  # Euclidean distance in [0, 1] pixel units
    linf: Eps | None = None  # largest change of a channel of a pixel, in [0, 1] units
    queries: Annotated[int, Field(ge=1)] | None = None  # forward passes, with the look at the clean image

    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    @property
    def _limits(self) -> dict[str, float]:
        limits = {"l2": self.l2, "linf": self.linf, "queries": self.queries}
        return {k: v for k, v in limits.items() if v is not None}

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return ("hit", "fooled", *self._limits)

    def __call__(self, rows: Rows) -> Values:
        fell = np.asarray(rows["fooled"], bool)
        for column, limit in self._limits.items():
            fell = fell & (np.asarray(rows[column]) <= limit + _ROUNDING * max(1.0, limit))
        return np.asarray(_right(rows) & ~fell, np.float64)


@dataclass(frozen=True)
class _Median:
    """The median of a column over images that were right; one that never fell needs infinitely much."""

    column: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return ("hit", "fooled", self.column)

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows of images that count."""
        return _right(rows)

    def __call__(self, rows: Rows) -> float:
        return float(self.resampled(rows, np.ones((1, np.asarray(rows["hit"]).shape[0])))[0])

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Values:
        """The median of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        fell = np.asarray(rows["fooled"], bool)
        needed = np.where(fell, np.asarray(rows[self.column], np.float64), np.inf)
        counts = np.flatnonzero(_right(rows))
        order = counts[np.argsort(needed[counts], kind="stable")]
        if not order.size:
            return np.full(len(weights), np.nan)
        some = max(1, _WIDE // order.size)  # resamples at a time
        parts = [weights[k : k + some, order] for k in range(0, len(weights), some)]
        return np.concatenate([_medians(needed[order], part) for part in parts])


@metrics.register("median_l2", version=1)
@dataclass(frozen=True)
class MedianL2(_Median):
    """The median Euclidean distance to the nearest misread image that was found.

    Over the images that were right before; an image that never fell counts as infinitely far. Where half
    or more never fell the median is infinite, which is shown as undefined with its n. It says what it seems
    to for attacks that look for the nearest image (boundary, HopSkipJump, DeepFool, CW); with a budget it
    is the distance the attack happened to use. In [0, 1] pixel units of the whole image, higher is better.

    Source: Brendel et al., Decision-Based Adversarial Attacks, ICLR 2018, section 3 (median over images of
    the squared distance, divided by the number of values; here the distance itself).

    >>> rows = {"hit": np.array([1, 1, 0, 9]), "fooled": np.array([True, True, False, False]),
    ...         "l2": np.array([0.5, 2.0, 0.0, 0.0])}
    >>> MedianL2()(rows)  # of 0.5, 2 and infinitely far; the last was wrong before
    2.0
    """

    column: ClassVar[str] = "l2"
    unit: ClassVar[str] = "distance"


@metrics.register("median_linf", version=1)
@dataclass(frozen=True)
class MedianLinf(_Median):
    """The median over images of the largest change that the nearest misread image found needed.

    As attack.median_l2, by the largest change of a channel of a pixel. In [0, 1] pixel units,
    higher is better.

    Source: Brendel et al., ICLR 2018, section 3, with another distance.

    >>> rows = {"hit": np.array([1, 1]), "fooled": np.array([True, True]), "linf": np.array([0.1, 0.3])}
    >>> MedianLinf()(rows)
    0.2
    """

    column: ClassVar[str] = "linf"
    unit: ClassVar[str] = "distance"


@metrics.register("median_queries", version=1)
@dataclass(frozen=True)
class MedianQueries(_Median):
    """The median over images of the forward passes that it took to fool the model.

    Over the images that were right before; one that never fell counts as infinitely many, and an infinite
    median is shown as undefined with its n. An attack without a budget spends all its queries on every
    image: there this is its price. In queries, higher is better.

    Source: Andriushchenko et al., Square Attack, ECCV 2020, section 5 (there over images that fell only,
    which a weak attack can make small).

    >>> rows = {"hit": np.array([1, 1, 1]), "fooled": np.array([True] * 3), "queries": np.array([9, 2, 40])}
    >>> MedianQueries()(rows)
    9.0
    """

    column: ClassVar[str] = "queries"
    unit: ClassVar[str] = "queries"


def _medians(ordered: Values, weights: NDArray[Any]) -> Values:
    """The median of each resample of sorted values: weights (r, n) -> (r,). NaN where none was drawn."""
    drawn = np.cumsum(weights, axis=1)
    total = drawn[:, -1]
    middle = []
    for rank in ((total + 1) // 2, total // 2 + 1):  # from 1; the two middle ones of an even number
        place = (drawn < rank[:, None]).sum(axis=1)
        middle.append(ordered[np.minimum(place, ordered.size - 1)])
    return np.where(total > 0, (middle[0] + middle[1]) / 2, np.nan)


def _right(rows: Rows) -> NDArray[np.bool_]:
    """Which images the model was right about before the attack."""
    right = np.asarray(rows["fooled"], bool) | (np.asarray(rows["hit"]) == 0)
    return np.asarray(right, np.bool_)
