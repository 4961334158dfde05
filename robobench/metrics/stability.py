"""Stability: whether a model's answers stay while an image hardly changes, from frame to frame.

Both go by the same image's answer at the frame that a frame is compared with, `reference_<column>`: the frame
before it, or the first frame for sequences of noise. A first frame is compared with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows

_KEPT = 5  # classes that the distance looks at; all ranks behind them are one
_RANKS = tuple(f"top{i + 1}" for i in range(_KEPT))
_REFERENCE = "reference_"


@metrics.register("flip", version=1)
@dataclass(frozen=True)
class Flip:
    """The flip probability of a frame: the share of images whose first answer is another than before.

    Per image 1 if `top1` is not `reference_top1`, else 0, whether or not one of them is right. NaN on a frame
    that is compared with none, for an image that the other frame lacks, and where either answer is not finite
    (-1). Fraction in [0, 1], lower is better. The mean over a sequence is `stability.mean`.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.3 (flip probability), and the authors' script for ImageNet-P.

    Predictions 1, 2, 2, 2, 1 of five frames, each beside the one before it, and beside the first:

    >>> answers = np.array([2, 2, 2, 1])
    >>> float(Flip()({"top1": answers, "reference_top1": np.array([1.0, 2.0, 2.0, 2.0])}).mean())
    0.5
    >>> float(Flip()({"top1": answers, "reference_top1": np.array([1.0, 1.0, 1.0, 1.0])}).mean())
    0.75
    """

    needs: ClassVar[tuple[str, ...]] = ("top1", "reference_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        answer, earlier = (_answers(rows, c) for c in self.needs)
        return np.where(np.isnan(answer + earlier), np.nan, np.asarray(answer != earlier, np.float64))


@metrics.register("top5_distance", version=1)
@dataclass(frozen=True)
class Top5Distance:
    """How far the five first answers of a frame are from those of the frame it is compared with.

    Per image the sum, over the classes at ranks i = 1 ... 5 of the earlier frame, of |min(i - 1, 5) -
    min(j - 1, 5)| with j the rank of that class now: 0 for the same five in the same order, 15 when none of
    them is left, 18 at most (the last of them leads, others are gone). Ranks behind the fifth count alike, so
    five answers say all. NaN on a frame that is compared with none, where either answer is not finite, and
    with fewer than five classes. In ranks, lower is better.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.3 (top-5 distance), and the authors' script for ImageNet-P.

    The same five; the first two swapped; five others:

    >>> earlier = {f"reference_top{i}": np.full(3, float(i)) for i in range(1, 6)}
    >>> now = np.array([[1, 2, 3, 4, 5], [2, 1, 3, 4, 5], [6, 7, 8, 9, 10]])
    >>> Top5Distance()({**earlier, **{f"top{i + 1}": now[:, i] for i in range(5)}}).tolist()
    [0.0, 2.0, 15.0]
    """

    needs: ClassVar[tuple[str, ...]] = (*_RANKS, *(_REFERENCE + c for c in _RANKS))
    unit: ClassVar[str] = "ranks"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        now = np.stack([_answers(rows, c) for c in _RANKS], axis=1)
        earlier = np.stack([_answers(rows, _REFERENCE + c) for c in _RANKS], axis=1)
        same = earlier[:, :, None] == now[:, None, :]  # [image, rank before, rank now]
        rank = np.where(same.any(axis=2), same.argmax(axis=2), _KEPT)
        distance = np.abs(rank - np.arange(_KEPT)).sum(axis=1).astype(np.float64)
        known = ~(np.isnan(now).any(axis=1) | np.isnan(earlier).any(axis=1))
        return np.where(known, distance, np.nan)


def _answers(rows: Rows, column: str) -> NDArray[np.float64]:
    """A column of classes, NaN where there is none."""
    values = np.asarray(rows[column], np.float64)
    return np.where(values < 0, np.nan, values)
